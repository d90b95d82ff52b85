//! Markers that keep controllers from acting on an object before its turn; the create call already contains
//! them.

use serde_json::{Map, Value, json};

use backup_core::archive::{ObjectPath, ResourceName};
use backup_core::format::manifest::Finding;
use cluster_client::kube::target::MANAGER;

/// Steward's marker; any value pauses the object, and it blocks deletion too.
pub const STEWARD: &str = "steward.butlerlabs.dev/paused";
/// Cluster API's marker, valid on any of its objects.
const CLUSTER_API: &str = "cluster.x-k8s.io/paused";
/// Value of a marker that a restore set.
pub const OURS: &str = "butler-restore";

/// Size limit of the API server for all annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// Annotation in which `kubectl apply` remembers the object; no controller reads it.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Way in which a kind is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseMarker {
    /// Annotation, whose value does not matter.
    Annotation(&'static str),
    /// Field of `spec` that is set to true.
    Field(&'static str),
}

/// Returns how the kind is paused; `None` if it cannot be paused.
#[must_use]
pub fn marker(resource: &ResourceName) -> Option<PauseMarker> {
    let (plural, group) = (resource.plural(), resource.group());
    match (group, plural) {
        ("steward.butlerlabs.dev", "tenantcontrolplanes")
        | ("controlplane.cluster.x-k8s.io", "stewardcontrolplanes") => {
            Some(PauseMarker::Annotation(STEWARD))
        }
        ("cluster.x-k8s.io", "clusters") => Some(PauseMarker::Field("paused")),
        ("butler.butlerlabs.dev", "managementaddons" | "clusterbootstraps") => {
            Some(PauseMarker::Field("paused"))
        }
        (
            "kustomize.toolkit.fluxcd.io"
            | "helm.toolkit.fluxcd.io"
            | "source.toolkit.fluxcd.io"
            | "image.toolkit.fluxcd.io",
            _,
        ) => Some(PauseMarker::Field("suspend")),
        (group, _) if is_cluster_api(group) => Some(PauseMarker::Annotation(CLUSTER_API)),
        _ => None,
    }
}

/// Whether the controllers of a group support Cluster API's marker.
pub(super) fn is_cluster_api(group: &str) -> bool {
    matches!(
        group,
        "cluster.x-k8s.io" | "controlplane.cluster.x-k8s.io" | "bootstrap.cluster.x-k8s.io"
    ) || group == "infrastructure.cluster.x-k8s.io"
}

/// Whether the object carries the marker.
pub(super) fn is_paused(marker: PauseMarker, object: &Value) -> bool {
    match marker {
        PauseMarker::Annotation(name) => annotations(object).is_some_and(|a| a.contains_key(name)),
        PauseMarker::Field(name) => {
            object.get("spec").and_then(|s| s.get(name)) == Some(&json!(true))
        }
    }
}

/// Sets the marker on `object`; returns whether it was absent before.
pub(super) fn pause(marker: PauseMarker, object: &mut Value) -> bool {
    if is_paused(marker, object) {
        return false;
    }
    let (part, name, value) = match marker {
        PauseMarker::Annotation(name) => ("metadata", name, json!(OURS)),
        PauseMarker::Field(name) => ("spec", name, json!(true)),
    };
    let Some(fields) = object.as_object_mut() else {
        return false;
    };
    let part = fields.entry(part).or_insert_with(|| json!({}));
    let holder = match marker {
        PauseMarker::Annotation(_) => part
            .as_object_mut()
            .map(|m| m.entry("annotations").or_insert_with(|| json!({}))),
        PauseMarker::Field(_) => Some(part),
    };
    if let Some(holder) = holder {
        if !holder.is_object() {
            *holder = json!({});
        }
        if let Some(holder) = holder.as_object_mut() {
            if matches!(marker, PauseMarker::Annotation(_))
                && let Some((aside, _)) = aside(name, holder)
            {
                holder.remove(&aside);
            }
            holder.insert(name.to_owned(), value);
            return true;
        }
    }
    false
}

/// Returns the patch that removes the marker and restores the value in `wanted`.
pub(super) fn unpause(marker: PauseMarker, wanted: &Value) -> Value {
    match marker {
        PauseMarker::Annotation(name) => {
            let mut patch = Map::from_iter([(name.to_owned(), Value::Null)]);
            patch.extend(annotations(wanted).and_then(|held| aside(name, held)));
            json!({ "metadata": { "annotations": patch } })
        }
        PauseMarker::Field(name) => {
            let before = wanted.get("spec").and_then(|s| s.get(name));
            json!({ "spec": { name: before.cloned().unwrap_or(Value::Null) } })
        }
    }
}

/// Whether a restore set the marker: this one, or an earlier one that died.
pub(super) fn is_ours(marker: PauseMarker, live: &Value) -> bool {
    match marker {
        PauseMarker::Annotation(name) => {
            annotations(live).and_then(|a| a.get(name)?.as_str()) == Some(OURS)
        }
        PauseMarker::Field(name) => {
            let managers = live.pointer("/metadata/managedFields");
            let managers = managers.and_then(Value::as_array).into_iter().flatten();
            let field = format!("/fieldsV1/f:spec/f:{name}");
            let mut of_field = managers.filter(|m| m.pointer(&field).is_some()).peekable();
            // The manager that last wrote a field with a merge patch is its only manager.
            of_field.peek().is_some()
                && of_field.all(|m| m.get("manager").and_then(Value::as_str) == Some(MANAGER))
        }
    }
}

/// Returns the finding for an object that stays paused although it was not paused when it was captured.
pub(super) fn stays(marker: PauseMarker, path: &ObjectPath, wanted: &Value) -> Finding {
    let namespace = path.namespace.as_ref().map(|n| format!(" -n {n}"));
    let (name, patch) = match marker {
        PauseMarker::Annotation(name) => (format!("annotation {name}"), unpause(marker, wanted)),
        PauseMarker::Field(name) => (format!("spec.{name}"), unpause(marker, wanted)),
    };
    Finding::warning(
        path.to_string(),
        format!(
            "it is paused in the cluster by {name} and stays paused: it was not when it was \
             captured, and no restore set that"
        ),
        format!(
            "see who paused it and why; then kubectl patch {} {}{} --type merge -p '{patch}'",
            path.resource,
            path.name,
            namespace.unwrap_or_default()
        ),
    )
}

/// Returns the annotation that is removed while `marker` is set, if all annotations would not fit: the one of
/// `kubectl apply`, or else the largest.
fn aside(marker: &str, annotations: &Map<String, Value>) -> Option<(String, Value)> {
    let size = |name: &str, value: &Value| {
        let text = value.as_str().unwrap_or_default();
        name.len().saturating_add(text.len())
    };
    let held = annotations.iter().filter(|(name, _)| *name != marker);
    let all: usize = held.clone().map(|(name, value)| size(name, value)).sum();
    let added = marker.len().saturating_add(OURS.len());
    if all.saturating_add(added) <= MAX_ANNOTATIONS {
        return None;
    }
    let remembered = annotations.get_key_value(APPLIED);
    let remembered = remembered.filter(|(name, value)| size(name, value) >= added);
    let largest = held.max_by_key(|(name, value)| size(name, value));
    let (name, value) = remembered.or(largest)?;
    Some((name.clone(), value.clone()))
}

fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/metadata/annotations")?.as_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_unpaused_to_what_it_was() {
        for (resource, object, patch) in [
            (
                "tenantcontrolplanes.steward.butlerlabs.dev",
                json!({ "metadata": { "name": "a", "annotations": null } }),
                json!({ "metadata": { "annotations": { STEWARD: null } } }),
            ),
            (
                "clusters.cluster.x-k8s.io",
                json!({ "spec": { "paused": false } }),
                json!({ "spec": { "paused": false } }),
            ),
            (
                "helmreleases.helm.toolkit.fluxcd.io",
                json!({ "spec": { "chart": {} } }),
                json!({ "spec": { "suspend": null } }),
            ),
            (
                "machines.cluster.x-k8s.io",
                json!({ "metadata": {} }),
                json!({ "metadata": { "annotations": { CLUSTER_API: null } } }),
            ),
        ] {
            let marker = marker(&resource.into()).unwrap();
            let mut paused = object.clone();
            assert!(pause(marker, &mut paused), "{resource}");
            assert!(is_paused(marker, &paused), "{paused}");
            assert!(!pause(marker, &mut paused), "{resource}");
            assert_eq!(unpause(marker, &object), patch);
        }
        assert_eq!(marker(&"tenantclusters.butler.butlerlabs.dev".into()), None);
    }

    #[test]
    fn annotations_at_the_limit_make_room_for_the_marker() {
        let marker = marker(&"machines.cluster.x-k8s.io".into()).unwrap();
        for (aside, stays) in [(APPLIED, "b"), ("a", "b")] {
            let full = "x".repeat(MAX_ANNOTATIONS - aside.len() - 101);
            let object = json!({ "metadata": { "annotations": {
                aside: full, stays: "y".repeat(100),
            } } });
            let mut paused = object.clone();
            assert!(pause(marker, &mut paused));
            assert!(is_paused(marker, &paused));
            let held = annotations(&paused).unwrap();
            assert!(!held.contains_key(aside) && held.contains_key(stays));
            let patch = unpause(marker, &object);
            assert_eq!(patch["metadata"]["annotations"][aside], full);
            assert_eq!(patch["metadata"]["annotations"][CLUSTER_API], Value::Null);
        }
    }
}
