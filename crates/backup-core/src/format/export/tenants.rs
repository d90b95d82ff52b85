//! Facts of a manifest about tenants: their state, control plane, kubeconfig and API server's answer.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A tenant as it was when the restore point was made. A restore is compared with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantFacts {
    /// The TenantCluster's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// `status.phase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `status.tenantNamespace`: the namespace of its control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_namespace: Option<String>,
    /// `status.controlPlaneEndpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `spec.kubernetesVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// `spec.workers.replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_desired: Option<u64>,
    /// `status.workerNodesReady`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_ready: Option<u64>,
    /// Its TenantControlPlane, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlaneFacts>,
    /// Its kubeconfig, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<KubeconfigFacts>,
    /// The answer of its API server.
    pub answer: TenantAnswer,
}

/// A TenantControlPlane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneFacts {
    /// Its name.
    pub name: String,
    /// `status.kubernetesResources.version.status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `status.kubernetesResources.version.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The DataStore: `status.storage.dataStoreName`, else `spec.dataStore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// The schema: `status.storage.setup.schema`, else `spec.dataStoreSchema`, else made of
    /// namespace and name.
    pub schema: String,
}

/// A kubeconfig, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigFacts {
    /// Its place: `NAMESPACE/SECRET KEY`, or a file's name.
    pub origin: String,
    /// The server's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// SHA-256 of the authority's certificate (DER); of several, the control plane's, or the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_sha256: Option<Digest>,
    /// The end of the authority's validity; of several, the control plane's, or the one that is valid
    /// longest.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_not_after: Option<Timestamp>,
    /// Every certificate of the authority, if there are several: clients trust any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<AuthorityFacts>,
    /// The end of the client certificate's validity.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_not_after: Option<Timestamp>,
    /// Why it cannot be used as it is, for example a plugin that it needs to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// One of several certificates of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityFacts {
    /// SHA-256 of the certificate (DER).
    pub sha256: Digest,
    /// The end of its validity.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

impl KubeconfigFacts {
    /// Returns the certificates that a client trusts: all of them if they are known, else the one recorded.
    #[must_use]
    pub fn trusted(&self) -> Vec<AuthorityFacts> {
        if !self.authorities.is_empty() {
            return self.authorities.clone();
        }
        let not_after = self.ca_not_after;
        let only = self
            .ca_sha256
            .map(|sha256| AuthorityFacts { sha256, not_after });
        only.into_iter().collect()
    }

    /// Records the longest-lived of its certificates that are in `authority`, if any, as the CA.
    pub fn narrow(&mut self, authority: &[Digest]) {
        let mut own: Vec<AuthorityFacts> = self.authorities.clone();
        own.retain(|held| authority.contains(&held.sha256));
        if let Some(last) = own.into_iter().max_by_key(|held| held.not_after) {
            self.ca_sha256 = Some(last.sha256);
            self.ca_not_after = last.not_after;
        }
    }
}

/// The answer of a tenant's API server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantAnswer {
    /// Whether `/readyz` said that it is ready; absent if it was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// `gitVersion` of `/version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Worker nodes that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_ready: Option<u64>,
    /// The UID of its own namespace `kube-system`: it shows which cluster's data it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// The reason for a missing or partial answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
