//! Site of one test beside an API server, and the results of its exports.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use backup_core::format::export::KindFacts;
use backup_core::format::manifest::{Finding, Manifest, Severity};
use backup_core::id::ComponentName;
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::run::{Command, Output};
use e2e::site::{Common, Plane, Site, newest_manifest};
use serde_json::Value;
use tokio::sync::Mutex;

use super::kube::Kube;
use super::standin::Standin;

/// Components of the export.
pub(crate) const EXPORT: &str = "crds,sealed-secrets,resources,kubeconfigs,secrets";

/// API server, with a stand-in for webhooks and extension APIs. Fields drop in order: the folder last.
pub(crate) struct Cluster {
    pub(crate) server: Mutex<KubeApiserver>,
    pub(crate) standin: Standin,
    pub(crate) etcd: Etcd,
    /// Kubeconfig of the administrator.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) folder: Folder,
}

/// Cluster that tests share. A test on it breaks only its own kinds and namespaces, and leaves no group that
/// cannot be discovered.
static CLUSTER: Common<Cluster> = Common::unused();

impl Cluster {
    async fn start() -> Result<Self> {
        let plane = Plane::start(None).await?;
        Ok(Self {
            standin: Standin::start()?,
            kubeconfig: plane.server.kubeconfig(),
            server: Mutex::new(plane.server),
            etcd: plane.etcd,
            folder: plane.folder,
        })
    }
}

/// Site of one test; see the module.
pub(crate) struct ExportSite {
    kube: Kube,
    site: Site,
    pub(crate) cluster: Arc<Cluster>,
}

impl Deref for ExportSite {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// Restore point of an export.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) output: Output,
    /// Output of the program.
    pub(crate) told: Value,
    pub(crate) manifest: Manifest,
}

impl ExportSite {
    /// Makes a site on the shared cluster.
    pub(crate) async fn new() -> Result<Self> {
        Self::on(CLUSTER.get(Cluster::start).await?).await
    }

    /// Makes a site on a cluster of its own, for a test that needs the cluster as a whole.
    pub(crate) async fn own() -> Result<Self> {
        Self::on(Arc::new(Cluster::start().await?)).await
    }

    async fn on(cluster: Arc<Cluster>) -> Result<Self> {
        // Connections end with the test that opened them.
        let kube = Kube::of(&*cluster.server.lock().await)?;
        let site = Site::new().await?;
        let site = Self {
            kube,
            site,
            cluster,
        };
        site.configure("")?;
        Ok(site)
    }

    pub(crate) fn kube(&self) -> &Kube {
        &self.kube
    }

    /// Writes the configuration; `more` are lines of `kubernetes`, indented by two.
    pub(crate) fn configure(&self, more: &str) -> Result<()> {
        let kubeconfig = self.cluster.kubeconfig.display();
        self.configure_with(&format!(
            "  kubeconfig: {kubeconfig}\n  timeout: 30s\n{more}"
        ))
    }

    /// Writes the configuration with all lines of `kubernetes` given.
    pub(crate) fn configure_with(&self, kubernetes: &str) -> Result<()> {
        let (_, store) = self.store()?;
        self.write_config(&format!(
            "cluster: test\nstore: {store}\ntalos: {{ config: talosconfig }}\nkubernetes:\n{kubernetes}"
        ))
    }

    /// Returns `backupd snapshot` with these flags.
    pub(crate) fn snapshot(&self, flags: &[&str]) -> Command {
        let snapshot = self.backupd("snapshot").args(flags);
        snapshot.args(["--output", "json"])
    }

    /// Returns `backupd import` of a file in the folder, as etcd's snapshot.
    pub(crate) fn import(&self, file: &str) -> Command {
        let import = self.backupd("import").arg(file);
        import.args(["--component", "etcd", "--output", "json"])
    }

    /// Returns `backupd snapshot` of all exported components, of these kinds alone.
    pub(crate) fn export_of(&self, kinds: &[&str]) -> Command {
        let kinds = kinds.join(",");
        self.snapshot(&["--component", EXPORT, "--include-resources", &kinds])
    }

