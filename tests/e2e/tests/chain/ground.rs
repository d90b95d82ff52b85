//! Ground that tests share while any of them runs: an etcd with data, an S3 server, keys.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result};
use e2e::Folder;
use e2e::data::{Cluster, Shape};
use e2e::etcd::Etcd;
use e2e::ours::Programs;
use e2e::s3::S3;
use tokio::sync::Mutex;

/// Number of objects: a database of about one megabyte, enough for every object of the format, and quick.
const OBJECTS: usize = 200;

/// Shared ground; see the module. Fields drop in order: the folder last.
pub(crate) struct Ground {
    pub(crate) s3: S3,
    pub(crate) etcd: Etcd,
    pub(crate) programs: Programs,
    /// Recipient of all restore points.
    pub(crate) recipient: String,
    folder: Folder,
    folders: AtomicU32,
}

/// Reference that ends with the last test that holds it: a static would never be dropped, and leave its
/// files.
static GROUND: Mutex<Weak<Ground>> = Mutex::const_new(Weak::new());

impl Ground {
    /// Returns the ground that other tests use now, or a new one.
    pub(crate) async fn shared() -> Result<Arc<Self>> {
        let mut shared = GROUND.lock().await;
        if let Some(ground) = shared.upgrade() {
            return Ok(ground);
        }
        let ground = Self::own().await?;
        *shared = Arc::downgrade(&ground);
        Ok(ground)
    }

    /// Makes a ground for one test, for a test that depends on who writes to etcd.
    pub(crate) async fn own() -> Result<Arc<Self>> {
        let folder = Folder::new()?;
        let programs = Programs::find()?;
        let (etcd, s3) = tokio::try_join!(Etcd::start(&folder, "etcd"), S3::start(&folder))?;
        let shape = Shape {
            objects: OBJECTS,
            ..Shape::small()
        };
        Cluster::fill(&etcd.client().await?, shape).await?;
        let keygen = programs.backupd().args(["keygen", "--out", "keys"]);
        let made = keygen.args(["--output", "json"]).in_folder(folder.path());
        let made = made.output().await?.ended_with(0)?.json()?;
        let recipient = made["recipient"].as_str().context("no recipient")?;
        Ok(Arc::new(Self {
            s3,
            etcd,
            programs,
            recipient: recipient.to_owned(),
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
