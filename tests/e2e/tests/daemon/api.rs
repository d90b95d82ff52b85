//! Bed whose cluster has objects: a real API server with kinds of Butler's.

use std::time::Duration;

use anyhow::Result;
use e2e::Folder;
use e2e::butler::define;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::wait::until;
use serde_json::{Value, json};

use super::bed::Bed;

/// Time limit. An API server is up in some seconds; a busy machine gets much more.
const LIMIT: Duration = Duration::from_secs(90);
/// Path of a kind of which tests make objects.
pub(crate) const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";

/// Cluster of one test; see the module.
pub(crate) struct Cluster {
    pub(crate) bed: Bed,
    pub(crate) folder: Folder,
    pub(crate) server: KubeApiserver,
    pub(crate) etcd: Etcd,
}

impl Cluster {
    /// Starts it, and defines `kinds`.
    pub(crate) async fn start(kinds: &[&str]) -> Result<Self> {
        let (folder, etcd) = etcd().await?;
        let server = KubeApiserver::start(&folder, SERVER, &etcd).await?;
        Self::with(folder, etcd, server, kinds).await
    }

    /// Starts it with a log of the requests of `user`.
    pub(crate) async fn start_audited(kinds: &[&str], user: &str) -> Result<Self> {
        let (folder, etcd) = etcd().await?;
        let server = KubeApiserver::start_audited(&folder, SERVER, &etcd, user).await?;
        Self::with(folder, etcd, server, kinds).await
    }

    async fn with(
        folder: Folder,
        etcd: Etcd,
        server: KubeApiserver,
        kinds: &[&str],
    ) -> Result<Self> {
        until("kube-system", LIMIT, async || {
            let path = "/api/v1/namespaces/kube-system";
            server.read(path).await.map(drop)
        })
        .await?;
        for kind in kinds {
            define(&server, kind).await?;
        }
        Ok(Self {
            bed: Bed::new().await?,
            folder,
            server,
            etcd,
        })
    }
}

const SERVER: &str = "kube-apiserver";

async fn etcd() -> Result<(Folder, Etcd)> {
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd-of-the-api").await?;
    Ok((folder, etcd))
}

/// Returns an object of [`TEAMS`].
pub(crate) fn team(name: &str) -> Value {
    json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": name }, "spec": { "displayName": name },
    })
}
