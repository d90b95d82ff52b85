//! Tests of the stand-in alone: what it refuses, and what a recover leaves behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::talos::connect::{ClientTls, channel};
use e2e::talos::proto::common::Data;
use e2e::talos::proto::machine as api;
use e2e::talos::proto::machine::machine_service_client::MachineServiceClient;
use e2e::talos::recover::FixedHost;
use e2e::talos::{ClientSpec, FixedEtcd, NodeSpec, ServiceState, Standin, TalosVersion};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::lab::{NODES, snapshot, specs};

type Client = MachineServiceClient<Channel>;

fn client(cluster: &Standin, node: &str, role: &str) -> Client {
    let pair = cluster.pki().client(&ClientSpec::of(&[role])).unwrap();
    let tls = ClientTls {
        ca: cluster.pki().ca_pem(),
        crt: pair.crt,
        key: pair.key,
    };
    MachineServiceClient::new(channel(&cluster.endpoint(node).unwrap(), Some(&tls)).unwrap())
}

fn with<M>(headers: &[(&'static str, &str)], message: M) -> Request<M> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

async fn version(client: &mut Client, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    client.version(with(headers, ())).await.map(|_| ())
}

#[tokio::test]
async fn headers_are_judged_strictly() {
    let cluster = Standin::start(specs(&snapshot(1), |_| {})).await.unwrap();
    let mut admin = client(&cluster, NODES[0], "os:admin");
    version(&mut admin, &[("node", "10.5.0.3")]).await.unwrap();
    version(&mut admin, &[("node", "cp-3")]).await.unwrap();
    assert_eq!(cluster.violations(), Vec::<String>::new());
    for (headers, code) in [
        (&[("node", "a"), ("node", "b")][..], Code::InvalidArgument),
        (&[("node", "10.5.0.3:50000")], Code::Internal),
        (&[("node", "")], Code::Internal),
        (&[("node", "10.5.0.77")], Code::Unavailable),
        (&[("nodes", "10.5.0.3")], Code::InvalidArgument),
        (&[("proxyfrom", "x")], Code::InvalidArgument),
        (&[("talos-role", "os:admin")], Code::InvalidArgument),
    ] {
        let status = version(&mut admin, headers).await.unwrap_err();
        assert_eq!(status.code(), code, "{headers:?}: {status}");
    }
    assert_eq!(cluster.violations().len(), 3);
}

#[tokio::test]
async fn with_nodes_errors_are_in_band_and_chunks_carry_their_node() {
    let bytes = snapshot(1);
    let cluster = Standin::start_with(specs(&bytes, |_| {}), true)
        .await
        .unwrap();
    let mut admin = client(&cluster, NODES[0], "os:admin");
    let both = [("nodes", NODES[1]), ("nodes", "10.5.0.77")];
    let reply = admin.hostname(with(&both, ())).await.unwrap().into_inner();
    assert_eq!(reply.messages.len(), 2);
    assert_eq!(reply.messages[0].hostname, "cp-2");
    let metadata = reply.messages[1].metadata.clone().unwrap();
    assert_eq!(metadata.hostname, "10.5.0.77");
    assert_eq!(metadata.status.unwrap().code, i32::from(Code::Unavailable));

    let one = [("nodes", NODES[1])];
    let request = with(&one, api::EtcdSnapshotRequest {});
    let mut stream = admin.etcd_snapshot(request).await.unwrap().into_inner();
    let mut got = Vec::new();
    while let Some(data) = stream.message().await.unwrap() {
        assert_eq!(data.metadata.unwrap().hostname, NODES[1]);
        assert!(data.bytes.len() <= 1024);
        got.extend_from_slice(&data.bytes);
    }
    assert_eq!(got, bytes);
}

#[tokio::test]
async fn a_stranger_and_a_client_that_pings_are_put_out() {
    let cluster = Standin::start(specs(&snapshot(1), |_| {})).await.unwrap();
    let pair = cluster
        .pki()
        .client(&ClientSpec::of(&["os:unheard-of"]))
        .unwrap();
    let tls = ClientTls {
        ca: cluster.pki().ca_pem(),
        crt: pair.crt,
        key: pair.key,
    };
    let address = cluster.endpoint(NODES[0]).unwrap();
    let mut nobody = MachineServiceClient::new(channel(&address, Some(&tls)).unwrap());
    let status = version(&mut nobody, &[]).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::PermissionDenied, "not authorized")
    );
    let mut plain = MachineServiceClient::new(channel(&address, None).unwrap());
    assert!(version(&mut plain, &[]).await.is_err());
}

struct Empty {
    cluster: Standin,
    root: tempfile::TempDir,
}

async fn empty(change: impl Fn(&mut NodeSpec)) -> Empty {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("var/lib")).unwrap();
    let mut spec = NodeSpec::empty("10.5.0.2", "cp-1");
    spec.root = Some(root.path().to_owned());
    spec.host = Some(Arc::new(FixedHost {
        etcd: FixedEtcd::cluster(1, &snapshot(1)).remove(0),
    }));
    change(&mut spec);
    Empty {
        cluster: Standin::start(vec![spec]).await.unwrap(),
        root,
    }
}

