//! Site whose cluster has objects: a real API server with kinds of Butler's.

use anyhow::Result;
use e2e::Folder;
use e2e::butler::define;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::site::Plane;
use serde_json::{Value, json};

use super::site::ChainSite;

/// Path of a kind of which tests make objects.
pub(crate) const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";

/// Cluster of one test; see the module.
pub(crate) struct Cluster {
    pub(crate) site: ChainSite,
    pub(crate) server: KubeApiserver,
    pub(crate) etcd: Etcd,
    pub(crate) folder: Folder,
}

impl Cluster {
    /// Starts it, and defines `kinds`.
    pub(crate) async fn start(kinds: &[&str]) -> Result<Self> {
        Self::on(Plane::start(None).await?, kinds).await
    }

    /// Starts it with a log of the requests of `user`.
    pub(crate) async fn start_audited(kinds: &[&str], user: &str) -> Result<Self> {
        Self::on(Plane::start(Some(user)).await?, kinds).await
    }

    async fn on(plane: Plane, kinds: &[&str]) -> Result<Self> {
        for kind in kinds {
            define(&plane.server, kind).await?;
        }
        Ok(Self {
            site: ChainSite::new().await?,
            server: plane.server,
            etcd: plane.etcd,
            folder: plane.folder,
        })
    }
}

/// Returns an object of [`TEAMS`].
pub(crate) fn team(name: &str) -> Value {
    json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": name }, "spec": { "displayName": name },
    })
}
