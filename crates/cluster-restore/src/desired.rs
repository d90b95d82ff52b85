//! Content of an object that is written: everything that people and controllers set, without what
//! only makes sense in its old cluster.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::guards::{Guard, Guards};
use super::spool::Entry;
use super::{builtin, pause};

/// Fields of `metadata` that are not restored.
const OF_THE_OLD_CLUSTER: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Finalizers that say how to delete. On an object that nobody deletes they would wait for its next
/// deletion.
const WAYS_TO_DELETE: [&str; 2] = ["orphan", "foregroundDeletion"];
/// Fields that the API server sets on a Job to select its Pods, unless the Job has a manual
/// selector.
pub(super) const JOBS_OWN: [(&str, &[&str]); 3] = [
    ("/spec", &["selector"]),
    ("/spec/template/metadata/labels", CONTROLLER),
    ("/metadata/labels", CONTROLLER),
];
const CONTROLLER: &[&str] = &["batch.kubernetes.io/controller-uid", "controller-uid"];
const WORKSPACES: &str = "workspaces.butler.butlerlabs.dev";
/// Status times of a workspace. If they are old, the workspace is stopped or deleted as soon as it
/// is seen.
const TIMES: [&str; 2] = ["lastDisconnectTime", "lastActivityTime"];
/// Annotation that asks for a new authority while it is empty; a time in it records when that was
/// done.
const ROTATE: &str = "certs.steward.butlerlabs.dev/rotate";

/// Reference to an owner, in the form that objects have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerReference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) controller: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) block_owner_deletion: Option<bool>,
}

/// Object in the form that is restored.
#[derive(Clone)]
pub(super) struct DesiredObject {
    /// Object without status and owners.
    pub(super) body: Value,
    pub(super) status: Option<Value>,
    /// Whether the object has no status although the status of its kind is restored.
    pub(super) bare: bool,
    /// Owners, with the UIDs of the captured cluster.
    pub(super) owners: Vec<OwnerReference>,
    /// All finalizers, if some of them are left out of a newly created object.
    finalizers: Option<Value>,
    /// Intended changes, for people.
    pub(super) notes: Vec<&'static str>,
}

/// Removes what belongs to the old cluster. `split` means that status is written separately.
pub(super) fn desired(
    entry: &Entry,
    mut object: Value,
    split: bool,
    guards: Guards,
) -> DesiredObject {
    let mut notes = Vec::new();
    let mut owners = Vec::new();
    let mut finalizers = None;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(listed) = metadata.remove("ownerReferences") {
            match serde_json::from_value(listed) {
                Ok(listed) => owners = listed,
                // Only files written by people contain these.
                Err(_) => notes.push("its ownerReferences cannot be read and were left out"),
            }
        }
        metadata.retain(|name, _| !OF_THE_OLD_CLUSTER.contains(&name.as_str()));
        finalizers = clean(metadata, guards, &mut notes);
    }
    match entry.path.resource.as_str() {
        "serviceaccounts" => without_tokens(&mut object),
        "jobs.batch" => without_controller(&mut object),
        "clusterroles.rbac.authorization.k8s.io" if is_aggregated(&object) => {
            notes.push("its rules come from other roles: the cluster combines them again");
        }
        "namespaces" => drop(object.as_object_mut().map(|o| o.remove("spec"))),
        _ => {}
    }
    let status = object
        .as_object_mut()
        .filter(|_| split || is_server_owned(entry))
        .and_then(|fields| fields.remove("status"));
    let status = status
        .filter(|_| split && !is_server_owned(entry))
        .filter(Value::is_object)
        .map(|status| timeless(entry, status, &mut notes));
    let is_empty = |status: &Value| status.as_object().is_none_or(Map::is_empty);
    let bare =
        split && status.as_ref().is_none_or(is_empty) && !is_server_owned(entry) && !entry.partial;
    DesiredObject {
        body: object,
        status,
        bare,
        owners,
        finalizers,
        notes,
    }
}

impl DesiredObject {
    /// Returns the form for an object that already exists: what a new object leaves out stays as
    /// `live` has it.
    pub(super) fn beside(&self, entry: &Entry, live: &Value) -> Self {
        let mut wanted = self.clone();
        let held = live
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array);
        if let Some(Value::Array(mut all)) = wanted.finalizers.take() {
            all.retain(|f| !is_way_to_delete(f) || held.is_some_and(|held| held.contains(f)));
            if let Some(metadata) = wanted
                .body
                .get_mut("metadata")
                .and_then(Value::as_object_mut)
                && !all.is_empty()
            {
                metadata.insert("finalizers".to_owned(), Value::Array(all));
            }
        }
        if entry.path.resource.as_str() == WORKSPACES
            && let Some(fields) = wanted.status.as_mut().and_then(Value::as_object_mut)
        {
            for time in TIMES {
                if let Some(held) = live.get("status").and_then(|s| s.get(time)) {
                    fields.insert(time.to_owned(), held.clone());
                }
            }
        }
        wanted
    }
}

/// Reports whether a role's rules were aggregated from other roles.
fn is_aggregated(role: &Value) -> bool {
    let rules = role.get("rules").and_then(Value::as_array);
    role.get("aggregationRule").is_some() && rules.is_some_and(|rules| !rules.is_empty())
}

/// Removes the names of generated tokens, which belong to the old cluster.
fn without_tokens(account: &mut Value) {
    let name = account.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let Some(fields) = account.as_object_mut() else {
        return;
    };
    let Some(secrets) = fields.get_mut("secrets").and_then(Value::as_array_mut) else {
        return;
    };
    secrets
        .retain(|s| builtin::name_of(s).is_none_or(|secret| !builtin::is_generated(&name, secret)));
    if secrets.is_empty() {
        fields.remove("secrets");
    }
}

