//! What a plan is asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::danger::Danger;
use super::super::fill::Fill;

/// How a cluster is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The same cluster: etcd comes back with all UIDs, then objects are brought forward.
    InPlace,
    /// A fresh cluster: every object is made anew.
    Rebuild,
}

/// A step of the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// etcd from the snapshot.
    Etcd,
    /// CustomResourceDefinitions.
    Crds,
    /// Everything else that is an object.
    Resources,
    /// Tenants are asked and compared.
    Verify,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::Crds, Self::Resources, Self::Verify];
}

/// What becomes of objects that are there and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// Updated, but for those that Helm or Flux looks after on a fresh cluster.
    #[default]
    Auto,
    /// Updated, all of them.
    Update,
    /// Left as they are.
    Keep,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Only these namespaces; empty for all.
    pub include_namespaces: BTreeSet<String>,
    /// Not these.
    pub exclude_namespaces: BTreeSet<String>,
    /// Only these kinds, as `plural`, `plural.group` or kind; empty for all.
    pub include_resources: BTreeSet<String>,
    /// Not these.
    pub exclude_resources: BTreeSet<String>,
    /// Only objects with these labels.
    pub labels: BTreeMap<String, String>,
    /// Only what belongs to this tenant, as `NAMESPACE/NAME`.
    pub tenant: Option<String>,
    /// What becomes of objects that are there and differ.
    pub existing: Existing,
    /// Whether fields that changed on both sides are overwritten.
    pub overwrite_conflicts: bool,
    /// Whether the archive's definitions win over the cluster's.
    pub overwrite_crds: bool,
    /// Whether objects go that are not in the archive, of kinds that were listed whole.
    pub prune: bool,
    /// Whether webhooks are left at work.
    pub keep_webhooks: bool,
    /// Live objects that the API server cannot read and that are deleted and made anew, as
    /// `KIND/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub replace_unreadable: BTreeSet<String>,
    /// Fields that are filled in where an object's definition does not admit it without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fill: Vec<Fill>,
    /// Dangers that are taken.
    pub allow: BTreeSet<Danger>,
}
