//! Bed of one test: a prefix in the scenario's bucket, keys, a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use e2e::Folder;
use e2e::butler::Shared;
use e2e::ours::Programs;
use e2e::run::Command;
use e2e::tools::{self, Tool};
use serde_json::Value;

/// Bed of one test; see the module. Fields drop in order: the folder last.
pub(crate) struct Bed {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prefix: &'static str,
    programs: Programs,
    folder: Folder,
}

impl Bed {
    /// Makes a bed with its restore points below `prefix`.
    pub(crate) async fn new(prefix: &'static str) -> Result<Self> {
        let shared = Shared::get().await?;
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
            "cluster: test\n\
             store: {}\n\
             talos: {{ config: {} }}\n\
             kubernetes: {{ kubeconfig: {kubeconfig}, keep-kubeconfigs: [{kubeconfig}] }}\n\
             encryption: {{ recipients: [{recipient}] }}\n\
             signing: {{ key: keys/signing.key }}\n\
             reading: {{ identities: [keys/identity.key], trust: [keys/signing.pub] }}\n",
            butler.store(prefix),
            talosconfig.display(),
            kubeconfig = butler.kubeconfig().display(),
        );
        std::fs::write(folder.path().join("butler.yaml"), text)?;
        Ok(Self {
            shared,
            prefix,
            programs,
            folder,
        })
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

    /// Takes a restore point of everything, which must be complete.
    pub(crate) async fn snapshot(&self) -> Result<Value> {
        let taken = self.backupd("snapshot").args(["--output", "json"]);
        taken.output().await?.ended_with(0)?.json()
    }

    /// Fetches a component of the newest restore point into a file.
    pub(crate) async fn fetch(&self, component: &str) -> Result<PathBuf> {
        let name = format!("{}.fetched", component.replace('/', "-"));
        let fetch = self.restore_cli("fetch").args(["latest", "--component"]);
        let fetch = fetch.args([component, "--to", &name, "--force"]);
        fetch.output().await?.ended_with(0)?;
        Ok(self.folder.path().join(name))
    }

    /// Returns the output of `show` for the newest restore point.
    pub(crate) async fn shown(&self) -> Result<Value> {
        let show = self
            .restore_cli("show")
            .args(["latest", "--output", "json"]);
        show.output().await?.ended_with(0)?.json()
    }

    /// Returns `kubectl` with this kubeconfig.
    pub(crate) async fn kubectl(&self, kubeconfig: &Path) -> Result<Command> {
        let kubectl = Command::new(tools::path(Tool::Kubectl).await?);
        // kubectl would keep its discovery cache in the folder from which it is called.
        let kubectl = kubectl.env("KUBECACHEDIR", self.folder.path().join("kubectl"));
        Ok(kubectl.arg("--kubeconfig").arg(kubeconfig))
    }

    /// Reads the newest manifest from the bucket.
    pub(crate) fn manifest(&self) -> Result<Value> {
        let butler = &self.shared.butler;
        let folder = butler.s3.objects().join(&butler.bucket);
        let folder = folder.join(self.prefix).join("manifests");
        let names = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
        let newest = names.collect::<Result<Vec<_>>>()?.into_iter().max();
        let text = std::fs::read(newest.context("no manifest")?)?;
        serde_json::from_slice(&text).context("reading the manifest")
    }
}
