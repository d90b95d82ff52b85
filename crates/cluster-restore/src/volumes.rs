//! PersistentVolumes, created so that no controller deletes their data.
//!
//! A volume whose claim has another UID is released, and with policy `Delete` its controller removes the
//! data. So a volume is created with `Retain`, bound to its claim by name only or by the claim's current UID,
//! and its policy is put back once both are bound.

use serde_json::{Map, Value, json};

use super::spool::Entry;
use backup_core::archive::ObjectPath;

/// Kind PersistentVolume.
pub(super) const VOLUMES: &str = "persistentvolumes";
const CLAIMS: &str = "persistentvolumeclaims";
const POLICY: &str = "/spec/persistentVolumeReclaimPolicy";
/// Annotations of the binding controller; with them a claim whose UID differs is lost.
const BOUND: [&str; 2] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
];

/// Note about a volume that is created.
pub(super) const MADE: &str = "made with reclaim policy Retain and without its claim's old UID; the \
                               policy is put back when it is bound";

/// Whether the object is a volume.
pub(super) fn is_volume(path: &ObjectPath) -> bool {
    path.resource.as_str() == VOLUMES
}

/// Removes the binding from a volume or claim and gives the volume policy Retain; returns a note about the
/// volume.
pub(super) fn defuse(path: &ObjectPath, body: &mut Value) -> Option<&'static str> {
    let is_volume = is_volume(path);
    if !is_volume && path.resource.as_str() != CLAIMS {
        return None;
    }
    if let Some(annotations) = map(body, "/metadata/annotations") {
        annotations.retain(|name, _| !BOUND.contains(&name.as_str()));
    }
    if !is_volume {
        return None;
    }
    let claim = map(body, "/spec/claimRef")?;
    claim.retain(|name, _| name != "uid" && name != "resourceVersion");
    if let Some(spec) = map(body, "/spec") {
        spec.insert("persistentVolumeReclaimPolicy".to_owned(), json!("Retain"));
    }
    Some(MADE)
}

/// Returns the path of a volume's claim.
pub(super) fn claim_of(volume: &Value) -> Option<ObjectPath> {
    let text = |name: &str| {
        let text = volume
            .pointer(&format!("/spec/claimRef/{name}"))?
            .as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    Some(ObjectPath {
        resource: CLAIMS.into(),
        namespace: Some(text("namespace")?),
        name: text("name")?,
    })
}

/// Binds a volume that will be created to the live claim.
pub(super) fn bind(body: &mut Value, claim: &Value) {
    let going = claim.pointer("/metadata/deletionTimestamp").is_some();
    if let Some(uid) = claim.pointer("/metadata/uid").filter(|_| !going).cloned()
        && let Some(reference) = map(body, "/spec/claimRef")
    {
        reference.insert("uid".to_owned(), uid);
    }
}

/// Copies fields that the cluster decides from a live volume or claim into `wanted`: its binding, and a
/// volume's policy unless it is bound, since another policy could remove the data.
pub(super) fn tolerate(path: &ObjectPath, live: &Value, wanted: &mut Value, is_bound: bool) {
    if !is_volume(path) && path.resource.as_str() != CLAIMS {
        return;
    }
    let kept = live
        .pointer("/metadata/annotations")
        .and_then(Value::as_object);
    let kept = kept.into_iter().flatten();
    let kept: Vec<_> = kept
        .filter(|(name, _)| BOUND.contains(&name.as_str()))
        .collect();
    if let Some(annotations) = map(wanted, "/metadata/annotations") {
        annotations.retain(|name, _| !BOUND.contains(&name.as_str()));
        annotations.extend(kept.into_iter().map(|(n, v)| (n.clone(), v.clone())));
    } else if !kept.is_empty()
        && let Some(metadata) = map(wanted, "/metadata")
    {
        let kept: Map<String, Value> = kept
            .into_iter()
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        metadata.insert("annotations".to_owned(), Value::Object(kept));
    }
    if map(wanted, "/metadata/annotations").is_some_and(|a| a.is_empty())
        && let Some(metadata) = map(wanted, "/metadata")
    {
        metadata.remove("annotations");
    }
    if !is_volume(path) {
        return;
    }
    if let Some(claim) = map(wanted, "/spec/claimRef") {
        claim.retain(|name, _| name != "uid" && name != "resourceVersion");
    }
    let held = live.pointer("/spec/claimRef").cloned();
    let policy = live.pointer(POLICY).cloned();
    if let Some(spec) = map(wanted, "/spec") {
        if let Some(held) = held {
            spec.insert("claimRef".to_owned(), held);
        }
        if let Some(policy) = policy.filter(|_| !is_bound) {
            spec.insert("persistentVolumeReclaimPolicy".to_owned(), policy);
        }
    }
}

/// Whether a volume is bound.
pub(super) fn is_bound(live: &Value) -> bool {
    live.pointer("/status/phase").and_then(Value::as_str) == Some("Bound")
}

/// Returns the policy of a captured volume with a claim, if it is not Retain.
pub(super) fn policy_of(captured: &Value) -> Option<&str> {
    captured.pointer("/spec/claimRef")?;
    let policy = captured.pointer(POLICY)?.as_str()?;
    (policy != "Retain").then_some(policy)
}

/// Returns why the volume cannot be created without risk to its data.
pub(super) fn refused(entry: &Entry, captured: &Value) -> Option<&'static str> {
    if !is_volume(&entry.path) {
        return None;
    }
    let claimed = captured.pointer("/spec/claimRef").is_some();
    (claimed && claim_of(captured).is_none()).then_some(
        "its claimRef names no claim, so that it could be released and what it holds be removed; \
         make it by hand with reclaim policy Retain",
    )
}

