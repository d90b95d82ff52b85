//! Ground of the tests: an etcd, an API server, a stand-in for webhooks and extension APIs, keys.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result};
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::ours::Programs;
use tokio::sync::Mutex;

use super::kube::Kube;
use super::standin::Standin;

/// Shared ground; see the module. Fields drop in order: the folder last.
pub(crate) struct Ground {
    pub(crate) server: Mutex<KubeApiserver>,
    pub(crate) standin: Standin,
    pub(crate) etcd: Etcd,
    pub(crate) programs: Programs,
    /// Recipient of all restore points.
    pub(crate) recipient: String,
    /// Kubeconfig of the administrator.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) folder: Folder,
    folders: AtomicU32,
}

/// Reference that ends with the last test that holds it: a static would never be dropped, and leave its
/// files.
static GROUND: Mutex<Weak<Ground>> = Mutex::const_new(Weak::new());

impl Ground {
    /// Returns the ground that other tests use now, or a new one. A test on it breaks only its own kinds and
    /// namespaces, and leaves no group that cannot be discovered.
    pub(crate) async fn shared() -> Result<Arc<Self>> {
        let mut shared = GROUND.lock().await;
        if let Some(ground) = shared.upgrade() {
            return Ok(ground);
        }
        let ground = Self::own().await?;
        *shared = Arc::downgrade(&ground);
        Ok(ground)
    }

    /// Makes a ground for a test that needs the cluster as a whole.
    pub(crate) async fn own() -> Result<Arc<Self>> {
        let folder = Folder::new()?;
        let programs = Programs::find()?;
        let etcd = Etcd::start(&folder, "etcd").await?;
        let server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
        let keygen = programs.backupd().args(["keygen", "--out", "keys"]);
        let made = keygen.args(["--output", "json"]).in_folder(folder.path());
        let made = made.output().await?.ended_with(0)?.json()?;
        let recipient = made["recipient"].as_str().context("no recipient")?;
        // The server makes it some time after it is ready, and every run reads it.
        let kube = Kube::of(&server)?;
        kube.served("/api/v1/namespaces/kube-system").await?;
        Ok(Arc::new(Self {
            standin: Standin::start()?,
            etcd,
            programs,
            recipient: recipient.to_owned(),
            kubeconfig: server.kubeconfig(),
            server: Mutex::new(server),
            folder,
            folders: AtomicU32::new(0),
        }))
    }

    /// Returns a file of the keys.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.join("keys").join(name)
    }

    /// Makes a new folder for a test.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        self.folder.make(format!("test-{number}"))
    }
}
