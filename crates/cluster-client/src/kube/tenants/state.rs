//! State of the tenants at this moment, which a restore checks and no restore point contains.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::grpc::status::printable;
use backup_core::format::export::TenantFacts;

/// Annotation that makes Steward ignore a control plane, whatever its value.
const PAUSED: &str = "/metadata/annotations/steward.butlerlabs.dev~1paused";
/// The same annotation of Cluster API.
const CLUSTER_PAUSED: &str = "/metadata/annotations/cluster.x-k8s.io~1paused";
/// Conditions for which `False` is bad; for others, such as `Paused` or `ScalingUp`, it is good.
const EXPECTED_TRUE: [&str; 8] = [
    "Available",
    "ControlPlaneAvailable",
    "ControlPlaneInitialized",
    "ControlPlaneReady",
    "InfrastructureReady",
    "Ready",
    "RemoteConnectionProbe",
    "WorkersAvailable",
];
/// Maximum number of conditions that are read; objects have a dozen.
const MOST: usize = 64;

/// Clusters by namespace and name.
pub(super) type ClusterViews = BTreeMap<(String, String), ClusterView>;

/// Current state of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantState {
    /// Facts that a restore point would contain.
    pub facts: TenantFacts,
    /// TenantControlPlane of the tenant, if there is one.
    pub plane: Option<PlaneView>,
    /// Cluster API Cluster of the tenant, if there is one.
    pub cluster: Option<ClusterView>,
}

/// Condition that should be `True` and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetCondition {
    /// Type of the condition.
    pub condition: String,
    /// Actual status.
    pub status: String,
    /// Reason and message.
    pub why: String,
}

/// State of a TenantControlPlane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaneView {
    /// Field `spec.kubernetes.version`.
    pub wanted_version: Option<String>,
    /// Value of the pause annotation.
    pub paused: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Conditions of it and of its Deployment that are not as they should be.
    pub unmet: Vec<UnmetCondition>,
}

/// State of a Cluster API Cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// Field `status.phase`.
    pub phase: Option<String>,
    /// Whether Cluster API ignores it.
    pub paused: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Conditions that are not as they should be.
    pub unmet: Vec<UnmetCondition>,
}

impl From<TenantFacts> for TenantState {
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

/// Cluster of a list.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
pub(super) struct ListedCluster {
    pub(super) key: (String, String),
    pub(super) view: ClusterView,
}

impl From<Value> for ListedCluster {
    fn from(object: Value) -> Self {
        let name = |pointer: &str| text(&object, pointer).unwrap_or_default();
        let held = object.pointer("/spec/paused").and_then(Value::as_bool);
        Self {
            key: (name("/metadata/namespace"), name("/metadata/name")),
            view: ClusterView {
                phase: text(&object, "/status/phase"),
                paused: held == Some(true) || object.pointer(CLUSTER_PAUSED).is_some(),
                deleting: is_deleting(&object),
                // The second list is that of the newer API, while both are served.
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

fn unmet(object: &Value, lists: [&str; 2]) -> Vec<UnmetCondition> {
    let lists = lists
        .into_iter()
        .filter_map(|list| object.pointer(list)?.as_array());
    let mut found: Vec<UnmetCondition> = Vec::new();
    for condition in lists.flatten().take(MOST) {
        let field = |name: &str| text(condition, name).unwrap_or_default();
        let (kind, status) = (field("/type"), field("/status"));
        let known = |unmet: &UnmetCondition| unmet.condition == kind;
        if status == "True" || !EXPECTED_TRUE.contains(&kind.as_str()) || found.iter().any(known) {
            continue;
        }
        let why = [field("/reason"), field("/message")];
        let why: Vec<String> = why.into_iter().filter(|text| !text.is_empty()).collect();
        found.push(UnmetCondition {
            condition: kind,
            status,
            why: why.join(": "),
        });
    }
    found
}
