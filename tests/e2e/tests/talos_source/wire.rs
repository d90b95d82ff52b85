//! Tests of the stand-in's messages, byte by byte: known vectors of the real wire.

use e2e::talos::proto::common::{Data, Metadata};
use e2e::talos::proto::google::rpc;
use e2e::talos::proto::machine as api;
use prost::Message as _;

fn data(bytes: &'static [u8], metadata: Option<Metadata>) -> Data {
    Data {
        metadata,
        bytes: bytes.into(),
    }
}

fn from(hostname: &str) -> Metadata {
    Metadata {
        hostname: hostname.to_owned(),
        ..Metadata::default()
    }
}

#[test]
fn known_vectors() {
    let bootstrap = |recover_skip_hash_check| api::BootstrapRequest {
        recover_etcd: true,
        recover_skip_hash_check,
    };
    assert_eq!(hex::encode(bootstrap(false).encode_to_vec()), "0801");
    assert_eq!(hex::encode(bootstrap(true).encode_to_vec()), "08011001");
    let local = api::EtcdMemberListRequest { query_local: true };
    assert_eq!(hex::encode(local.encode_to_vec()), "0801");
    assert_eq!(
        hex::encode(data(b"abc", None).encode_to_vec()),
        "1203616263"
    );
    let error = Metadata {
        error: "x".to_owned(),
        status: Some(rpc::Status {
            code: 12,
            message: "m".to_owned(),
        }),
        ..from("10.0.0.2")
    };
    assert_eq!(
        hex::encode(data(b"", Some(error)).encode_to_vec()),
        "0a140a0831302e302e302e321201781a05080c12016d"
    );
    let reply = api::BootstrapResponse {
        messages: vec![api::Bootstrap::default()],
    };
    assert_eq!(hex::encode(reply.encode_to_vec()), "0a00");
    let reply = api::EtcdRecoverResponse {
        messages: vec![api::EtcdRecover::default()],
    };
    assert_eq!(hex::encode(reply.encode_to_vec()), "0a00");
}

#[test]
fn fields_in_any_order_and_unknown_ones_are_read() {
    let late = hex::decode("12036162630a0a0a0831302e302e302e32").unwrap();
    let read = Data::decode(late.as_slice()).unwrap();
    assert_eq!(read, data(b"abc", Some(from("10.0.0.2"))));
    let unknown = hex::decode("1203616263f80101").unwrap();
    assert_eq!(
        Data::decode(unknown.as_slice()).unwrap(),
        data(b"abc", None)
    );
}

#[test]
fn every_number_of_a_members_status_is_where_it_belongs() {
    let status = api::EtcdMemberStatus {
        protocol_version: "a".to_owned(),
        db_size: 2,
        db_size_in_use: 3,
        leader: 4,
        raft_index: 5,
        raft_term: 6,
        raft_applied_index: 7,
        errors: vec!["b".to_owned()],
        is_learner: true,
        member_id: 10,
        storage_version: "c".to_owned(),
    };
    assert_eq!(
        hex::encode(status.encode_to_vec()),
        "0a0161100218032004280530063807420162480150 0a5a0163".replace(' ', "")
    );
    let member = api::EtcdMember {
        id: 2,
        hostname: "a".to_owned(),
        peer_urls: vec!["b".to_owned()],
        client_urls: vec!["c".to_owned()],
        is_learner: true,
    };
    assert_eq!(
        hex::encode(member.encode_to_vec()),
        "10021a0161220162".to_owned() + "2a01633001"
    );
    let alarm = api::EtcdMemberAlarm {
        member_id: 1,
        alarm: i32::from(api::etcd_member_alarm::AlarmType::Corrupt),
    };
    assert_eq!(hex::encode(alarm.encode_to_vec()), "08011002");
}
