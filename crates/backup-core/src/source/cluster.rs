//! Source of the facts about a cluster that its components do not contain.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::format::export::{ArchiveFacts, KubernetesFacts};
use crate::format::manifest::{EtcdFacts, Finding};
use crate::id::ComponentName;

/// Source of the facts about a cluster that its components do not contain.
#[async_trait]
pub trait ClusterSource: Debug + Send + Sync {
    /// Returns the UID of the namespace `kube-system`.
    fn uid(&self) -> &str;

    /// Returns all other facts; called once all components of the run are `taken`.
    async fn facts(&self, taken: &[ComponentReport]) -> (KubernetesFacts, Vec<Finding>);
}

/// A component that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentReport {
    /// Name of the component.
    pub name: ComponentName,
    /// Facts read from an etcd snapshot.
    pub etcd: Option<EtcdFacts>,
    /// Facts about an archive.
    pub archive: Option<ArchiveFacts>,
}
