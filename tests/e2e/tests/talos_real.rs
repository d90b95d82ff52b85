//! Tests of the Talos stand-in with the real etcd and the real etcdutl behind it: bootstrap, snapshot, and
//! recovery from sound, damaged and foreign files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backup_core::clock::SystemClock;
use backup_core::source::SnapshotSource as _;
use bytes::Bytes;
use cluster_client::talos::{ConfigSearch, TalosOptions, TalosSource};
use e2e::talos::connect::{ClientTls, channel};
use e2e::talos::proto::common::Data;
use e2e::talos::proto::machine::BootstrapRequest;
use e2e::talos::proto::machine::machine_service_client::MachineServiceClient;
use e2e::talos::real_etcd::RealEtcd;
use e2e::talos::recover::{EtcdProcess, EtcdutlHost};
use e2e::talos::{ClientSpec, Etcd as Backend, NodeSpec, ServiceState, Standin};
use e2e::tools::{self, Tool};
use e2e::{Folder, etcd, etcdutl, wait};
use futures::StreamExt as _;
use tokio::sync::Mutex;
use tonic::transport::Channel;

/// Time limit. etcd starts in a second, and slower where something compiles beside it.
const LIMIT: Duration = Duration::from_secs(60);

/// Etcd of the lab, as the process of a node.
struct OnNode(Mutex<etcd::Etcd>);

#[tonic::async_trait]
impl EtcdProcess for OnNode {
    async fn stop(&self) -> Result<()> {
        self.0.lock().await.stop().await
    }

    async fn start(&self, data_dir: &Path) -> Result<Arc<dyn Backend>> {
        let mut etcd = self.0.lock().await;
        ensure!(data_dir == etcd.data_dir(), "another data directory");
        etcd.restart().await?;
        Ok(Arc::new(RealEtcd::of(&etcd)?))
    }
}

/// Node that waits to be bootstrapped, and an administrator's connection to it.
struct Node {
    talos: Standin,
    process: Arc<OnNode>,
    api: MachineServiceClient<Channel>,
    folder: Folder,
}

impl Node {
    async fn start() -> Result<Self> {
        let folder = Folder::new()?;
        let mut etcd = etcd::Etcd::start(&folder, "cp-1").await?;
        etcd.stop().await?;
        etcd.wipe()?;
        let mut spec = NodeSpec::empty("10.5.0.2", "cp-1");
        spec.root = Some(etcd.folder().to_owned());
        let peer_url = etcd.peer_url();
        let process = Arc::new(OnNode(Mutex::new(etcd)));
        spec.host = Some(Arc::new(EtcdutlHost {
            etcdutl: tools::path(Tool::Etcdutl).await?,
            name: "cp-1".to_owned(),
            peer_url,
            process: Arc::<OnNode>::clone(&process),
        }));
        let talos = Standin::start(vec![spec]).await?;
        let pair = talos.pki().client(&ClientSpec::of(&["os:admin"]))?;
        let tls = ClientTls {
            ca: talos.pki().ca_pem(),
            crt: pair.crt,
            key: pair.key,
        };
        let endpoint = talos.endpoint("10.5.0.2")?;
        let api = MachineServiceClient::new(channel(&endpoint, Some(&tls))?);
        Ok(Self {
            talos,
            process,
            api,
            folder,
        })
    }

    /// Waits until the etcd service is in this state; returns the text of its last event.
    async fn reaches(&self, wanted: ServiceState) -> Result<String> {
        wait::until("the state of the etcd service", LIMIT, async || {
            let (state, healthy, text) = self.talos.node("10.5.0.2")?.etcd_state();
            let there = state == wanted && (healthy || state != ServiceState::Running);
            ensure!(there, "it is {state:?}: {text}");
            Ok(text)
        })
        .await
    }

    async fn bootstrap(&mut self, recover_etcd: bool) -> Result<()> {
        let request = BootstrapRequest {
            recover_etcd,
            recover_skip_hash_check: false,
        };
        self.api.bootstrap(request).await?;
        Ok(())
    }