/// Removes what the API server sets on a Job: a selector by its UID.
fn without_controller(job: &mut Value) {
    if job.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    for (place, names) in JOBS_OWN {
        if let Some(fields) = job.pointer_mut(place).and_then(Value::as_object_mut) {
            fields.retain(|name, _| !names.contains(&name.as_str()));
        }
    }
}

/// Adds the marker that keeps controllers away; reports whether it was missing before.
pub(super) fn paused(entry: &Entry, body: &mut Value, guards: Guards) -> bool {
    guards.has(Guard::Pause)
        && pause::marker(&entry.path.resource).is_some_and(|marker| pause::pause(marker, body))
}

/// Removes finalizers and annotations that would act later; returns all finalizers if some were
/// removed.
fn clean(
    metadata: &mut Map<String, Value>,
    guards: Guards,
    notes: &mut Vec<&'static str>,
) -> Option<Value> {
    let mut all = None;
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        let held = finalizers.clone();
        finalizers.retain(|f| !is_way_to_delete(f));
        if finalizers.len() < held.len() {
            notes.push("a finalizer that only says how to delete it was left out");
            all = Some(Value::Array(held));
        }
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        }
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
        && guards.has(Guard::Rotation)
        && annotations.get(ROTATE).and_then(Value::as_str) == Some("")
    {
        annotations.remove(ROTATE);
        notes.push("an empty annotation that asks for a new authority was left out");
    }
    all
}

fn is_way_to_delete(finalizer: &Value) -> bool {
    finalizer
        .as_str()
        .is_some_and(|f| WAYS_TO_DELETE.contains(&f))
}

/// Reports whether the kind's status describes only its own cluster's machinery.
fn is_server_owned(entry: &Entry) -> bool {
    matches!(
        entry.path.resource.group(),
        "" | "apiextensions.k8s.io" | "apps" | "admissionregistration.k8s.io" | "storage.k8s.io"
    )
}

/// Returns the status without times that would act at once.
fn timeless(entry: &Entry, mut status: Value, notes: &mut Vec<&'static str>) -> Value {
    if entry.path.resource.as_str() == WORKSPACES
        && let Some(fields) = status.as_object_mut()
    {
        let before = fields.len();
        fields.retain(|name, _| !TIMES.contains(&name.as_str()));
        if fields.len() < before {
            notes.push(
                "without status.lastDisconnectTime and lastActivityTime, by which it would be \
                 stopped or deleted as soon as it is seen",
            );
        }
    }
    status
}

/// Returns the form in which two objects are compared: without what a server writes, owners by
/// name.
pub(super) fn comparable(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !OF_THE_OLD_CLUSTER.contains(&name.as_str()));
        if let Some(owners) = metadata.get_mut("ownerReferences") {
            for owner in owners.as_array_mut().into_iter().flatten() {
                owner.as_object_mut().map(|o| o.remove("uid"));
            }
        }
        for name in ["annotations", "labels", "finalizers", "ownerReferences"] {
            let empty = metadata.get(name).is_some_and(|v| match v {
                Value::Object(fields) => fields.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Null => true,
                _ => false,
            });
            if empty {
                metadata.remove(name);
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::ObjectSpool;
    use backup_core::archive::ObjectPath;
    use serde_json::json;

    fn entry(resource: &str, object: &Value) -> Entry {
        let mut spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
        let path = ObjectPath {
            resource: resource.into(),
            namespace: Some("a".to_owned()),
            name: "b".to_owned(),
        };
        spool.add(&path, object.to_string().as_bytes()).unwrap();
        spool.entry(0).unwrap().clone()
    }

    #[test]
    fn what_the_old_cluster_knows_stays_there() {
        let object = json!({
            "apiVersion": "steward.butlerlabs.dev/v1alpha1",
            "kind": "TenantControlPlane",
            "metadata": {
                "name": "b", "namespace": "a", "uid": "old", "resourceVersion": "7",
                "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-02T00:00:00Z", "managedFields": [],
                "finalizers": ["orphan", "finalizer.steward.butlerlabs.dev"],
                "annotations": { ROTATE: "", "kept": "" },
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "A", "name": "o", "uid": "u", "controller": true,
                }],
            },
            "spec": { "dataStore": "default" },
            "status": { "storage": {} },
        });
        let entry = entry("tenantcontrolplanes.steward.butlerlabs.dev", &object);
        let mut made = desired(&entry, object, true, Guards::default());
        assert!(paused(&entry, &mut made.body, Guards::default()));
        assert_eq!(
            made.body,
            json!({
                "apiVersion": "steward.butlerlabs.dev/v1alpha1",
                "kind": "TenantControlPlane",
                "metadata": {
                    "name": "b", "namespace": "a",
                    "finalizers": ["finalizer.steward.butlerlabs.dev"],
                    "annotations": { "kept": "", "steward.butlerlabs.dev/paused": "butler-restore" },
                },
                "spec": { "dataStore": "default" },
            })
        );
        assert_eq!(made.status, Some(json!({ "storage": {} })));
        assert_eq!(made.owners[0].uid, "u");
        assert_eq!(made.notes.len(), 2);
    }

    #[test]
    fn a_workspace_is_not_deleted_for_being_old() {
        let object = json!({
            "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Workspace",
            "metadata": { "name": "b" },
            "status": { "phase": "Running", "lastDisconnectTime": "2020-01-01T00:00:00Z" },
        });
        let entry = entry("workspaces.butler.butlerlabs.dev", &object);
        let made = desired(&entry, object, true, Guards::default());
        assert_eq!(made.status, Some(json!({ "phase": "Running" })));
    }
}
