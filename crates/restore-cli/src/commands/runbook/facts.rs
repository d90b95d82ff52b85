//! Facts from which a runbook is made.

use backup_core::catalog::RestorePoint;
use backup_core::crypt::Trust;
use backup_core::format::export::{ControlPlaneFacts, KubernetesFacts, TenantFacts};
use backup_core::format::manifest::{Component, EtcdFacts, Severity};
use backup_core::id::ComponentName;
use backup_core::store::url::StoreUrl;
use cluster_restore::plan::Mode;

use super::shell::word;
use crate::commands::gaps::GapReport;
use crate::commands::recover::PastDurations;

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

    pub(super) fn cluster(&self) -> &str {
        self.point.manifest.cluster.as_str()
    }

    pub(super) fn in_place(&self) -> bool {
        self.mode == Mode::InPlace
    }

    pub(super) fn has(&self, name: &ComponentName) -> bool {
        self.point.manifest.component(name).is_some()
    }

    /// Reports whether there are objects to restore.
    pub(super) fn has_objects(&self) -> bool {
        self.has(&ComponentName::resources())
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

    pub(super) fn kubernetes(&self) -> Option<&KubernetesFacts> {
        self.point.manifest.kubernetes.as_ref()
    }

    pub(super) fn tenants(&self) -> &[TenantFacts] {
        self.kubernetes().map_or(&[], |k| k.tenants.as_slice())
    }

    /// Returns tenants with a control plane in a known namespace: tenant, namespace, control plane.
    pub(super) fn control_planes(
        &self,
    ) -> impl Iterator<Item = (&TenantFacts, &str, &ControlPlaneFacts)> {
        let tenants = self.tenants().iter();
        tenants.filter_map(|t| Some((t, t.tenant_namespace.as_deref()?, t.control_plane.as_ref()?)))
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

    pub(super) fn encrypted(&self) -> bool {
        !self.point.manifest.epochs().is_empty()
    }

    /// Returns the flag that a decrypting command needs at its end.
    pub(super) fn identity(&self) -> &'static str {
        if self.encrypted() {
            " --identity \"$BUTLER_IDENTITY\""
        } else {
            ""
        }
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

    /// Returns the nodes as words of commands.
    pub(super) fn node_words(&self) -> Vec<String> {
        self.nodes().iter().map(|node| word(node)).collect()
    }

    /// Returns the facts that are unknown.
    pub(super) fn unknown(&self) -> Vec<String> {
        let mut unknown = Vec::new();
        let mut tell = |is: bool, what: &str| {
            if is {
                unknown.push(what.to_owned());
            }
        };
        let no_nodes = self.nodes.named.is_empty();
        tell(
            self.in_place() && self.nodes.context.is_none(),
            "how the Talos API is reached: no talosconfig could be read when this was written",
        );
        tell(
            self.in_place() && no_nodes,
            "the addresses of the control plane nodes: neither a flag, nor the configuration, nor a \
             talosconfig named them; commands name the node that the snapshot is from",
        );
        tell(
            self.in_place(),
            "which of the nodes are of the control plane, and what state they are in: `restore-cli \
             restore etcd` looks at each of them",
        );
        tell(
            self.took.is_none(),
            "how long it takes: there is no journal of such a restore that was complete",
        );
        tell(
            self.encrypted(),
            "who holds the private halves of the keys, and where: a restore point has only public \
             keys. Write the names beside them",
        );
        tell(
            self.kubernetes().is_none(),
            "tenants, versions and the cluster's identity: the restore point has nothing from the \
             Kubernetes API",
        );
        for tenant in self.tenants() {
            let place = tenant.tenant_namespace.is_none() || tenant.control_plane.is_none();
            if place {
                unknown.push(format!(
                    "where the control plane of tenant `{}/{}` is",
                    tenant.namespace, tenant.name
                ));
            }
        }
        let datastores = self.tenants().iter();
        let mut lost: Vec<&str> = datastores
            .filter_map(|t| t.control_plane.as_ref()?.datastore.as_deref())
            .filter(|name| !self.datastores().any(|(known, _)| known == *name))
            .collect();
        lost.sort_unstable();
        lost.dedup();
        for name in lost {
            unknown.push(format!(
                "the tenants' own data: the etcd of DataStore `{name}` is not in this restore point, \
                 and must have outlived the cluster or be brought back from elsewhere"
            ));
        }
        unknown
    }

    /// Returns the run's findings that matter for a restore.
    pub(super) fn findings(&self) -> Vec<[String; 4]> {
        let findings = self.point.manifest.findings.iter();
        let worth = findings.filter(|f| f.severity != Severity::Info);
        let rows = worth.map(|f| {
            let severity = if f.severity == Severity::Error {
                "ERROR"
            } else {
                "warning"
            };
            [
                severity.to_owned(),
                f.object.clone(),
                f.cause.clone(),
                f.remedy.clone(),
            ]
        });
        rows.collect()
    }
}
