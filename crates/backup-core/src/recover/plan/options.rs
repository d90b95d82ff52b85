//! What a plan is asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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

/// Something that a plan refuses unless it is allowed by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    /// A control plane was captured in the middle of an upgrade; allowed, its status goes without
    /// the version, and Steward brings it to the one of the spec.
    ControlPlaneUpgrade,
    /// A control plane's status names another DataStore than its spec; allowed, Steward migrates.
    DatastoreMigration,
    /// A tenant's authority ends soon or lacks a key; allowed, Steward makes a new one and every
    /// kubeconfig of the tenant ends.
    TenantAuthority,
    /// A Secret that cannot be made again is not in the restore point.
    MissingSecret,
    /// The tenant's keys are not in its DataStore; allowed, it comes up empty.
    TenantData,
    /// A control plane shares another one's keys.
    SharedSchema,
    /// Status that carries identity is missing; allowed, a second tenant is made.
    LostStatus,
    /// The cluster has tenants already.
    TargetNotEmpty,
    /// The restore point is of another incarnation of the cluster.
    OtherLineage,
    /// A sealing key cannot be read by its controller.
    SealingKey,
}

impl Danger {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ControlPlaneUpgrade,
        Self::DatastoreMigration,
        Self::TenantAuthority,
        Self::MissingSecret,
        Self::TenantData,
        Self::SharedSchema,
        Self::LostStatus,
        Self::TargetNotEmpty,
        Self::OtherLineage,
        Self::SealingKey,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let text = serde_json::to_value(self).ok();
        text.and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
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
    /// Dangers that are taken.
    pub allow: BTreeSet<Danger>,
}
