//! Site of one test beside a cluster whose etcd has data, with a restore point of it, and a function that loses
//! it.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backup_core::catalog::RestorePoint;
use backup_core::clock::SystemClock;
use backup_core::id::ComponentName;
use backup_core::progress::SilentProgress;
use backup_core::read::{LocalSnapshot, unlock};
use cluster_client::talos::nodes::TalosNodes;
use cluster_client::talos::{ConfigSearch, TalosOptions};
use cluster_restore::etcd::{
    EtcdPlan, EtcdRequest, EtcdRestoreError, Pace, RestoredEtcd, SnapshotFacts, preflight, run,
};
use e2e::data::{Cluster, Shape};
use e2e::etcd::Etcd;
use e2e::lab::host;
use e2e::run::Command;
use e2e::site::Site;
use e2e::talos::real_etcd::RealEtcd;
use e2e::talos::{ClientSpec, Etcd as Backend, Node, NodeSpec, ServiceState, Standin};
use e2e::tools::{self, EtcdLine};
use e2e::wait;
use tokio_util::sync::CancellationToken;

use super::log::Kept;

/// Node whose etcd is real.
pub(crate) const TARGET: &str = "10.5.0.2";
/// Another control plane node, which waits.
pub(crate) const OTHER: &str = "10.5.0.3";
/// Worker.
pub(crate) const WORKER: &str = "10.5.0.9";
/// Name of the cluster in the machine configurations.
pub(crate) const NAME: &str = "lab";
/// Number of writes: far more revisions than a restored etcd has raft entries.
const WRITES: u32 = 200;
/// Time limit. etcd starts in a second, and slower where something compiles beside it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Site of one test; see the module. Fields drop in order: the folder last.
pub(crate) struct EtcdSite {
    pub(crate) talos: Standin,
    pub(crate) etcd: Etcd,
    pub(crate) id: String,
    site: Site,
}

impl Deref for EtcdSite {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl EtcdSite {
    /// Starts three nodes: one with etcd, one that waits, a worker. Takes a restore point.
    pub(crate) async fn new() -> Result<Self> {
        Self::with(|_| ()).await
    }

    /// Starts the same with `change` applied to the nodes before they start.
    pub(crate) async fn with(change: impl FnOnce(&mut Vec<NodeSpec>)) -> Result<Self> {
        Self::of(EtcdLine::LAB, change).await
    }

    /// Starts the same on another etcd.
    pub(crate) async fn of(
        line: EtcdLine,
        change: impl FnOnce(&mut Vec<NodeSpec>),
    ) -> Result<Self> {
        let site = Site::new().await?;
        let etcd = Etcd::start_line(&site.folder, "cp-1", line).await?;
        let shape = Shape {
            objects: 300,
            ..Shape::small()
        };
        let client = etcd.client().await?;
        Cluster::fill(&client, shape).await?;
        // A living cluster makes a revision with every write.
        for number in 0..WRITES {
            let key = format!("/registry/leases/{number}");
            client.put(&key, "1").await?;
        }
        let real: Arc<dyn Backend> = Arc::new(RealEtcd::of(&etcd)?);
        let etcdutl = tools::path(line.etcdutl).await?;
        let mut target = NodeSpec::control_plane(TARGET, "cp-1", Arc::clone(&real));
        target.root = Some(etcd.folder().to_owned());
        target.host = Some(host(&etcd, &etcdutl, real));
        let mut other = NodeSpec::empty(OTHER, "cp-2");
        other.root = Some(site.folder.make("cp-2")?);
        std::fs::create_dir_all(site.folder.join("cp-2/var/lib"))?;
        let mut specs = vec![target, other, NodeSpec::worker(WORKER, "worker-1")];
        change(&mut specs);
        let mut site = Self {
            talos: Standin::start(specs).await?,
            etcd,
            id: String::new(),
            site,
        };
        site.talosconfig("os:admin")?;
        let (_, store) = site.store()?;
        site.write_config(&format!(
            "cluster: test\nstore: {store}\ntalos: {{ config: talosconfig, nodes: [{TARGET}] }}\n"
        ))?;
        site.id = site.taken().await?;
        Ok(site)
    }

    /// Takes a restore point of etcd; returns its id.
    pub(crate) async fn taken(&self) -> Result<String> {
        self.take_id(&["--component", "etcd"]).await
    }

