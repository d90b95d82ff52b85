//! Facts from which a runbook is made.

use backup_core::catalog::RestorePoint;
use backup_core::crypt::Trust;
use backup_core::format::export::{KubernetesFacts, TenantFacts};
use backup_core::format::manifest::{Component, EtcdFacts};
use backup_core::id::ComponentName;
use backup_core::store::url::StoreUrl;
use cluster_restore::orchestrate::PastDurations;
use cluster_restore::plan::Mode;

use crate::commands::gaps::GapReport;

/// Facts of a runbook; see the module.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) point: RestorePoint,
    pub(super) mode: Mode,
    pub(super) store: StoreUrl,
    pub(super) trust: Trust,
    pub(super) nodes: Nodes,
    pub(super) took: Option<PastDurations>,
    /// Gaps of the restore point.
    pub(super) lacked: Vec<GapReport>,
}

/// Nodes of the cluster and access to them, as far as known.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Nodes from flags, configuration or talosconfig.
    pub(super) named: Vec<String>,
    /// Endpoints of the talosconfig.
    pub(super) endpoints: Vec<String>,
    /// Context of the talosconfig, if there is one.
    pub(super) context: Option<String>,
}

impl Facts {
    pub(super) fn id(&self) -> String {
        self.point.entry.id.to_string()
    }

    pub(super) fn in_place(&self) -> bool {
        self.mode == Mode::InPlace
    }

    /// Reports whether there are objects to restore.
    pub(super) fn has_objects(&self) -> bool {
        let resources = ComponentName::resources();
        self.point.manifest.component(&resources).is_some()
    }

    pub(super) fn etcd(&self) -> Option<(&Component, &EtcdFacts)> {
        let component = self.point.manifest.component(&ComponentName::etcd())?;
        Some((component, component.etcd.as_ref()?))
    }

    /// Returns the components that are etcds of DataStores, with the DataStore's name.
    pub(super) fn datastores(&self) -> impl Iterator<Item = (&str, &Component)> {
        let components = self.point.manifest.components.iter();
        components.filter_map(|c| Some((c.name.datastore_name()?, c)))
    }

    /// Returns the names of the tenants' DataStores that have no component, sorted.
    pub(super) fn lost_datastores(&self) -> Vec<&str> {
        let tenants = self.tenants().iter();
        let mut lost: Vec<&str> = tenants
            .filter_map(|t| t.control_plane.as_ref()?.datastore.as_deref())
            .filter(|name| !self.datastores().any(|(known, _)| known == *name))
            .collect();
        lost.sort_unstable();
        lost.dedup();
        lost
    }

    pub(super) fn kubernetes(&self) -> Option<&KubernetesFacts> {
        self.point.manifest.kubernetes.as_ref()
    }

    pub(super) fn tenants(&self) -> &[TenantFacts] {
        self.kubernetes().map_or(&[], |k| k.tenants.as_slice())
    }

    /// Returns the public keys whose holders can open all of it, sorted.
    pub(super) fn recipients(&self) -> Vec<String> {
        let mut epochs = self.point.manifest.epochs().iter();
        let Some(first) = epochs.next() else {
            return Vec::new();
        };
        let mut all = first.recipients.clone();
        for epoch in epochs {
            all.retain(|recipient| epoch.recipients.contains(recipient));
        }
        all.sort();
        all.dedup();
        all.iter().map(ToString::to_string).collect()
    }

    /// Returns the nodes for which commands are written. If only the manifest is known, that is the node of
    /// the snapshot.
    pub(super) fn nodes(&self) -> Vec<String> {
        if !self.nodes.named.is_empty() {
            return self.nodes.named.clone();
        }
        let origin = self.etcd().map(|(_, etcd)| etcd.origin.clone());
        let node = origin.filter(|origin| origin != "import" && !origin.is_empty());
        node.into_iter().collect()
    }
}
