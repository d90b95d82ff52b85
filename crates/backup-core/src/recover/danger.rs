//! Danger that a restore takes only if it is allowed by name.

use serde::{Deserialize, Serialize};

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
    /// Nothing tells which cluster the restore point is of.
    UnknownCluster,
    /// A sealing key cannot be read by its controller.
    SealingKey,
    /// A node that may run an etcd of this cluster cannot be looked at; allowed, and if it does, two
    /// etcd clusters serve one Kubernetes.
    UnseenNode,
    /// A SealedSecret is opened by no sealing key that there will be; allowed, it stays sealed.
    MissingSealingKey,
    /// Nothing defines a kind; allowed, its objects are not restored.
    MissingDefinition,
    /// The DataStore of a control plane is neither restored nor there; allowed, Steward waits for it.
    MissingDatastore,
}

impl Danger {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ControlPlaneUpgrade,
        Self::DatastoreMigration,
        Self::TenantAuthority,
        Self::MissingSecret,
        Self::TenantData,
        Self::SharedSchema,
        Self::LostStatus,
        Self::TargetNotEmpty,
        Self::OtherLineage,
        Self::UnknownCluster,
        Self::SealingKey,
        Self::UnseenNode,
        Self::MissingSealingKey,
        Self::MissingDefinition,
        Self::MissingDatastore,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let text = serde_json::to_value(self).ok();
        text.and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}
