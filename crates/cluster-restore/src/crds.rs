//! Definitions: choosing between the archive's and the cluster's, and waiting until one is served.

mod v1beta1;

use std::time::Duration;

use serde_json::{Value, json};

mod order;

use super::desired::comparable;
pub(super) use order::{DefinitionNames, DefinitionOrder, definition_order, refused};

use backup_core::archive::same;
use cluster_client::kube::target::KubeTarget;

/// Resource of definitions.
pub(super) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Time limit for a new definition to be served. It takes a second or two, longer on a busy server.
pub(super) const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// Decision about a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DefinitionChoice {
    /// The cluster has no such definition yet.
    Create,
    /// Both are the same.
    Same,
    /// The archive's definition replaces the cluster's.
    Replace,
    /// The cluster's definition stays, with the reason.
    Keep(String),
    /// Neither definition can be used, with the reason.
    Clash(String),
}

/// Chooses between the archive's definition and the cluster's. `overwrite` prefers the archive's.
pub(super) fn choose(wanted: &Value, live: Option<&Value>, overwrite: bool) -> DefinitionChoice {
    let Some(live) = live else {
        return DefinitionChoice::Create;
    };
    let text = |object: &Value, pointer: &str| {
        let found = object.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let (old, new) = (text(live, "/spec/scope"), text(wanted, "/spec/scope"));
    if old != new {
        let scopes = format!("it is {old} in the cluster and {new} in the archive");
        let name = text(wanted, "/metadata/name");
        return DefinitionChoice::Clash(super::immutable::definition(&name, &scopes));
    }
    if same(&without_status(live), &without_status(wanted)) {
        return DefinitionChoice::Same;
    }
    let (has, gets) = (versions(live), versions(wanted));
    let stored = live
        .pointer("/status/storedVersions")
        .and_then(Value::as_array);
    let stored = stored.into_iter().flatten().filter_map(Value::as_str);
    let lost: Vec<&str> = stored.filter(|v| !gets.iter().any(|g| g == v)).collect();
    if !lost.is_empty() {
        return DefinitionChoice::Keep(format!(
            "the cluster has objects stored as {}, which the archive's does not know",
            lost.join(", ")
        ));
    }
    if overwrite {
        return DefinitionChoice::Replace;
    }
    match is_newer(wanted, live) {
        Some(true) => DefinitionChoice::Replace,
        Some(false) => DefinitionChoice::Keep("the cluster's is newer".to_owned()),
        None if has.iter().all(|v| gets.contains(v)) && gets.len() > has.len() => {
            DefinitionChoice::Replace
        }
        None => DefinitionChoice::Keep(
            "they differ, and it is not known which one is newer; `--crds archive` takes the \
             archive's"
                .to_owned(),
        ),
    }
}

/// Reports whether the archive's definition is newer; `None` if that is not known.
fn is_newer(wanted: &Value, live: &Value) -> Option<bool> {
    let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
    let generation = |object: &Value| {
        object
            .pointer("/metadata/generation")
            .and_then(Value::as_u64)
    };
    // The same definition at two points in time.
    if uid(wanted).is_some() && uid(wanted) == uid(live) {
        return Some(generation(wanted)? > generation(live)?);
    }
    let chart = |object: &Value| {
        let label = |kind: &str| {
            let held = object.pointer(&format!("/metadata/{kind}/helm.sh~1chart"))?;
            let (_, version) = held.as_str()?.rsplit_once('-')?;
            let parts: Option<Vec<u64>> = version.split('.').map(|p| p.parse().ok()).collect();
            parts
        };
        label("labels").or_else(|| label("annotations"))
    };
    let (new, old) = (chart(wanted)?, chart(live)?);
    (new != old).then_some(new > old)
}

fn versions(crd: &Value) -> Vec<String> {
    let listed = crd.pointer("/spec/versions").and_then(Value::as_array);
    let names = listed
        .into_iter()
        .flatten()
        .filter_map(|v| v.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

fn without_status(crd: &Value) -> Value {
    let mut crd = comparable(crd.clone());
    v1beta1::renew(&mut crd);
    if let Some(fields) = crd.as_object_mut() {
        fields.remove("status");
    }
    without_cleanup(&mut crd);
    // False is the default.
    if let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("preserveUnknownFields") == Some(&json!(false))
    {
        spec.remove("preserveUnknownFields");
    }
    // The operator of the webhook injects `caBundle`.
    if let Some(client) = crd.pointer_mut("/spec/conversion/webhook/clientConfig")
        && let Some(client) = client.as_object_mut()
    {
        client.remove("caBundle");
    }
    crd
}

/// Reports whether a webhook converts objects between the versions of the definition.
pub(super) fn converts(crd: &Value) -> bool {
    crd.pointer("/spec/conversion/strategy")
        .and_then(Value::as_str)
        == Some("Webhook")
        && versions(crd).len() > 1
}

/// Returns the body that is applied.
pub(super) fn body(crd: Value) -> Value {
    let mut body = comparable(crd);
    v1beta1::renew(&mut body);
    without_cleanup(&mut body);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("ownerReferences");
    }
    body
}

/// Removes the finalizer that the API server adds when a definition is deleted.
fn without_cleanup(crd: &mut Value) {
    let Some(metadata) = crd.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) else {
        return;
    };
    finalizers.retain(|f| f.as_str() != Some("customresourcecleanup.apiextensions.k8s.io"));
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    }
}

