//! Bed of one test: a cluster whose etcd has data, a restore point of it, and a function that loses it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::clock::SystemClock;
use backup_core::crypt::{Identities, Trust};
use backup_core::id::ComponentName;
use backup_core::progress::SilentProgress;
use backup_core::read::{LocalSnapshot, unlock};
use backup_core::store::Store;
use backup_core::store::local::LocalStore;
use cluster_client::talos::nodes::TalosNodes;
use cluster_client::talos::{ConfigSearch, TalosOptions};
use cluster_restore::etcd::{
    EtcdLog, EtcdPhase, EtcdPlan, EtcdRequest, EtcdRestoreError, LogError, Pace, RestoredEtcd,
    SnapshotFacts, preflight, run,
};
use e2e::data::{Cluster, Shape};
use e2e::etcd::Etcd;
use e2e::ours::Programs;
use e2e::run::Command;
use e2e::talos::real_etcd::RealEtcd;
use e2e::talos::recover::{EtcdProcess, EtcdutlHost};
use e2e::talos::{ClientSpec, Etcd as Backend, Node, NodeSpec, ServiceState, Standin};
use e2e::tools::{self, EtcdLine};
use e2e::{Folder, wait};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

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

/// Etcd of the lab, as the process of a node.
pub(crate) struct OnNode(pub(crate) Mutex<Etcd>);

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

/// Bed of one test; see the module. Fields drop in order: the folder last.
pub(crate) struct Bed {
    pub(crate) talos: Standin,
    pub(crate) process: Arc<OnNode>,
    pub(crate) programs: Programs,
    pub(crate) id: String,
    pub(crate) folder: Folder,
}