impl Empty {
    fn admin(&self) -> Client {
        client(&self.cluster, "10.5.0.2", "os:admin")
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    async fn upload(&self, bytes: Bytes) -> Result<(), Status> {
        let pieces: Vec<Data> = bytes
            .chunks(40_000)
            .map(|piece| Data {
                metadata: None,
                bytes: Bytes::copy_from_slice(piece),
            })
            .collect();
        let upload = futures::stream::iter(pieces);
        self.admin()
            .etcd_recover(with(&[("node", "10.5.0.2")], upload))
            .await
            .map(|_| ())
    }

    async fn bootstrap(&self, skip: bool) -> Result<(), Status> {
        let request = api::BootstrapRequest {
            recover_etcd: true,
            recover_skip_hash_check: skip,
        };
        self.admin()
            .bootstrap(with(&[("node", "10.5.0.2")], request))
            .await
            .map(|_| ())
    }

    /// Waits until the service has reached `state`; returns its last event.
    async fn reaches(&self, state: ServiceState) -> String {
        let node = &self.cluster.nodes()[0];
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let (now, healthy, text) = node.etcd_state();
                if now == state && (healthy || state != ServiceState::Running) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("the service is {:?}", node.etcd_state()))
    }
}

#[tokio::test]
async fn a_good_snapshot_is_restored_after_the_answer() {
    let lab = empty(|_| {}).await;
    lab.upload(snapshot(3)).await.unwrap();
    assert_eq!(
        std::fs::read(lab.path("var/lib/etcd.snapshot")).unwrap(),
        snapshot(3)
    );
    lab.bootstrap(false).await.unwrap();
    lab.reaches(ServiceState::Running).await;
    assert!(!lab.path("var/lib/etcd.snapshot").exists());
    assert_eq!(
        std::fs::read(lab.path("var/lib/etcd/member/snap/db")).unwrap(),
        snapshot(3)
    );
    // A second one finds the data of the first.
    let status = lab.bootstrap(false).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let services = lab.admin().service_list(()).await.unwrap().into_inner();
    let services = &services.messages[0].services;
    let etcd = services
        .iter()
        .find(|service| service.id == "etcd")
        .unwrap();
    assert_eq!(etcd.state, "Running");
    assert!(etcd.health.as_ref().unwrap().healthy);
}