    /// Writes the talosconfig, with a certificate of this role.
    pub(crate) fn talosconfig(&self, role: &str) -> Result<PathBuf> {
        let file = self.folder.join("talosconfig");
        std::fs::write(&file, self.talos.talosconfig(&ClientSpec::of(&[role]))?)?;
        Ok(file)
    }

    /// Returns `restore-cli restore etcd` of the restore point onto the first node.
    pub(crate) fn restore_etcd(&self) -> Command {
        let restore = self
            .restore_cli("restore")
            .args(["etcd", "latest", "--yes"]);
        let restore = restore.args(["--target", NAME, "--nodes", TARGET]);
        restore.args(["--output", "json"])
    }

    pub(crate) fn node(&self) -> Result<&Arc<Node>> {
        self.talos.node(TARGET)
    }

    /// Ends etcd and removes its data, as a node comes back after `talosctl reset`.
    pub(crate) async fn lose(&self) -> Result<()> {
        let mut etcd = self.etcd.handle().get()?;
        etcd.stop().await?;
        etcd.wipe()?;
        let state = ServiceState::Preparing;
        self.node()?.etcd_turns(state, "Running pre state", None);
        Ok(())
    }

    /// Lets a node show the etcd as its own, running and healthy.
    pub(crate) fn runs_at(&self, node: &Node) -> Result<()> {
        let real = Arc::new(RealEtcd::of(&self.etcd)?);
        node.etcd_turns(ServiceState::Running, "Health check successful", Some(real));
        Ok(())
    }

    /// Waits until the etcd service of the first node is in this state.
    pub(crate) async fn reaches(&self, wanted: ServiceState) -> Result<String> {
        wait::until("the state of the etcd service", LIMIT, async || {
            let (state, healthy, text) = self.node()?.etcd_state();
            let there = state == wanted && (healthy || state != ServiceState::Running);
            ensure!(there, "it is {state:?}: {text}");
            Ok(text)
        })
        .await
    }

    /// Returns the number of calls of a method that arrived.
    pub(crate) fn calls(&self, method: &str) -> usize {
        let seen = self.talos.seen();
        seen.iter().filter(|seen| seen.method == method).count()
    }

    /// Returns the nodes, as the library sees them with a certificate of this role.
    pub(crate) async fn nodes(&self, role: &str, nodes: &[&str]) -> Result<TalosNodes> {
        let options = TalosOptions {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            call_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(2),
            ..TalosOptions::new(ConfigSearch::at(&self.talosconfig(role)?))
        };
        Ok(TalosNodes::begin(options, Arc::new(SystemClock)).await?)
    }

    pub(crate) async fn point(&self) -> Result<RestorePoint> {
        Ok(self.newest(&self.store()?.0).await?.1)
    }

    /// Returns the whole, verified snapshot of the restore point.
    pub(crate) async fn held(&self) -> Result<Arc<LocalSnapshot>> {
        let (store, point, identities) = self.newest(&self.store()?.0).await?;
        let keys = Arc::new(unlock(&store, &point, &identities).await?);
        let (etcd, scratch) = (ComponentName::etcd(), self.folder.path());
        let (silent, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
        let held = LocalSnapshot::fetch(store, &point, keys, &etcd, scratch, silent, cancel);
        Ok(Arc::new(held.await?))
    }

    /// Returns the result of a preflight with these nodes.
    pub(crate) async fn plan(&self, nodes: &TalosNodes) -> Result<EtcdPlan> {
        let wanted = EtcdRequest {
            target: Some(TARGET.to_owned()),
            snapshot: SnapshotFacts::of(&self.point().await?).context("no etcd")?,
            allow: std::collections::BTreeSet::new(),
            proof: None,
        };
        Ok(preflight(nodes, wanted).await)
    }

    /// Plans and restores, with `log` as the log.
    pub(crate) async fn restore(
        &self,
        log: &Kept,
    ) -> Result<Result<RestoredEtcd, EtcdRestoreError>> {
        let nodes = self.nodes("os:admin", &[TARGET, OTHER]).await?;
        let plan = self.plan(&nodes).await?;
        assert_eq!(plan.blockers, []);
        let held = self.held().await?;
        Ok(run(&nodes, &plan, held, log, Arc::new(SilentProgress), pace()).await)
    }
}

/// Returns times for a test.
pub(crate) fn pace() -> Pace {
    Pace {
        poll: Duration::from_millis(100),
        ready_within: Duration::from_secs(30),
        restored_within: LIMIT,
        settle: Duration::from_secs(1),
        joined_within: Duration::from_secs(3),
    }
}
