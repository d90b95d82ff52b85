//! Bed of one test: a store, a configuration file, and the results of an export.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use backup_core::format::export::KindFacts;
use backup_core::format::manifest::{Finding, Manifest, Severity};
use backup_core::id::ComponentName;
use e2e::run::{Command, Output};
use serde_json::Value;

use super::ground::Ground;
use super::kube::Kube;

/// Components of the export.
pub(crate) const EXPORT: &str = "crds,sealed-secrets,resources,kubeconfigs,secrets";

/// Bed of one test; see the module.
pub(crate) struct Bed {
    kube: Kube,
    pub(crate) folder: PathBuf,
    pub(crate) ground: Arc<Ground>,
}

/// Restore point of an export.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) output: Output,
    /// Output of the program.
    pub(crate) told: Value,
    pub(crate) manifest: Manifest,
}

impl Bed {
    /// Makes a bed on the shared ground.
    pub(crate) async fn new() -> Result<Self> {
        Self::on(Ground::shared().await?).await
    }

    /// Makes a bed on a ground of its own.
    pub(crate) async fn own() -> Result<Self> {
        Self::on(Ground::own().await?).await
    }

    async fn on(ground: Arc<Ground>) -> Result<Self> {
        // Connections end with the test that opened them.
        let kube = Kube::of(&*ground.server.lock().await)?;
        let bed = Self {
            kube,
            folder: ground.folder()?,
            ground,
        };
        bed.configure("")?;
        Ok(bed)
    }

    pub(crate) fn kube(&self) -> &Kube {
        &self.kube
    }

    /// Writes the configuration; `more` are lines of `kubernetes`, indented by two.
    pub(crate) fn configure(&self, more: &str) -> Result<()> {
        let kubeconfig = self.ground.kubeconfig.display();
        self.configure_with(&format!(
            "  kubeconfig: {kubeconfig}\n  timeout: 30s\n{more}"
        ))
    }

    /// Writes the configuration with all lines of `kubernetes` given.
    pub(crate) fn configure_with(&self, kubernetes: &str) -> Result<()> {
        let key = |name: &str| self.ground.key(name).display().to_string();
        let text = format!(
            "cluster: test\n\
             store: file://{}\n\
             talos: {{ config: talosconfig }}\n\
             encryption: {{ recipients: [{}] }}\n\
             signing: {{ key: {} }}\n\
             reading: {{ identities: [{}], trust: [{}] }}\n\
             kubernetes:\n{kubernetes}",
            self.store().display(),
            self.ground.recipient,
            key("signing.key"),
            key("identity.key"),
            key("signing.pub"),
        );
        std::fs::create_dir_all(self.store())?;
        std::fs::write(self.folder.join("butler.yaml"), text).context("writing butler.yaml")
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn ours(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", "butler.yaml")
            .env("HOME", &self.folder)
            .in_folder(&self.folder)
    }

    /// Returns `backupd snapshot` with these flags.
    pub(crate) fn snapshot(&self, flags: &[&str]) -> Command {
        let snapshot = self.ground.programs.backupd().arg("snapshot").args(flags);
        self.ours(snapshot.args(["--output", "json"]))
    }

    /// Returns `backupd import` of a file in the folder, as etcd's snapshot.
    pub(crate) fn import(&self, file: &str) -> Command {
        let import = self.ground.programs.backupd().args(["import", file]);
        self.ours(import.args(["--component", "etcd", "--output", "json"]))
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
        let told = output.json()?;
        let folder = self.store().join("manifests");
        let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let files: Result<Vec<_>, _> = files.map(|file| file.map(|f| f.path())).collect();
        // Names begin with the time.
        let newest = files?.into_iter().max().context("no manifest")?;
        Ok(Exported {
            output,
            told,
            manifest: Manifest::parse(&std::fs::read(newest)?)?,
        })
    }

    /// Returns `restore-cli` with these arguments.
    pub(crate) fn restore_cli(&self, args: &[&str]) -> Command {
        self.ours(self.ground.programs.restore_cli().args(args))
    }

    /// Fetches the newest restore point's component into a file.
    pub(crate) async fn fetched(&self, component: &str) -> Result<PathBuf> {
        let name = component.replace('/', "-");
        let file = self.folder.join(format!("{name}.fetched"));
        let fetch = self.ground.programs.restore_cli();
        let list = self.restore_cli(&["list", "--output", "json"]);
        let list = list.output().await?.ended_with(0)?.json()?;
        let points = list["restorePoints"].as_array().context("no list")?;
        let has = |point: &&Value| {
            let components = point["components"].as_array();
            components.is_some_and(|all| all.iter().any(|name| name == component))
        };
        let newest = points.iter().find(has).context("no restore point has it")?;
        let id = newest["id"].as_str().context("no id")?;
        let fetch = fetch.args(["fetch", id, "--force", "--component", component, "--to"]);
        let fetched = self.ours(fetch.arg(&file)).output().await?;
        // A component with gaps is fetched all the same, by its id.
        let code = if fetched.code == Some(7) { 7 } else { 0 };
        fetched.ended_with(code)?;
        Ok(file)
    }

    /// Returns the paths in the newest restore point's component, as `tar` lists them.
    pub(crate) async fn paths(&self, component: &str) -> Result<Vec<String>> {
        let file = self.fetched(component).await?;
        let list = Command::new("tar").arg("-tf").arg(file).output().await?;
        let list = list.ended_with(0)?.stdout;
        Ok(list.lines().map(ToOwned::to_owned).collect())
    }

    /// Returns one object in the newest restore point's component, as `tar` extracts it.
    pub(crate) async fn object(&self, component: &str, path: &str) -> Result<Value> {
        let file = self.fetched(component).await?;
        let extract = Command::new("tar").arg("-xOf").arg(file).arg(path);
        extract.output().await?.ended_with(0)?.json()
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
