//! TenantClusters and TenantControlPlanes, reduced to the fields that the baseline reads.

use serde::Deserialize;
use serde_json::Value;

use super::plane::control_plane;
use super::state::PlaneView;
use backup_core::format::export::{ControlPlaneFacts, TenantAnswer, TenantFacts};

/// Metadata that identifies an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObjectIdentity {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl ObjectIdentity {
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

/// TenantCluster object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TenantCluster {
    pub(super) metadata: ObjectIdentity,
    pub(super) spec: TenantSpec,
    pub(super) status: TenantStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TenantSpec {
    kubernetes_version: Option<String>,
    workers: TenantWorkers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TenantWorkers {
    replicas: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TenantStatus {
    pub(super) phase: Option<String>,
    pub(super) tenant_namespace: Option<String>,
    pub(super) control_plane_endpoint: Option<String>,
    pub(super) kubeconfig_secret_ref: Option<SecretRef>,
    worker_nodes_ready: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SecretRef {
    pub(super) name: String,
}

impl TenantCluster {
    /// Returns the facts from its own fields.
    pub(super) fn facts(&self) -> TenantFacts {
        TenantFacts {
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
            uid: self.metadata.uid.clone(),
            phase: filled(self.status.phase.as_ref()),
            tenant_namespace: filled(self.status.tenant_namespace.as_ref()),
            endpoint: filled(self.status.control_plane_endpoint.as_ref()),
            kubernetes_version: filled(self.spec.kubernetes_version.as_ref()),
            workers_desired: self.spec.workers.replicas,
            workers_ready: self.status.worker_nodes_ready,
            control_plane: None,
            kubeconfig: None,
            answer: TenantAnswer::default(),
        }
    }
}

/// TenantControlPlane object.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
pub(super) struct ControlPlane {
    pub(super) namespace: String,
    pub(super) facts: ControlPlaneFacts,
    pub(super) view: PlaneView,
}

impl From<Value> for ControlPlane {
    fn from(object: Value) -> Self {
        let text = |pointer: &str| {
            let held = object.pointer(pointer).and_then(Value::as_str);
            held.unwrap_or_default().to_owned()
        };
        let namespace = text("/metadata/namespace");
        Self {
            facts: control_plane(&namespace, &text("/metadata/name"), &object),
            view: PlaneView::of(&object),
            namespace,
        }
    }
}

fn filled(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}
