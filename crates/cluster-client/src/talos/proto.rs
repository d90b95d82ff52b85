//! Messages and clients of the Talos API, generated from `proto/`.
#![expect(
    unreachable_pub,
    reason = "generated code is public, and this module is not"
)]

/// Metadata that every reply carries.
pub mod common {
    tonic::include_proto!("common");
}

/// Packages below `google`.
pub mod google {
    /// Status inside in-band errors.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// Packages below `cosi`.
pub mod cosi {
    /// Resources of a node.
    pub mod resource {
        tonic::include_proto!("cosi.resource");
    }
}

/// API of a node.
pub mod machine {
    tonic::include_proto!("machine");
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::common::Data;
    use super::machine::{BootstrapRequest, EtcdMemberListRequest, EtcdMemberStatus};

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    #[test]
    fn known_vectors_of_the_wire() {
        let request = BootstrapRequest {
            recover_etcd: true,
            recover_skip_hash_check: true,
        };
        assert_eq!(request.encode_to_vec(), bytes("08011001"));
        let request = EtcdMemberListRequest { query_local: true };
        assert_eq!(request.encode_to_vec(), bytes("0801"));
        let status = bytes("0a01611002180320042805300638074201624801500a5a0163");
        let read = EtcdMemberStatus::decode(status.as_slice()).unwrap();
        assert_eq!(read.raft_applied_index, 7);
        assert_eq!(read.member_id, 10);
        assert_eq!(read.storage_version, "c");
        assert_eq!(read.encode_to_vec(), status);
    }

    #[test]
    fn fields_in_any_order_and_without_bytes_are_read() {
        let late = bytes("12036162630a0a0a0831302e302e302e32");
        let data = Data::decode(late.as_slice()).unwrap();
        assert_eq!(data.bytes, "abc");
        assert_eq!(data.metadata.unwrap().hostname, "10.0.0.2");
        let error = bytes("0a140a0831302e302e302e321201781a05080c12016d");
        let data = Data::decode(error.as_slice()).unwrap();
        assert!(data.bytes.is_empty());
        let status = super::super::in_band(data.metadata.as_ref()).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        assert_eq!(status.message(), "x");
    }
}