/// Returns the volume that a captured claim is bound to.
pub(super) fn volume_of(path: &ObjectPath, claim: &Value) -> Option<ObjectPath> {
    if path.resource.as_str() != CLAIMS {
        return None;
    }
    let name = claim.pointer("/spec/volumeName")?.as_str()?;
    (!name.is_empty()).then(|| ObjectPath {
        resource: VOLUMES.into(),
        namespace: None,
        name: name.to_owned(),
    })
}

fn map<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    object.pointer_mut(pointer)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(resource: &str) -> ObjectPath {
        ObjectPath {
            resource: resource.into(),
            namespace: None,
            name: "a".to_owned(),
        }
    }

    #[test]
    fn a_volume_is_made_with_retain_and_by_name() {
        let captured = json!({
            "metadata": { "name": "a", "annotations": { BOUND[1]: "yes", "kept": "" } },
            "spec": {
                "persistentVolumeReclaimPolicy": "Delete",
                "claimRef": { "namespace": "n", "name": "c", "uid": "old", "resourceVersion": "7" },
            },
        });
        let mut body = captured.clone();
        assert_eq!(defuse(&path(VOLUMES), &mut body), Some(MADE));
        assert_eq!(
            body,
            json!({
                "metadata": { "name": "a", "annotations": { "kept": "" } },
                "spec": {
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": { "namespace": "n", "name": "c" },
                },
            })
        );
        assert_eq!(policy_of(&captured), Some("Delete"));
        bind(&mut body, &json!({ "metadata": { "uid": "new" } }));
        assert_eq!(body["spec"]["claimRef"]["uid"], "new");
    }

    #[test]
    fn a_claim_is_free_to_be_bound() {
        let mut claim = json!({
            "metadata": { "annotations": { BOUND[0]: "yes" } }, "spec": { "volumeName": "v" },
        });
        assert_eq!(defuse(&path(CLAIMS), &mut claim), None);
        assert_eq!(claim["metadata"]["annotations"], json!({}));
        assert_eq!(volume_of(&path(CLAIMS), &claim).unwrap().name, "v");
    }

    #[test]
    fn a_volume_that_is_not_bound_keeps_the_policy_of_its_cluster() {
        let live = json!({ "spec": {
            "persistentVolumeReclaimPolicy": "Retain", "claimRef": { "name": "c", "uid": "new" },
        } });
        let captured = json!({ "spec": {
            "persistentVolumeReclaimPolicy": "Delete", "claimRef": { "name": "c", "uid": "old" },
        } });
        let mut wanted = captured.clone();
        tolerate(&path(VOLUMES), &live, &mut wanted, false);
        assert_eq!(wanted, live);
        let mut wanted = captured;
        tolerate(&path(VOLUMES), &live, &mut wanted, true);
        assert_eq!(wanted["spec"]["persistentVolumeReclaimPolicy"], "Delete");
        assert_eq!(wanted["spec"]["claimRef"]["uid"], "new");
    }
}
