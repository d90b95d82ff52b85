//! Archives of an export, with the component that each becomes.

use backup_core::id::ComponentName;

/// Archive of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeArchive {
    /// CustomResourceDefinitions.
    Crds,
    /// Custom resources and the built-in kinds around them.
    Resources,
    /// Keys of sealed-secrets.
    SealedSecrets,
    /// Kubeconfigs of tenants.
    Kubeconfigs,
    /// Secrets and ConfigMaps.
    Secrets,
}

impl KubeArchive {
    /// All archives in the order in which they should be taken: resources determine which Secrets are wanted.
    pub const ALL: [Self; 5] = [
        Self::Crds,
        Self::SealedSecrets,
        Self::Resources,
        Self::Kubeconfigs,
        Self::Secrets,
    ];

    /// Returns the component's name.
    #[must_use]
    pub fn component(self) -> ComponentName {
        match self {
            Self::Crds => ComponentName::crds(),
            Self::Resources => ComponentName::resources(),
            Self::SealedSecrets => ComponentName::sealed_secrets(),
            Self::Kubeconfigs => ComponentName::kubeconfigs(),
            Self::Secrets => ComponentName::secrets(),
        }
    }
}
