//! Checks of control planes: unfinished upgrades or migrations, missing Secrets, shared keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{DangerChecker, LiveObjects};
use crate::plan::Danger;
use crate::spool::Entry;
use backup_core::archive::ObjectPath;
use backup_core::format::export::ControlPlaneFacts;
use backup_core::format::manifest::Severity;
use cluster_client::kube::control_plane;

pub(crate) const CONTROL_PLANES: &str = "tenantcontrolplanes.steward.butlerlabs.dev";

/// Facts about a control plane that the checks use.
#[derive(Debug, Clone)]
pub(crate) struct ControlPlane {
    pub(crate) namespace: String,
    pub(crate) facts: ControlPlaneFacts,
    talos: bool,
    /// Whether the control plane ever had an authority.
    pub(crate) ran: bool,
}

impl ControlPlane {
    pub(crate) fn of(path: &ObjectPath, object: &Value) -> Self {
        let namespace = path.namespace.clone().unwrap_or_default();
        Self {
            facts: control_plane(&namespace, &path.name, object),
            talos: object.pointer("/spec/addons/talos").is_some()
                || object.pointer("/spec/workerBootstrap").is_some(),
            ran: object.pointer("/status/certificates/ca").is_some(),
            namespace,
        }
    }

    /// Returns `NAMESPACE/NAME`.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.facts.name)
    }

    /// Returns the DataStore that the control plane names; empty if it names none.
    pub(crate) fn datastore(&self) -> &str {
        self.facts.datastore.as_deref().unwrap_or_default()
    }
}

impl DangerChecker {
    pub(super) fn control_plane(&mut self, entry: &Entry, object: &Value) {
        let text = |pointer: &str| {
            let held = object.pointer(pointer).and_then(Value::as_str);
            held.filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let place = || entry.path.to_string();
        let wanted = text("/spec/kubernetes/version");
        let has = text("/status/kubernetesResources/version/version");
        let phase = text("/status/kubernetesResources/version/status");
        if has.is_some() && has != wanted && phase.as_deref() != Some("Upgrading") {
            self.say(
                Some(Danger::ControlPlaneUpgrade),
                Severity::Error,
                place(),
                format!(
                    "it was captured at the start of an upgrade: its status says {} and its spec \
                     {}; Steward would wait for nodes of a control plane that it does not create",
                    has.as_deref().unwrap_or_default(),
                    wanted.as_deref().unwrap_or("nothing")
                ),
                "`--allow control-plane-upgrade` leaves that version out, and Steward brings the \
                 control plane to the spec's",
            );
        }
        let spec = text("/spec/dataStore");
        let status = text("/status/storage/dataStoreName");
        if let (Some(spec), Some(status)) = (&spec, &status)
            && spec != status
        {
            self.say(
                Some(Danger::DatastoreMigration),
                Severity::Error,
                place(),
                format!("its spec names DataStore {spec} and its status {status}: Steward would migrate it at once"),
                "see that both DataStores are restored and up, then `--allow datastore-migration`",
            );
        }
        self.planes.push(ControlPlane::of(&entry.path, object));
    }

    pub(super) fn needs(&mut self, plane: &ControlPlane, live: &LiveObjects) {
        let (namespace, name) = (&plane.namespace, &plane.facts.name);
        let datastore = plane.datastore();
        let place = format!("{CONTROL_PLANES} {namespace}/{name}");
        let mut must = vec!["ca", "front-proxy-ca-certificate", "sa-certificate"];
        if datastore.is_empty() || live.has(datastore) || self.datastores.contains_key(datastore) {
            must.push("datastore-config");
        }
        if plane.talos {
            must.push("trustd-creds");
        }
        let has = |part: &&str| {
            let key = (namespace.clone(), format!("{name}-{part}"));
            self.secrets.contains(&key) || live.has_secret(&key)
        };
        let lacking: Vec<String> = must
            .iter()
            .filter(|part| !has(part))
            .map(|part| format!("{name}-{part}"))
            .collect();
        // A control plane that never ran has none of them, and nothing is lost.
        if !lacking.is_empty() && (plane.ran || lacking.len() < must.len()) {
            self.say(
                Some(Danger::MissingSecret),
                Severity::Error,
                place.clone(),
                format!("its Secrets {} are not restored with it: Steward would make new ones, and the tenant's nodes, tokens and kubeconfigs would be refused", lacking.join(", ")),
                "restore from a restore point that has component `secrets`, without a selection that \
                 leaves them out",
            );
        }
        if !datastore.is_empty() && !self.datastores.contains_key(datastore) && !live.has(datastore)
        {
            self.say(
                Some(Danger::MissingDatastore),
                Severity::Error,
                place.clone(),
                format!("its DataStore {datastore} is neither restored nor in the cluster"),
                "restore DataStores and their Secrets too, without a selection that leaves them out",
            );
        }
        let named = self.schemas.get(&(namespace.clone(), name.clone()));
        if let Some(named) = named.filter(|named| **named != plane.facts.schema) {
            let cause = format!(
                "its Secret {name}-datastore-config names schema {named} and the control plane {}: \
                 a delete would empty the other tenant",
                plane.facts.schema
            );
            self.say(
                Some(Danger::SharedSchema),
                Severity::Error,
                place,
                cause,
                "repair the Secret in the cluster that was captured and take another restore point",
            );
        }
    }

    /// Finds control planes that keep their keys in the same place. Endpoints identify a DataStore:
    /// two names of one etcd are one place.
    pub(super) fn shared(&mut self, planes: &[ControlPlane], live: &LiveObjects) {
        let home = |store: &str| {
            let own = self
                .datastores
                .get(store)
                .or_else(|| live.stores.get(store));
            own.filter(|home| !home.is_empty())
                .cloned()
                .unwrap_or_else(|| store.to_owned())
        };
        let key = |plane: &ControlPlane| (home(plane.datastore()), plane.facts.schema.clone());
        let restored: BTreeSet<String> = planes.iter().map(ControlPlane::place).collect();
        let others = live.planes.iter();
        let mut held: BTreeMap<(String, String), String> = others
            .filter(|plane| !restored.contains(&plane.place()))
            .map(|plane| (key(plane), plane.place()))
            .collect();
        let mut shared = Vec::new();
        for plane in planes {
            if let Some(other) = held.insert(key(plane), plane.place()) {
                shared.push((plane, other));
            }
        }
        for (plane, other) in shared {
            self.say(
                Some(Danger::SharedSchema),
                Severity::Error,
                format!("{CONTROL_PLANES} {}", plane.place()),
                format!(
                    "it and {other} keep their keys in the same schema {} of DataStore {}: \
                     deleting one empties the other",
                    plane.facts.schema,
                    plane.datastore()
                ),
                "never restore a copy of a control plane beside it; for a drill restore its \
                 DataStore elsewhere too",
            );
        }
    }
}
