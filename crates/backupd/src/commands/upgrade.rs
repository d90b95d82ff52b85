//! Parts that the two commands around an upgrade share.

use backup_cli::config::ConfigFlags;
use backup_cli::flags::{KubeFlags, SelectFlags, TalosFlags};
use backup_core::format::manifest::Manifest;
use serde::Serialize;

use crate::flags::{self, WriteFlags};

/// Beginning of the reason of a restore point before an upgrade.
pub(crate) const BEFORE: &str = "pre-upgrade";

/// The flags of both.
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeFlags {
    #[command(flatten)]
    write: WriteFlags,
    #[command(flatten)]
    talos: TalosFlags,
    #[command(flatten)]
    kube: KubeFlags,
    #[command(flatten)]
    select: SelectFlags,
}

impl UpgradeFlags {
    pub(crate) fn given(&self) -> ConfigFlags {
        ConfigFlags {
            kube: self.kube.clone(),
            select: self.select.clone(),
            ..flags::given(&self.write, Some(&self.talos))
        }
    }
}

/// Versions from which a restore point was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Versions {
    pub(crate) kubernetes: Option<String>,
    pub(crate) etcd: Option<String>,
    pub(crate) talos: Option<String>,
    pub(crate) butler_crds: Option<String>,
}

impl Versions {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let etcd = manifest.components.iter().find_map(|c| c.etcd.as_ref());
        let kubernetes = manifest.kubernetes.as_ref();
        Self {
            kubernetes: kubernetes.map(|k| k.version.clone()),
            etcd: etcd.and_then(|e| e.etcd_version.clone()),
            talos: etcd.and_then(|e| e.talos_version.clone()),
            butler_crds: kubernetes.and_then(|k| k.crd_chart.clone()),
        }
    }

    /// Returns each version with its name.
    pub(crate) fn named(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("Kubernetes", &self.kubernetes),
            ("etcd", &self.etcd),
            ("Talos", &self.talos),
            ("Butler CRDs", &self.butler_crds),
        ]
    }
}
