//! Answers that identify a server and its cluster.

use serde::Deserialize;

/// Answer of `/version`.
#[derive(Deserialize)]
pub(super) struct ServerVersion {
    #[serde(rename = "gitVersion")]
    pub(super) git_version: String,
}

/// Namespace, reduced to its UID. That of `kube-system` stands for the cluster.
#[derive(Deserialize)]
pub(super) struct NamespaceHead {
    pub(super) metadata: NamespaceUid,
}

/// Metadata of a namespace, reduced to its UID.
#[derive(Deserialize)]
pub(super) struct NamespaceUid {
    pub(super) uid: String,
}
