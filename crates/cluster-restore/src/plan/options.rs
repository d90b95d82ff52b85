//! Options that a plan is made with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::danger::Danger;
use super::super::fill::Fill;

/// Mode of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The same cluster: etcd is restored with all UIDs, then objects are brought forward.
    InPlace,
    /// A fresh cluster: every object is created again.
    Rebuild,
}

/// Step of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Restore of etcd from the snapshot.
    Etcd,
    /// Restore of CustomResourceDefinitions.
    Crds,
    /// Restore of all other objects.
    Resources,
    /// Query and comparison of the tenants.
    Verify,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::Crds, Self::Resources, Self::Verify];
}

/// Treatment of live objects that differ from the captured ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingPolicy {
    /// Objects are updated, except those that Helm or Flux manages on a fresh cluster.
    #[default]
    Auto,
    /// All objects are updated.
    Update,
    /// All objects are left as they are.
    Keep,
}

/// Options of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Namespaces to restore; empty for all.
    pub include_namespaces: BTreeSet<String>,
    /// Namespaces to leave out.
    pub exclude_namespaces: BTreeSet<String>,
    /// Kinds to restore, as `plural`, `plural.group` or kind; empty for all.
    pub include_resources: BTreeSet<String>,
    /// Kinds to leave out.
    pub exclude_resources: BTreeSet<String>,
    /// Labels that an object must have.
    pub labels: BTreeMap<String, String>,
    /// Tenant whose objects are restored, as `NAMESPACE/NAME`; `None` for all objects.
    pub tenant: Option<String>,
    /// Treatment of live objects that differ from the captured ones.
    pub existing: ExistingPolicy,
    /// Whether fields that changed on both sides are overwritten.
    pub overwrite_conflicts: bool,
    /// Whether the archive's definitions win over the cluster's.
    pub overwrite_crds: bool,
    /// Whether objects that the archive lacks are deleted, for kinds that were captured completely.
    pub prune: bool,
    /// Whether webhooks stay active.
    pub keep_webhooks: bool,
    /// Live objects that the API server cannot read and that are deleted and created again, as
    /// `KIND/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub replace_unreadable: BTreeSet<String>,
    /// Fields to fill in where an object's definition requires them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fill: Vec<Fill>,
    /// Dangers that the operator accepts.
    pub allow: BTreeSet<Danger>,
}
