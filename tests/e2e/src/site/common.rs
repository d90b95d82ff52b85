//! Components for the sites of tests, shared while any of the tests runs.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Mutex;

use crate::data::{Cluster, Shape};
use crate::etcd::Etcd;
use crate::kube_apiserver::KubeApiserver;
use crate::s3::S3;
use crate::{Folder, wait};

/// Time limit. An API server makes its first namespaces some seconds after it is ready.
const LIMIT: Duration = Duration::from_secs(90);
/// Number of objects: a database of about one megabyte, enough for every object of the format, and quick.
const OBJECTS: usize = 200;

static ETCD: Common<Housed<Etcd>> = Common::unused();
static S3_SERVER: Common<Housed<S3>> = Common::unused();

/// Component that tests share, started by the first of them. It ends with the last test that holds it: a static
/// would never be dropped, and leave its files.
pub struct Common<T>(Mutex<Weak<T>>);

impl<T> Common<T> {
    /// Returns one that no test uses.
    #[must_use]
    pub const fn unused() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// Returns the component that other tests use now, or starts it.
    ///
    /// # Errors
    /// Those of `start`.
    pub async fn get(&self, start: impl AsyncFnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut shared = self.0.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let running = Arc::new(start().await?);
        *shared = Arc::downgrade(&running);
        Ok(running)
    }
}

/// Component with the folder of its files. Fields drop in order: the folder last.
pub struct Housed<T> {
    component: T,
    _folder: Folder,
}

impl<T> Deref for Housed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.component
    }
}

/// Returns the S3 server; each test has buckets and users of its own.
///
/// # Errors
/// It cannot be found, built or started.
pub async fn s3() -> Result<Arc<Housed<S3>>> {
    let start = async || {
        let folder = Folder::new()?;
        Ok(Housed {
            component: S3::start(&folder).await?,
            _folder: folder,
        })
    };
    S3_SERVER.get(start).await
}

/// Returns an etcd with sample data; tests may add to it.
///
/// # Errors
/// It cannot be found, built, started or filled.
pub async fn etcd() -> Result<Arc<Housed<Etcd>>> {
    ETCD.get(filled).await
}

/// Starts an etcd with sample data for one test, for a test that depends on who writes to it.
///
/// # Errors
/// It cannot be found, built, started or filled.
pub async fn own_etcd() -> Result<Arc<Housed<Etcd>>> {
    Ok(Arc::new(filled().await?))
}

async fn filled() -> Result<Housed<Etcd>> {
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd").await?;
    let shape = Shape {
        objects: OBJECTS,
        ..Shape::small()
    };
    Cluster::fill(&etcd.client().await?, shape).await?;
    Ok(Housed {
        component: etcd,
        _folder: folder,
    })
}

/// API server on an etcd of its own, with nothing but what every cluster has. Fields drop in order: the server
/// before its etcd, the folder last.
pub struct Plane {
    /// API server.
    pub server: KubeApiserver,
    /// Its etcd.
    pub etcd: Etcd,
    /// Folder of both.
    pub folder: Folder,
}

impl Plane {
    /// Starts one, with a log of the requests of the user `audited`.
    ///
    /// # Errors
    /// A component cannot be found, built or started.
    pub async fn start(audited: Option<&str>) -> Result<Self> {
        const NAME: &str = "kube-apiserver";
        let folder = Folder::new()?;
        let etcd = Etcd::start(&folder, "etcd").await?;
        let server = match audited {
            Some(user) => KubeApiserver::start_audited(&folder, NAME, &etcd, user).await?,
            None => KubeApiserver::start(&folder, NAME, &etcd).await?,
        };
        // Every run reads it.
        wait::until("kube-system", LIMIT, async || {
            server.read("/api/v1/namespaces/kube-system").await
        })
        .await?;
        Ok(Self {
            server,
            etcd,
            folder,
        })
    }
}
