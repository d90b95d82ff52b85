//! Dangers that a restore refuses unless they are allowed by name.

use serde::{Deserialize, Serialize};

/// Danger that a plan refuses unless it is allowed by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    /// A control plane was captured during an upgrade. If allowed, its status is restored without
    /// the version, and Steward brings it to the version of the spec.
    ControlPlaneUpgrade,
    /// A control plane's status names another DataStore than its spec. If allowed, Steward
    /// migrates.
    DatastoreMigration,
    /// A tenant's authority ends soon or lacks a key. If allowed, Steward makes a new one and every
    /// kubeconfig of the tenant becomes invalid.
    TenantAuthority,
    /// A Secret that cannot be made again is missing from the restore point.
    MissingSecret,
    /// The tenant's keys are not in its DataStore. If allowed, the tenant comes up empty.
    TenantData,
    /// Two control planes share the same keys.
    SharedSchema,
    /// Status that carries identity is missing. If allowed, a second tenant is made.
    LostStatus,
    /// The cluster already has tenants.
    TargetNotEmpty,
    /// The restore point is of another incarnation of the cluster.
    OtherLineage,
    /// The cluster of the restore point is unknown.
    UnknownCluster,
    /// The controller cannot read a sealing key.
    SealingKey,
    /// A node that may run an etcd of this cluster cannot be inspected. If this is allowed and the
    /// node does run one, two etcd clusters serve one Kubernetes.
    UnseenNode,
    /// No sealing key that is restored or in the cluster opens a SealedSecret. If allowed, it stays
    /// sealed.
    MissingSealingKey,
    /// A kind has no definition. If allowed, its objects are not restored.
    MissingDefinition,
    /// The DataStore of a control plane is neither restored nor in the cluster. If allowed, Steward
    /// waits for it.
    MissingDatastore,
}

impl Danger {
    /// All dangers.
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

    /// Returns its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let text = serde_json::to_value(self).ok();
        text.and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}
