//! Objects that a restore leaves where they are: in the archive.

use serde_json::Value;

use super::guards::{Guard, Guards};
use super::spool::Entry;

/// Kinds that a cluster makes for itself.
const MADE_AGAIN: [&str; 17] = [
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
    "apiservices.apiregistration.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "componentstatuses",
    "ipaddresses.networking.k8s.io",
    "servicecidrs.networking.k8s.io",
];

/// Namespaces that every cluster has.
const OWN_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Why the object is left out; `None` if it is restored.
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
    match resource {
        "namespaces" if OWN_NAMESPACES.contains(&name) => Some("every cluster has its own"),
        "secrets" => match text("/type") {
            Some("kubernetes.io/service-account-token") => {
                Some("the token of a service account is of its own cluster")
            }
            Some("bootstrap.kubernetes.io/token") => Some("a token to join has had its time"),
            _ => None,
        },
        "configmaps" if name == "kube-root-ca.crt" => Some("every cluster has its own"),
        "configmaps" if name == "extension-apiserver-authentication" => {
            Some("every cluster has its own")
        }
        "serviceaccounts" if name == "default" && object.get("imagePullSecrets").is_none() => {
            Some("every namespace has its own")
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
        _ if text("/metadata/labels/kubernetes.io~1bootstrapping").is_some() => {
            Some("every cluster has its own")
        }
        _ => None,
    }
}

fn belongs_to_a_control_plane(object: &Value) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let is = |o: &Value| o.get("kind").and_then(Value::as_str) == Some("TenantControlPlane");
    owners.is_some_and(|owners| owners.iter().any(is))
}