impl Bed {
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
        let folder = Folder::new()?;
        let programs = Programs::find()?;
        let etcd = Etcd::start_line(&folder, "cp-1", line).await?;
        let shape = Shape {
            objects: 300,
            ..Shape::small()
        };
        let client = etcd.client().await?;
        Cluster::fill(&client, shape).await?;
        // A living cluster makes a revision with every write.
        for number in 0..WRITES {
            client
                .put(&format!("/registry/leases/{number}"), "1")
                .await?;
        }
        let real: Arc<dyn Backend> = Arc::new(RealEtcd::of(&etcd)?);
        let mut target = NodeSpec::control_plane(TARGET, "cp-1", real);
        target.root = Some(etcd.folder().to_owned());
        let peer_url = etcd.peer_url();
        let process = Arc::new(OnNode(Mutex::new(etcd)));
        target.host = Some(Arc::new(EtcdutlHost {
            etcdutl: tools::path(line.etcdutl).await?,
            name: "cp-1".to_owned(),
            peer_url,
            process: Arc::<OnNode>::clone(&process),
        }));
        let mut other = NodeSpec::empty(OTHER, "cp-2");
        other.root = Some(folder.make("cp-2")?);
        std::fs::create_dir_all(folder.join("cp-2/var/lib"))?;
        let mut specs = vec![target, other, NodeSpec::worker(WORKER, "worker-1")];
        change(&mut specs);
        let talos = Standin::start(specs).await?;
        let mut bed = Self {
            talos,
            process,
            programs,
            id: String::new(),
            folder,
        };
        bed.id = bed.back_up().await?;
        Ok(bed)
    }

    async fn back_up(&self) -> Result<String> {
        let keygen = self.programs.backupd().args(["keygen", "--out", "keys"]);
        let keygen = keygen
            .args(["--output", "json"])
            .in_folder(self.folder.path());
        let made = keygen.output().await?.ended_with(0)?.json()?;
        let recipient = made["recipient"].as_str().context("no recipient")?;
        self.talosconfig("os:admin")?;
        let text = format!(
            "cluster: test\nstore: file://{}\ntalos: {{ config: talosconfig, nodes: [{TARGET}] }}\n\
             encryption: {{ recipients: [{recipient}] }}\nsigning: {{ key: keys/signing.key }}\n\
             reading: {{ identities: [keys/identity.key], trust: [keys/signing.pub] }}\n",
            self.folder.join("store").display()
        );
        std::fs::write(self.folder.join("butler.yaml"), text)?;
        self.take().await
    }

    /// Takes a restore point.
    pub(crate) async fn take(&self) -> Result<String> {
        let taken = self.ours(
            self.programs
                .backupd()
                .args(["snapshot", "--component", "etcd"]),
        );
        let taken = taken.args(["--output", "json"]).output().await?;
        let taken = taken.ended_with(0)?.json()?;
        let id = taken["restorePoint"].as_str().context("no restore point")?;
        Ok(id.to_owned())
    }

    /// Writes the talosconfig, with a certificate of this role.
    pub(crate) fn talosconfig(&self, role: &str) -> Result<PathBuf> {
        let file = self.folder.join("talosconfig");
        std::fs::write(&file, self.talos.talosconfig(&ClientSpec::of(&[role]))?)?;
        Ok(file)
    }

    pub(crate) fn ours(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", "butler.yaml")
            .env("HOME", self.folder.path())
            .in_folder(self.folder.path())
    }

    /// Returns `restore-cli restore etcd` of the restore point onto the first node.
    pub(crate) fn restore_etcd(&self) -> Command {
        let restore = self.programs.restore_cli().args(["restore", "etcd"]);
        let restore = restore.args(["latest", "--yes", "--target", NAME]);
        let restore = restore.args(["--nodes", TARGET, "--output", "json"]);
        self.ours(restore)
    }

    /// Fetches the snapshot of the restore point into a file.
    pub(crate) async fn fetched(&self) -> Result<PathBuf> {
        let file = self.folder.join("etcd.snapshot");
        let fetch = self.programs.restore_cli();
        let fetch = fetch.args(["fetch", "latest", "--component", "etcd"]);
        let fetch = self.ours(fetch.arg("--to").arg(&file));
        fetch.output().await?.ended_with(0)?;
        Ok(file)
    }

    pub(crate) fn node(&self) -> Result<&Arc<Node>> {
        self.talos.node(TARGET)
    }

    /// Ends etcd and removes its data, as a node comes back after `talosctl reset`.
    pub(crate) async fn lose(&self) -> Result<()> {
        self.process.stop().await?;
        self.process.0.lock().await.wipe()?;
        let state = ServiceState::Preparing;
        self.node()?.etcd_turns(state, "Running pre state", None);
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

    pub(crate) async fn point(&self) -> Result<(Arc<dyn Store>, RestorePoint)> {
        let store: Arc<dyn Store> = Arc::new(LocalStore::open(&self.folder.join("store")).await?);
        let catalog = Catalog::new(Arc::clone(&store));
        let entry = catalog.list().await?.pop().unwrap();
        let point = catalog.load(&entry, &Trust::Anyone).await?;
        Ok((store, point))
    }

    /// Returns the whole, verified snapshot of the restore point.
    pub(crate) async fn held(&self) -> Result<Arc<LocalSnapshot>> {
        let (store, point) = self.point().await?;
        let mut identities = Identities::none();
        let key = std::fs::read_to_string(self.folder.join("keys/identity.key"))?;
        identities.add("test", &key.into())?;
        let unlocked = unlock(&store, &point, &identities).await?;
        let component = ComponentName::etcd();
        let held = LocalSnapshot::fetch(
            store,
            &point,
            Arc::new(unlocked),
            &component,
            self.folder.path(),
            Arc::new(SilentProgress),
            CancellationToken::new(),
        );
        Ok(Arc::new(held.await?))
    }

    /// Returns the result of a preflight with these nodes.
    pub(crate) async fn plan(&self, nodes: &TalosNodes) -> Result<EtcdPlan> {
        let (_, point) = self.point().await?;
        let wanted = EtcdRequest {
            target: Some(TARGET.to_owned()),
            snapshot: SnapshotFacts::of(&point).context("no etcd")?,
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

type Reaction = Box<dyn Fn(&EtcdPhase) -> Result<(), LogError> + Send + Sync>;

/// Log that keeps its phases, and can react to them.
#[derive(Default)]
pub(crate) struct Kept {
    phases: StdMutex<Vec<EtcdPhase>>,
    reaction: Option<Reaction>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Kept {
    pub(crate) fn and(
        reaction: impl Fn(&EtcdPhase) -> Result<(), LogError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            phases: StdMutex::default(),
            reaction: Some(Box::new(reaction)),
        }
    }

    pub(crate) fn phases(&self) -> Vec<EtcdPhase> {
        self.phases.lock().unwrap().clone()
    }

    /// Returns how often a phase with `is` was reached.
    pub(crate) fn count(&self, is: impl Fn(&EtcdPhase) -> bool) -> usize {
        self.phases().iter().filter(|phase| is(phase)).count()
    }

    pub(crate) fn uploads(&self) -> usize {
        self.count(|phase| matches!(phase, EtcdPhase::Uploaded))
    }
}

impl EtcdLog for Kept {
    fn reached(&self, phase: &EtcdPhase) -> Result<(), LogError> {
        self.phases.lock().unwrap().push(phase.clone());
        self.reaction.as_ref().map_or(Ok(()), |react| react(phase))
    }
}
