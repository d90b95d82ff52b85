//! Site of a test: a folder with keys and a configuration, the programs that work there, and what they stored.

mod butler;
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::crypt::{Identities, Trust};
use backup_core::store::Store;
use backup_core::store::local::LocalStore;
use serde_json::Value;

pub use self::butler::ButlerSite;
pub use self::common::{Common, Housed, Plane, etcd, own_etcd, s3};
use crate::Folder;
use crate::ours::Programs;
use crate::run::Command;
use crate::s3::Keys;
use crate::tools::{self, Tool};

/// Site; see the module.
#[derive(Debug)]
pub struct Site {
    /// Programs of the project.
    pub programs: Programs,
    /// Recipient of all restore points.
    pub recipient: String,
    /// Folder in which the programs run.
    pub folder: Folder,
    credentials: Vec<(&'static str, String)>,
}

impl Site {
    /// Makes a site with keys of its own, and no configuration.
    ///
    /// # Errors
    /// The programs are not there, or make no keys.
    pub async fn new() -> Result<Self> {
        let (programs, folder) = (Programs::find()?, Folder::new()?);
        let keygen = programs.backupd().args(["keygen", "--out", "keys"]);
        let keygen = keygen.args(["--output", "json"]).in_folder(folder.path());
        let made = keygen.json().await?;
        Ok(Self {
            programs,
            recipient: text(&made, "recipient")?,
            folder,
            credentials: Vec::new(),
        })
    }

    /// Gives the programs the credentials of an S3 server.
    #[must_use]
    pub fn with_credentials(self, keys: &Keys) -> Self {
        Self {
            credentials: keys.env().into(),
            ..self
        }
    }

    /// Returns a file of the keys.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join("keys").join(name)
    }

    /// Returns the configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("butler.yaml")
    }

    /// Writes the configuration: the lines for the keys, and `lines`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_config(&self, lines: &str) -> Result<()> {
        let text = format!(
            "encryption: {{ recipients: [{}] }}\n\
             signing: {{ key: {} }}\n\
             reading: {{ identities: [{}], trust: [{}] }}\n{lines}",
            self.recipient,
            self.key("signing.key").display(),
            self.key("identity.key").display(),
            self.key("signing.pub").display(),
        );
        std::fs::write(self.config(), text).context("writing butler.yaml")
    }

    /// Returns the folder for a store in the site, as a path and as the programs take it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn store(&self) -> Result<(PathBuf, String)> {
        let path = self.folder.make("store")?;
        let url = format!("file://{}", path.display());
        Ok((path, url))
    }

    /// Returns `backupd` with the configuration and the credentials.
    #[must_use]
    pub fn backupd(&self, command: &str) -> Command {
        self.ours(self.programs.backupd().arg(command))
    }

    /// Returns `restore-cli` with the configuration and the credentials.
    #[must_use]
    pub fn restore_cli(&self, command: &str) -> Command {
        self.ours(self.programs.restore_cli().arg(command))
    }

    fn ours(&self, command: Command) -> Command {
        let credentials = self.credentials.iter().cloned();
        self.without_credentials(command).envs(credentials)
    }

    /// Adds the configuration alone.
    #[must_use]
    pub fn without_credentials(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", "butler.yaml")
            .env("HOME", self.folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .in_folder(self.folder.path())
    }

    /// Takes a restore point, which must be complete; returns what the program tells of it.
    ///
    /// # Errors
    /// It ends otherwise.
    pub async fn take(&self, flags: &[&str]) -> Result<Value> {
        let snapshot = self.backupd("snapshot").args(flags);
        snapshot.args(["--output", "json"]).json().await
    }

    /// Takes a restore point as [`Site::take`] does; returns its id.
    ///
    /// # Errors
    /// As [`Site::take`].
    pub async fn take_id(&self, flags: &[&str]) -> Result<String> {
        text(&self.take(flags).await?, "restorePoint")
    }

    /// Returns the restore points as they are listed, newest first.
    ///
    /// # Errors
    /// They cannot be listed, or one cannot be read.
    pub async fn points(&self) -> Result<Vec<Value>> {
        let list = self.restore_cli("list").args(["--output", "json"]);
        let list = list.json().await?;
        let part = |name: &str| list.get(name).and_then(Value::as_array);
        let unreadable = part("unreadable").context("no list")?;
        ensure!(unreadable.is_empty(), "{list:#}");
        part("restorePoints").cloned().context("no list")
    }

    /// Returns the output of `show` for the newest restore point.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn shown(&self) -> Result<Value> {
        let show = self.restore_cli("show");
        show.args(["latest", "--output", "json"]).json().await
    }

    /// Fetches a component of the newest restore point into a file.
    ///
    /// # Errors
    /// It cannot be fetched whole.
    pub async fn fetched(&self, component: &str) -> Result<PathBuf> {
        let name = format!("{}.fetched", component.replace('/', "-"));
        let fetch = self.restore_cli("fetch").args(["latest", "--component"]);
        let fetch = fetch.args([component, "--to", &name, "--force"]);
        fetch.ended_with(0).await?;
        Ok(self.folder.join(name))
    }

    /// Returns the newest restore point in a folder and the identities that open it, for tests on the library.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn newest(&self, store: &Path) -> Result<(Arc<dyn Store>, RestorePoint, Identities)> {
        let store: Arc<dyn Store> = Arc::new(LocalStore::open(store).await?);
        let catalog = Catalog::new(Arc::clone(&store));
        let entry = catalog.list().await?.pop().context("no restore point")?;
        let point = catalog.load(&entry, &Trust::Anyone).await?;
        let key = std::fs::read_to_string(self.key("identity.key"))?;
        let mut identities = Identities::none();
        identities.add("identity.key", &key.into())?;
        Ok((store, point, identities))
    }

    /// Returns `kubectl` with this kubeconfig.
    ///
    /// # Errors
    /// It cannot be found or built.
    pub async fn kubectl(&self, kubeconfig: &Path) -> Result<Command> {
        let kubectl = Command::new(tools::path(Tool::Kubectl).await?);
        // kubectl would keep its discovery cache in the folder from which it is called.
        let kubectl = kubectl.env("KUBECACHEDIR", self.folder.join("kubectl"));
        Ok(kubectl.arg("--kubeconfig").arg(kubeconfig))
    }
}

/// Returns the file of the newest manifest in a store, whose objects are files.
///
/// # Errors
/// There is none.
pub fn newest_manifest(store: &Path) -> Result<PathBuf> {
    let folder = store.join("manifests");
    let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let files: Result<Vec<_>, _> = files.map(|file| file.map(|f| f.path())).collect();
    // Names begin with the time.
    files?.into_iter().max().context("no manifest")
}

/// Returns the journal in a folder of restores, once there is one.
///
/// # Errors
/// The folder cannot be read.
pub fn journal_in(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(folder).context("listing journals")?;
    let files: Result<Vec<_>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut files = files?.into_iter();
    Ok(files.find(|path| path.extension().is_some_and(|e| e == "journal")))
}

fn text(told: &Value, name: &str) -> Result<String> {
    let text = told.get(name).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {name}"))?.to_owned())
}