    /// Runs `snapshot` to its end; it must end with `code` and leave a restore point.
    pub(crate) async fn taken(&self, snapshot: &Command, code: i32) -> Result<Exported> {
        self.read(snapshot.output().await?, code)
    }

    /// Reads the results of a run that ended with `code`.
    pub(crate) fn read(&self, output: Output, code: i32) -> Result<Exported> {
        let output = output.ended_with(code)?;
        // Printed where a test fails, or with --nocapture, to read the output as an operator would.
        println!("--- code {code}\n{}", output.stderr);
        let newest = newest_manifest(&self.store()?.0)?;
        Ok(Exported {
            told: output.json()?,
            output,
            manifest: Manifest::parse(&std::fs::read(newest)?)?,
        })
    }

    /// Returns what `tar` prints with these options about the newest restore point's component.
    async fn tar(&self, component: &str, options: &str, path: &[&str]) -> Result<Output> {
        let file = format!("{}.tar", component.replace('/', "-"));
        let points = self.points().await?;
        let has = |point: &&Value| {
            let components = point["components"].as_array();
            components.is_some_and(|all| all.iter().any(|name| name == component))
        };
        let newest = points.iter().find(has).context("no restore point has it")?;
        let id = newest["id"].as_str().context("no id")?;
        let fetch = self.restore_cli("fetch").args([id, "--force"]);
        let fetch = fetch.args(["--component", component, "--to", &file]);
        let fetched = fetch.output().await?;
        // A component with gaps is fetched all the same, by its id.
        let code = if fetched.code == Some(7) { 7 } else { 0 };
        fetched.ended_with(code)?;
        let tar = Command::new("tar").arg(options).arg(file).args(path);
        tar.in_folder(self.folder.path()).ended_with(0).await
    }

    /// Returns the paths in the newest restore point's component.
    pub(crate) async fn paths(&self, component: &str) -> Result<Vec<String>> {
        let list = self.tar(component, "-tf", &[]).await?.stdout;
        Ok(list.lines().map(ToOwned::to_owned).collect())
    }

    /// Returns one object in the newest restore point's component.
    pub(crate) async fn object(&self, component: &str, path: &str) -> Result<Value> {
        self.tar(component, "-xOf", &[path]).await?.json()
    }
}

impl Exported {
    /// Returns the manifest's facts about a kind in a component.
    pub(crate) fn kind(&self, component: &ComponentName, resource: &str) -> Result<&KindFacts> {
        let component = self
            .manifest
            .component(component)
            .context("no such component")?;
        let archive = component.archive.as_ref().context("no archive")?;
        let mut kinds = archive.kinds.iter();
        let kind = kinds.find(|kind| kind.resource == resource);
        kind.with_context(|| format!("{resource} is not in {:?}", archive.kinds))
    }

    /// Returns the number of objects of a kind in `resources`.
    pub(crate) fn objects(&self, resource: &str) -> Result<u64> {
        Ok(self.kind(&ComponentName::resources(), resource)?.objects)
    }

    /// Returns the only finding on `object`, which must have this severity and be reported to the operator.
    pub(crate) fn finding(&self, object: &str, severity: Severity) -> Result<&Finding> {
        let found = self.manifest.findings.iter().filter(|f| f.object == object);
        let found: Vec<_> = found.collect();
        ensure!(found.len() == 1, "findings: {:#?}", self.manifest.findings);
        let finding = *found.first().context("no finding")?;
        ensure!(finding.severity == severity, "{finding:?}");
        if severity > Severity::Info {
            let told = &self.output.stderr;
            ensure!(
                told.contains(&finding.cause),
                "{finding:?} is not in\n{told}"
            );
        }
        Ok(finding)
    }

    /// Checks that every finding is on one of these objects.
    pub(crate) fn nothing_else(&self, objects: &[&str]) {
        for finding in &self.manifest.findings {
            assert!(objects.contains(&finding.object.as_str()), "{finding:?}");
        }
        assert_eq!(self.manifest.missing, []);
    }
}
