//! Writer of objects into the scenario: kinds, status, Secrets with their canaries.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::canaries::Canaries;
use crate::kube_apiserver::KubeApiserver;

/// Kind and the path at which it is served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

macro_rules! kinds {
    ($($name:ident $version:literal $kind:literal $plural:literal;)*) => {
        $(pub(super) const $name: Kind = Kind {
            api_version: $version,
            kind: $kind,
            plural: $plural,
        };)*
    };
}

kinds! {
    NAMESPACE "v1" "Namespace" "namespaces";
    SECRET "v1" "Secret" "secrets";
    CONFIG_MAP "v1" "ConfigMap" "configmaps";
    SERVICE "v1" "Service" "services";
    SERVICE_ACCOUNT "v1" "ServiceAccount" "serviceaccounts";
    CRD "apiextensions.k8s.io/v1" "CustomResourceDefinition" "customresourcedefinitions";
    TENANT_CLUSTER "butler.butlerlabs.dev/v1alpha1" "TenantCluster" "tenantclusters";
    TEAM "butler.butlerlabs.dev/v1alpha1" "Team" "teams";
    USER "butler.butlerlabs.dev/v1alpha1" "User" "users";
    PROVIDER_CONFIG "butler.butlerlabs.dev/v1alpha1" "ProviderConfig" "providerconfigs";
    NETWORK_POOL "butler.butlerlabs.dev/v1alpha1" "NetworkPool" "networkpools";
    IP_ALLOCATION "butler.butlerlabs.dev/v1alpha1" "IPAllocation" "ipallocations";
    BUTLER_CONFIG "butler.butlerlabs.dev/v1alpha1" "ButlerConfig" "butlerconfigs";
    ADDON_DEFINITION "butler.butlerlabs.dev/v1alpha1" "AddonDefinition" "addondefinitions";
    TENANT_ADDON "butler.butlerlabs.dev/v1alpha1" "TenantAddon" "tenantaddons";
    MANAGEMENT_ADDON "butler.butlerlabs.dev/v1alpha1" "ManagementAddon" "managementaddons";
    DATA_STORE "steward.butlerlabs.dev/v1alpha1" "DataStore" "datastores";
    TENANT_CONTROL_PLANE "steward.butlerlabs.dev/v1alpha1" "TenantControlPlane"
        "tenantcontrolplanes";
    STEWARD_CONTROL_PLANE "controlplane.cluster.x-k8s.io/v1alpha1" "StewardControlPlane"
        "stewardcontrolplanes";
    CLUSTER "cluster.x-k8s.io/v1beta1" "Cluster" "clusters";
    SEALED_SECRET "bitnami.com/v1alpha1" "SealedSecret" "sealedsecrets";
}

impl Kind {
    /// Returns the path of its list in `namespace`; empty for objects without a namespace, or for all
    /// namespaces.
    pub(super) fn list(self, namespace: &str) -> String {
        let root = if self.api_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        let Self {
            api_version,
            plural,
            ..
        } = self;
        match namespace {
            "" => format!("/{root}/{api_version}/{plural}"),
            _ => format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
        }
    }

    /// Returns the path of one object.
    pub(super) fn object(self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.list(namespace))
    }
}

/// API server that is being filled.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) server: &'a KubeApiserver,
    pub(super) canaries: &'a Canaries,
}

impl Scene<'_> {
    /// Makes an object. `body` has everything but its kind and name: labels and the like under `metadata`,
    /// and a `status` that is written after it, as its controller would.
    pub(super) async fn make(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        mut body: Value,
    ) -> Result<Value> {
        let fields = body.as_object_mut().context("an object is a map")?;
        fields.insert("apiVersion".to_owned(), json!(kind.api_version));
        fields.insert("kind".to_owned(), json!(kind.kind));
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        let metadata = metadata.as_object_mut().context("metadata is a map")?;
        metadata.insert("name".to_owned(), json!(name));
        if !namespace.is_empty() {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        let status = fields.remove("status");
        let made = self.server.create(&kind.list(namespace), &body).await?;
        match status {
            Some(status) => self.status(kind, &made, status).await,
            None => Ok(made),
        }
    }

    /// Writes the status of `object`, as its controller would.
    pub(super) async fn status(&self, kind: Kind, object: &Value, status: Value) -> Result<Value> {
        let mut object = object.clone();
        let path = kind.object(
            text(&object, "/metadata/namespace").unwrap_or_default(),
            text(&object, "/metadata/name")?,
        );
        let fields = object.as_object_mut().context("an object is a map")?;
        fields.insert("status".to_owned(), status);
        self.server
            .replace(&format!("{path}/status"), &object)
            .await
    }

    /// Makes a Secret. Every Secret holds a canary in at least one value.
    pub(super) async fn secret(
        &self,
        namespace: &str,
        name: &str,
        kind: &str,
        metadata: Value,
        values: &[(&str, &str)],
    ) -> Result<Value> {
        let mut found = false;
        let mut data = Map::new();
        for (key, value) in values {
            found |= self.canaries.found_in(value);
            data.insert((*key).to_owned(), json!(STANDARD.encode(value)));
        }
        ensure!(found, "no canary in the Secret {namespace}/{name}");
        let body = json!({ "type": kind, "metadata": metadata, "data": data });
        self.make(SECRET, namespace, name, body).await
    }

    /// Makes a Secret of type Opaque without labels.
    pub(super) async fn opaque(
        &self,
        namespace: &str,
        name: &str,
        values: &[(&str, &str)],
    ) -> Result<Value> {
        self.secret(namespace, name, "Opaque", json!({}), values)
            .await
    }
}

/// Returns the text at a JSON pointer.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Result<&'a str> {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.with_context(|| format!("an object without {pointer}"))
}

/// Returns a reference to an owner that controls the object with the reference.
pub(super) fn controlled_by(kind: Kind, owner: &Value) -> Result<Value> {
    Ok(json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": text(owner, "/metadata/name")?,
        "uid": text(owner, "/metadata/uid")?,
        "controller": true,
        "blockOwnerDeletion": true,
    }))
}

/// Returns a condition as most kinds have it.
pub(super) fn condition(name: &str, reason: &str) -> Value {
    json!({
        "type": name,
        "status": "True",
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-08-30T07:15:00Z",
    })
}
