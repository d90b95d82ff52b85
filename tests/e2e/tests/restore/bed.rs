//! Bed of one test: a prefix in the scenario's bucket with a restore point of the whole scenario, keys, a
//! configuration.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::crypt::{Identities, Trust};
use backup_core::store::Store;
use backup_core::store::local::LocalStore;
use e2e::Folder;
use e2e::butler::Shared;
use e2e::ours::Programs;
use e2e::run::{Command, Output, Running};
use e2e::tools::{self, Tool};
use serde_json::Value;

/// Bed of one test; see the module. Fields drop in order: the folder last.
pub(crate) struct Bed {
    pub(crate) shared: Arc<Shared>,
    pub(crate) programs: Programs,
    prefix: String,
    pub(crate) folder: Folder,
}

impl Bed {
    /// Makes a bed with a restore point of the whole scenario below `prefix`.
    pub(crate) async fn new(prefix: &str) -> Result<Self> {
        Self::on(Shared::get().await?, prefix).await
    }

    /// Makes a bed on a scenario of the test's own.
    pub(crate) async fn on(shared: Arc<Shared>, prefix: &str) -> Result<Self> {
        let programs = Programs::find()?;
        let folder = Folder::new()?;
        let keygen = programs.backupd().args(["keygen", "--out", "keys"]);
        let made = keygen.args(["--output", "json"]).in_folder(folder.path());
        let made = made.output().await?.ended_with(0)?.json()?;
        let recipient = made["recipient"].as_str().context("no recipient")?;
        let butler = &shared.butler;
        let talosconfig = butler
            .talosconfigs
            .get("os:admin")
            .context("no talosconfig")?;
        let text = format!(
            "cluster: butler-mgmt\n\
             store: {}\n\
             talos: {{ config: {} }}\n\
             kubernetes: {{ kubeconfig: {} }}\n\
             encryption: {{ recipients: [{recipient}] }}\n\
             signing: {{ key: keys/signing.key }}\n\
             reading: {{ identities: [keys/identity.key], trust: [keys/signing.pub] }}\n",
            butler.store(prefix),
            talosconfig.display(),
            butler.kubeconfig().display(),
        );
        std::fs::write(folder.path().join("butler.yaml"), text)?;
        let bed = Self {
            shared,
            programs,
            prefix: prefix.to_owned(),
            folder,
        };
        bed.backupd("snapshot").output().await?.ended_with(0)?;
        Ok(bed)
    }

    /// Returns the prefix of its restore points in the bucket.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn backupd(&self, command: &str) -> Command {
        self.ours(self.programs.backupd().arg(command))
    }

    pub(crate) fn restore_cli(&self, command: &str) -> Command {
        self.ours(self.programs.restore_cli().arg(command))
    }

    fn ours(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", "butler.yaml")
            .env("HOME", self.folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.shared.butler.s3.keys().env())
            .in_folder(self.folder.path())
    }

    /// Returns the newest restore point and the identities that open it, for tests on the library.
    pub(crate) async fn newest(&self) -> Result<(Arc<dyn Store>, RestorePoint, Identities)> {
        // The S3 server keeps objects as files.
        let butler = &self.shared.butler;
        let objects = butler.s3.objects().join(&butler.bucket).join(&self.prefix);
        let store: Arc<dyn Store> = Arc::new(LocalStore::open(&objects).await?);
        let catalog = Catalog::new(Arc::clone(&store));
        let entry = catalog.list().await?.pop().unwrap();
        let point = catalog.load(&entry, &Trust::Anyone).await?;
        let key = std::fs::read_to_string(self.folder.path().join("keys/identity.key"))?;
        let mut identities = Identities::none();
        identities.add("identity.key", &key.into())?;
        Ok((store, point, identities))
    }

    /// Runs `plan latest` for the cluster of `kubeconfig`, with more arguments.
    pub(crate) async fn plan(&self, kubeconfig: &Path, more: &[&str]) -> Result<Output> {
        let plan = self
            .restore_cli("plan")
            .args(["latest", "--output", "json"]);
        let plan = plan.arg("--kubeconfig").arg(kubeconfig).args(more);
        plan.output().await
    }

    /// Returns `restore --plan` for the last plan, with consent.
    pub(crate) fn restore(&self, kubeconfig: &Path) -> Command {
        let restore = self.restore_cli("restore");
        let restore = restore.args(["--plan", "restore-plan.json", "--output", "json"]);
        let restore = restore.args(["--yes", "--target", "butler-mgmt"]);
        restore.arg("--kubeconfig").arg(kubeconfig)
    }

    /// Lets a restore go on when it has restored etcd, as the nodes do; returns its result.
    pub(crate) async fn brought_back(&mut self, running: Running) -> Result<Value> {
        let shared = Arc::get_mut(&mut self.shared).context("somebody else has it")?;
        let waited = e2e::wait::until("etcd", Duration::from_secs(180), async || {
            ensure!(shared.butler.talos.etcd_runs(), "not yet");
            Ok(())
        });
        if let Err(error) = waited.await {
            let ended = running.ended().await?;
            bail!("{error}: {}", ended.stderr);
        }
        shared.butler.resume().await?;
        running.ended().await?.ended_with(0)?.json()
    }

    /// Restores to the end; returns the result.
    pub(crate) async fn restored(&self, kubeconfig: &Path) -> Result<Value> {
        let restore = self.restore(kubeconfig).output().await?;
        let ran = restore.ended_with(0)?.json()?;
        anyhow::ensure!(ran["ended"] == "complete", "{ran:#}");
        Ok(ran)
    }

    /// Fetches a component of the newest restore point into a file.
    pub(crate) async fn fetch(&self, component: &str) -> Result<PathBuf> {
        let name = format!("{}.fetched", component.replace('/', "-"));
        let fetch = self.restore_cli("fetch").args(["latest", "--component"]);
        let fetch = fetch.args([component, "--to", &name, "--force"]);
        fetch.output().await?.ended_with(0)?;
        Ok(self.folder.path().join(name))
    }

    /// Returns every object of a kind that the cluster of `kubeconfig` has.
    pub(crate) async fn listed(&self, kubeconfig: &Path, resource: &str) -> Result<Vec<Value>> {
        let kubectl = Command::new(tools::path(Tool::Kubectl).await?);
        let kubectl = kubectl.env("KUBECACHEDIR", self.folder.path().join("kubectl"));
        let kubectl = kubectl.arg("--kubeconfig").arg(kubeconfig);
        let get = kubectl.args(["get", resource, "-A", "-o", "json"]);
        let list = get.output().await?.ended_with(0)?.json()?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }
}

/// Returns the journal in the folder of restores `folder`, once there is one.
pub(crate) fn journal_in(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).context("listing journals"),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "journal") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
