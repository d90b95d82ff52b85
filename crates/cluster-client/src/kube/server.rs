//! Cluster whose API server answers, and the answers that identify it.

use serde::Deserialize;

use super::connect::KubeOptions;
use super::failure::KubeError;
use super::request::Api;

/// Cluster that answered at least once.
#[derive(Debug)]
pub(super) struct ConnectedCluster {
    /// Its API.
    pub(super) api: Api,
    /// UID of its namespace `kube-system`, which stands for the cluster.
    pub(super) uid: String,
    /// Version of its API server.
    pub(super) version: String,
}

impl ConnectedCluster {
    /// Connects, and identifies the cluster.
    pub(super) async fn connect(options: &KubeOptions) -> Result<Self, KubeError> {
        let api = Api::connect(options).await?;
        let version = server_version(&api).await?;
        let uid = kube_system_uid(&api).await?;
        Ok(Self { api, uid, version })
    }
}

/// Returns the version of an API server.
pub(super) async fn server_version(api: &Api) -> Result<String, KubeError> {
    let version: ServerVersion = api.get("/version", "version").await?;
    Ok(version.git_version)
}

/// Returns the UID of a cluster's namespace `kube-system`.
pub(super) async fn kube_system_uid(api: &Api) -> Result<String, KubeError> {
    let path = "/api/v1/namespaces/kube-system";
    let namespace: NamespaceHead = api.get(path, "namespace").await?;
    Ok(namespace.metadata.uid)
}

/// Answer of `/version`.
#[derive(Deserialize)]
struct ServerVersion {
    #[serde(rename = "gitVersion")]
    git_version: String,
}

/// Namespace, reduced to its UID.
#[derive(Deserialize)]
struct NamespaceHead {
    metadata: NamespaceUid,
}

/// Metadata of a namespace, reduced to its UID.
#[derive(Deserialize)]
struct NamespaceUid {
    uid: String,
}