    async fn upload(&mut self, bytes: &[u8]) -> Result<()> {
        let parts: Vec<_> = bytes
            .chunks(32 << 10)
            .map(|part| Data {
                metadata: None,
                bytes: Bytes::copy_from_slice(part),
            })
            .collect();
        self.api.etcd_recover(futures::stream::iter(parts)).await?;
        Ok(())
    }

    /// Ends etcd and removes its data, as `talosctl reset` does.
    async fn reset(&self) -> Result<()> {
        self.process.stop().await?;
        self.process.0.lock().await.wipe()
    }

    async fn snapshot(&self) -> Result<Vec<u8>> {
        let file = self.folder.join("talosconfig");
        let text = self.talos.talosconfig(&ClientSpec::of(&["os:admin"]))?;
        std::fs::write(&file, text)?;
        let options = TalosOptions::new(ConfigSearch::at(&file));
        let source = TalosSource::new(options, Arc::new(SystemClock));
        let candidates = source.members().await?.candidates;
        let first = candidates.first().context("no member")?;
        let mut stream = source.open(first).await?;
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            bytes.extend_from_slice(&part?);
        }
        Ok(bytes)
    }

    async fn client(&self) -> Result<etcd::EtcdClient> {
        self.process.0.lock().await.client().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_bootstrapped_snapshotted_and_recovered() -> Result<()> {
    let mut node = Node::start().await?;
    node.bootstrap(false).await?;
    node.reaches(ServiceState::Running).await?;
    let revision = node.client().await?.put("/a", "before").await?;

    let snapshot = node.snapshot().await?;
    let file = node.folder.join("snapshot.db");
    std::fs::write(&file, &snapshot)?;
    assert_eq!(etcdutl::status(&file).await?.revision, revision);
    node.client().await?.put("/a", "after").await?;

    // While there is data, another bootstrap is refused.
    let refused = node.bootstrap(true).await.unwrap_err();
    assert!(format!("{refused:#}").contains("etcd data directory is not empty"));

    node.reset().await?;
    node.upload(&snapshot).await?;
    node.bootstrap(true).await?;
    node.reaches(ServiceState::Running).await?;
    let value = node.client().await?.get("/a").await?;
    assert_eq!(value.as_deref(), Some(&b"before"[..]));
    // A recovery consumes its file.
    assert!(
        !node.talos.nodes()[0]
            .var_lib()
            .unwrap()
            .join("etcd.snapshot")
            .exists()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_upload_fails_and_a_damaged_one_leaves_the_data_directory_dirty() -> Result<()> {
    let mut node = Node::start().await?;
    node.bootstrap(false).await?;
    node.reaches(ServiceState::Running).await?;
    node.client().await?.put("/a", "1").await?;
    let snapshot = node.snapshot().await?;

    // Not a database: refused before the data directory is touched.
    node.reset().await?;
    node.upload(b"garbage").await?;
    node.bootstrap(true).await?;
    let text = node.reaches(ServiceState::Failed).await?;
    assert!(text.contains("error verifying snapshot"), "{text}");
    assert!(!node.process.0.lock().await.data_dir().exists());

    // A wrong trailer: found after the copy, which stays, so that the next try is refused.
    let mut damaged = snapshot.clone();
    *damaged.last_mut().unwrap() ^= 1;
    node.upload(&damaged).await?;
    node.bootstrap(true).await?;
    let text = node.reaches(ServiceState::Failed).await?;
    assert!(text.contains("error recovering snapshot"), "{text}");
    node.upload(&snapshot).await?;
    let refused = node.bootstrap(true).await.unwrap_err();
    assert!(format!("{refused:#}").contains("etcd data directory is not empty"));

    node.reset().await?;
    node.bootstrap(true).await?;
    node.reaches(ServiceState::Running).await?;
    assert_eq!(
        node.client().await?.get("/a").await?.as_deref(),
        Some(&b"1"[..])
    );
    Ok(())
}
