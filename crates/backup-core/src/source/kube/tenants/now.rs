//! Tenants as they are at this moment: what a restore is judged by, and no restore point keeps.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::format::export::TenantFacts;
use crate::source::status::printable;

/// Steward leaves a control plane alone that has it, whatever its value.
const PAUSED: &str = "/metadata/annotations/steward.butlerlabs.dev~1paused";
/// Cluster API's own.
const CLUSTER_PAUSED: &str = "/metadata/annotations/cluster.x-k8s.io~1paused";
/// Conditions whose `False` is bad news; of others, such as `Paused` or `ScalingUp`, it is good.
const WANTED: [&str; 8] = [
    "Available",
    "ControlPlaneAvailable",
    "ControlPlaneInitialized",
    "ControlPlaneReady",
    "InfrastructureReady",
    "Ready",
    "RemoteConnectionProbe",
    "WorkersAvailable",
];
/// Conditions that are looked at; objects have a dozen.
const MOST: usize = 64;

/// Clusters by namespace and name.
pub(super) type Clusters = BTreeMap<(String, String), ClusterView>;

/// A tenant now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantNow {
    /// What a restore point would keep of it.
    pub facts: TenantFacts,
    /// Its TenantControlPlane, if there is one.
    pub plane: Option<PlaneView>,
    /// Its Cluster API Cluster, if there is one.
    pub cluster: Option<ClusterView>,
}

/// A condition that should be `True`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Its type.
    pub condition: String,
    /// What it is instead.
    pub status: String,
    /// Reason and message.
    pub why: String,
}

/// How a TenantControlPlane is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaneView {
    /// `spec.kubernetes.version`.
    pub wanted_version: Option<String>,
    /// The value of the pause annotation.
    pub paused: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its conditions that should be otherwise, and those of its Deployment.
    pub unmet: Vec<Unmet>,
}

/// How a Cluster API Cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// `status.phase`.
    pub phase: Option<String>,
    /// Whether Cluster API leaves it alone.
    pub paused: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its conditions that should be otherwise.
    pub unmet: Vec<Unmet>,
}

impl From<TenantFacts> for TenantNow {
    fn from(facts: TenantFacts) -> Self {
        Self {
            facts,
            ..Self::default()
        }
    }
}

impl PlaneView {
    pub(super) fn of(object: &Value) -> Self {
        let paused = object.pointer(PAUSED);
        Self {
            wanted_version: text(object, "/spec/kubernetes/version"),
            paused: paused.map(|value| printable(value.as_str().unwrap_or_default())),
            deleting: is_deleting(object),
            unmet: unmet(
                object,
                [
                    "/status/conditions",
                    "/status/kubernetesResources/deployment/conditions",
                ],
            ),
        }
    }
}

/// A Cluster of a list.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
pub(super) struct Cluster {
    pub(super) key: (String, String),
    pub(super) view: ClusterView,
}

impl From<Value> for Cluster {
    fn from(object: Value) -> Self {
        let name = |pointer: &str| text(&object, pointer).unwrap_or_default();
        let held = object.pointer("/spec/paused").and_then(Value::as_bool);
        Self {
            key: (name("/metadata/namespace"), name("/metadata/name")),
            view: ClusterView {
                phase: text(&object, "/status/phase"),
                paused: held == Some(true) || object.pointer(CLUSTER_PAUSED).is_some(),
                deleting: is_deleting(&object),
                // The second are those of the newer API while both are served.
                unmet: unmet(
                    &object,
                    ["/status/conditions", "/status/v1beta2/conditions"],
                ),
            },
        }
    }
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    let held = object.pointer(pointer).and_then(Value::as_str);
    held.filter(|text| !text.is_empty()).map(printable)
}

fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

fn unmet(object: &Value, lists: [&str; 2]) -> Vec<Unmet> {
    let lists = lists
        .into_iter()
        .filter_map(|list| object.pointer(list)?.as_array());
    let mut found: Vec<Unmet> = Vec::new();
    for condition in lists.flatten().take(MOST) {
        let told = |field: &str| text(condition, field).unwrap_or_default();
        let (kind, status) = (told("/type"), told("/status"));
        let known = |unmet: &Unmet| unmet.condition == kind;
        if status == "True" || !WANTED.contains(&kind.as_str()) || found.iter().any(known) {
            continue;
        }
        let why = [told("/reason"), told("/message")];
        let why: Vec<String> = why.into_iter().filter(|text| !text.is_empty()).collect();
        found.push(Unmet {
            condition: kind,
            status,
            why: why.join(": "),
        });
    }
    found
}
