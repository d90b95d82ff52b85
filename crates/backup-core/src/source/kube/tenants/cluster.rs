//! TenantClusters and TenantControlPlanes, as far as the baseline reads them.

use serde::Deserialize;

use crate::format::export::{ControlPlaneFacts, TenantAnswer, TenantFacts};

/// Names are looked for in this one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Metadata {
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

/// A TenantCluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tenant {
    pub(super) metadata: Metadata,
    pub(super) spec: TenantSpec,
    pub(super) status: TenantStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TenantSpec {
    kubernetes_version: Option<String>,
    workers: Workers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workers {
    replicas: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TenantStatus {
    pub(super) phase: Option<String>,
    pub(super) tenant_namespace: Option<String>,
    pub(super) control_plane_endpoint: Option<String>,
    pub(super) kubeconfig_secret_ref: Option<NameOnly>,
    worker_nodes_ready: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NameOnly {
    pub(super) name: String,
}

impl Tenant {
    /// What its own fields tell.
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

/// A TenantControlPlane.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ControlPlane {
    pub(super) metadata: Metadata,
    spec: PlaneSpec,
    status: PlaneStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PlaneSpec {
    data_store: Option<String>,
    data_store_schema: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PlaneStatus {
    storage: Storage,
    kubernetes_resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Storage {
    data_store_name: Option<String>,
    setup: Setup,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Setup {
    schema: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    version: Version,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: Option<String>,
    status: Option<String>,
}

impl ControlPlane {
    /// What its fields tell. The status has the last word, as it has for Steward.
    pub(super) fn facts(&self) -> ControlPlaneFacts {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let schema = filled(status.storage.setup.schema.as_ref())
            .or_else(|| filled(spec.data_store_schema.as_ref()))
            .unwrap_or_else(|| {
                format!("{}_{}", metadata.namespace, metadata.name).replace('-', "_")
            });
        ControlPlaneFacts {
            name: metadata.name.clone(),
            status: filled(status.kubernetes_resources.version.status.as_ref()),
            version: filled(status.kubernetes_resources.version.version.as_ref()),
            datastore: filled(status.storage.data_store_name.as_ref())
                .or_else(|| filled(spec.data_store.as_ref())),
            schema,
        }
    }
}

fn filled(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}