#[tokio::test]
async fn a_wrong_hash_leaves_the_data_folder_dirty() {
    for damage in [0, 1] {
        let lab = empty(|_| {}).await;
        let mut bytes = snapshot(3).to_vec();
        if damage == 0 {
            bytes[5000] ^= 1;
        } else {
            bytes.truncate(bytes.len() - 32);
        }
        lab.upload(bytes.into()).await.unwrap();
        lab.bootstrap(false).await.unwrap();
        let text = lab.reaches(ServiceState::Failed).await;
        assert!(
            text.contains("sha256") || text.contains("missing hash"),
            "{text}"
        );
        lab.upload(snapshot(3)).await.unwrap();
        let status = lab.bootstrap(false).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
    }
}

#[tokio::test]
async fn garbage_and_nothing_leave_it_clean_for_another_try() {
    for upload in [
        Some(Bytes::from_static(b"garbage")),
        Some(Bytes::new()),
        None,
    ] {
        let lab = empty(|_| {}).await;
        if let Some(bytes) = upload {
            lab.upload(bytes).await.unwrap();
        }
        lab.bootstrap(false).await.unwrap();
        let text = lab.reaches(ServiceState::Failed).await;
        assert!(text.contains("error verifying snapshot"), "{text}");
        lab.upload(snapshot(2)).await.unwrap();
        lab.bootstrap(false).await.unwrap();
        lab.reaches(ServiceState::Running).await;
    }
}

#[tokio::test]
async fn a_raw_copy_needs_the_hash_check_skipped() {
    let lab = empty(|_| {}).await;
    let raw = snapshot(3);
    lab.upload(raw.slice(..raw.len() - 32)).await.unwrap();
    lab.bootstrap(true).await.unwrap();
    lab.reaches(ServiceState::Running).await;
}

#[tokio::test]
async fn the_checks_come_in_the_real_order() {
    let lab = empty(|_| {}).await;
    let node = &lab.cluster.nodes()[0];
    std::fs::create_dir_all(lab.path("var/lib/etcd/member")).unwrap();
    node.fault(|faults| {
        faults.booting = true;
        faults.no_etcd_ca = true;
    });
    assert_eq!(
        lab.bootstrap(false).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    node.fault(|faults| faults.booting = false);
    assert_eq!(
        lab.bootstrap(false).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    node.heal();
    assert_eq!(
        lab.bootstrap(false).await.unwrap_err().code(),
        Code::AlreadyExists
    );

    // The folder comes before the kind of node.
    let lab = empty(|spec| spec.control_plane = false).await;
    std::fs::remove_dir_all(lab.path("var/lib")).unwrap();
    assert_eq!(
        lab.upload(snapshot(1)).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    std::fs::create_dir_all(lab.path("var/lib")).unwrap();
    assert_eq!(
        lab.upload(snapshot(1)).await.unwrap_err().code(),
        Code::Unimplemented
    );
    assert_eq!(
        lab.bootstrap(false).await.unwrap_err().code(),
        Code::Unimplemented
    );

    let lab = empty(|spec| {
        spec.control_plane = false;
        spec.version = TalosVersion(1, 12);
    })
    .await;
    assert_eq!(
        lab.bootstrap(false).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn only_an_administrator_recovers_and_reads_files() {
    let lab = empty(|_| {}).await;
    std::fs::write(lab.path("etcd.conf"), b"x=1").unwrap();
    for (role, code) in [
        ("os:operator", Some(Code::PermissionDenied)),
        ("os:admin", None),
    ] {
        let mut client = client(&lab.cluster, "10.5.0.2", role);
        let path = "/etcd.conf".to_owned();
        let read = client
            .read(with(&[("node", "10.5.0.2")], api::ReadRequest { path }))
            .await;
        assert_eq!(read.as_ref().err().map(Status::code), code);
        if let Ok(reply) = read {
            let data = reply.into_inner().message().await.unwrap().unwrap();
            assert_eq!(data.bytes, "x=1");
        }
    }
    let path = "/../etc/passwd".to_owned();
    let read = lab.admin().read(api::ReadRequest { path }).await;
    assert_eq!(read.unwrap_err().code(), Code::Unknown);
}
