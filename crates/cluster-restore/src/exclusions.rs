//! Rules for objects that a restore does not write, although they are in the archive.

use serde_json::Value;

use super::builtin;
use super::guards::{Guard, Guards};
use super::spool::Entry;

/// Kinds that a cluster creates for itself.
const MADE_AGAIN: [&str; 14] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "pods",
    "replicasets.apps",
    "controllerrevisions.apps",
    "nodes",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "componentstatuses",
    "ipaddresses.networking.k8s.io",
    "servicecidrs.networking.k8s.io",
];

/// Returns the reason why the object is left out; `None` if it is restored.
pub(super) fn reason(entry: &Entry, object: &Value, guards: Guards) -> Option<&'static str> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let name = entry.path.name.as_str();
    if guards.has(Guard::Deleting) && object.pointer("/metadata/deletionTimestamp").is_some() {
        return Some("it was being deleted when it was captured");
    }
    let resource = entry.path.resource.as_str();
    if MADE_AGAIN.contains(&resource) {
        return Some("the cluster makes it for itself");
    }
    if let Some(reason) = builtin::reason(entry, object) {
        return Some(reason);
    }
    match resource {
        "secrets" => match text("/type") {
            Some("kubernetes.io/service-account-token") => {
                Some("the token of a service account is of its own cluster")
            }
            Some("bootstrap.kubernetes.io/token") => Some("a token to join is short-lived"),
            _ => None,
        },
        "configmaps" if name == "kube-root-ca.crt" => Some("every cluster has its own"),
        "configmaps" if name == "extension-apiserver-authentication" => {
            Some("every cluster has its own")
        }
        "services" if name == "kubernetes" => Some("every cluster has its own"),
        "services" if !belongs_to_a_control_plane(object) => {
            Some("it comes with the chart that made it; its address is of its own cluster")
        }
        "priorityclasses.scheduling.k8s.io" if name.starts_with("system-") => {
            Some("every cluster has its own")
        }
        "clusterbootstraps.butler.butlerlabs.dev" | "machinerequests.butler.butlerlabs.dev" => {
            Some("it would make machines: it belongs to the cluster that bootstraps another")
        }
        "apiservices.apiregistration.k8s.io" if !is_an_extension(object) => {
            Some("the cluster makes it for itself")
        }
        // The API server maintains its own objects of these kinds, and marks them.
        "flowschemas.flowcontrol.apiserver.k8s.io"
        | "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io"
            if text("/metadata/annotations/apf.kubernetes.io~1autoupdate-spec") == Some("true") =>
        {
            Some("the cluster makes it for itself")
        }
        _ => None,
    }
}

/// Reports whether an APIService is for an extension that somebody registered. The others come with
/// the server or with definitions.
fn is_an_extension(object: &Value) -> bool {
    let label = "/metadata/labels/kube-aggregator.kubernetes.io~1automanaged";
    let service = object.pointer("/spec/service");
    object.pointer(label).is_none() && service.is_some_and(|s| !s.is_null())
}

fn belongs_to_a_control_plane(object: &Value) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let is = |o: &Value| o.get("kind").and_then(Value::as_str) == Some("TenantControlPlane");
    owners.is_some_and(|owners| owners.iter().any(is))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use backup_core::archive::ObjectPath;

    #[test]
    fn what_users_made_is_restored_and_what_the_cluster_makes_is_not() {
        let left = |resource: &str, object: Value| {
            let path = ObjectPath {
                resource: resource.into(),
                namespace: None,
                name: object["metadata"]["name"].as_str().unwrap().to_owned(),
            };
            reason(&Entry::placed(path), &object, Guards::default()).is_some()
        };
        let role = |name: &str| {
            let labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
            let written = json!([{ "manager": "kube-apiserver" }]);
            let metadata = json!({ "name": name, "labels": labels, "managedFields": written });
            let object = json!({ "metadata": metadata });
            left("clusterroles.rbac.authorization.k8s.io", object)
        };
        assert!(role("system:node") && role("edit"));
        assert!(!role("our-edit"));
        let level = |kept: &str| {
            let annotations = json!({ "apf.kubernetes.io/autoupdate-spec": kept });
            let object = json!({ "metadata": { "name": "a", "annotations": annotations } });
            left(
                "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
                object,
            )
        };
        assert!(level("true") && !level("false"));
        let service = |labels: Value, service: Value| {
            let metadata = json!({ "name": "v1.a.b", "labels": labels });
            let object = json!({ "metadata": metadata, "spec": { "service": service } });
            left("apiservices.apiregistration.k8s.io", object)
        };
        let made = json!({ "kube-aggregator.kubernetes.io/automanaged": "true" });
        assert!(service(made, Value::Null) && service(json!({}), Value::Null));
        assert!(!service(
            json!({}),
            json!({ "name": "metrics", "namespace": "a" })
        ));
    }
}