/// Returns a note for the operator on how the definition is changed.
pub(super) fn notes(crd: &Value) -> Option<String> {
    v1beta1::is_old(crd).then(|| v1beta1::NOTE.to_owned())
}

/// Waits until every served version of the definition can be listed.
pub(super) async fn served(target: &KubeTarget, crd: &Value) -> Result<(), String> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str);
    let (Some(group), Some(plural)) = (text("/spec/group"), text("/spec/names/plural")) else {
        return Err("it names no group or plural".to_owned());
    };
    let listed = crd.pointer("/spec/versions").and_then(Value::as_array);
    for version in listed.into_iter().flatten() {
        let is_served = version.get("served") == Some(&json!(true));
        let Some(name) = version.get("name").and_then(Value::as_str) else {
            continue;
        };
        if is_served {
            let list = format!("/apis/{group}/{name}/{plural}");
            let waited = target.served_within(&list, SERVED_WITHIN).await;
            waited.map_err(|e| {
                format!(
                    "{name} is not served after {} s: {e}",
                    SERVED_WITHIN.as_secs()
                )
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(versions: &[&str], chart: &str, schema: u64) -> Value {
        let versions: Vec<Value> = versions
            .iter()
            .map(|v| json!({ "name": v, "served": true, "schema": schema }))
            .collect();
        json!({
            "metadata": { "name": "as.b.c", "labels": { "helm.sh/chart": chart } },
            "spec": { "scope": "Namespaced", "versions": versions },
            "status": { "storedVersions": ["v1"] },
        })
    }

    #[test]
    fn the_newer_one_is_kept() {
        let old = crd(&["v1"], "butler-crds-0.9.0", 1);
        let new = crd(&["v1"], "butler-crds-0.22.0", 2);
        assert_eq!(choose(&old, None, false), DefinitionChoice::Create);
        assert_eq!(choose(&old, Some(&old), false), DefinitionChoice::Same);
        assert_eq!(choose(&new, Some(&old), false), DefinitionChoice::Replace);
        assert!(matches!(
            choose(&old, Some(&new), false),
            DefinitionChoice::Keep(_)
        ));
        assert_eq!(choose(&old, Some(&new), true), DefinitionChoice::Replace);
        let unknown = crd(&["v1"], "x", 3);
        assert!(matches!(
            choose(&unknown, Some(&old), false),
            DefinitionChoice::Keep(_)
        ));
    }

    #[test]
    fn what_cannot_be_is_not_tried() {
        let live = crd(&["v1"], "x", 1);
        let mut other = live.clone();
        other["spec"]["scope"] = json!("Cluster");
        assert!(matches!(
            choose(&other, Some(&live), true),
            DefinitionChoice::Clash(_)
        ));
        let later = crd(&["v2"], "x", 1);
        assert!(matches!(
            choose(&later, Some(&live), true),
            DefinitionChoice::Keep(_)
        ));
    }
}
