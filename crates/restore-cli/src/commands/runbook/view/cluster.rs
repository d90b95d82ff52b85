//! Parts of the view that describe the cluster and what was taken of it.

use backup_core::format::export::{KubernetesFacts, SealedFacts, TenantFacts};
use backup_core::format::manifest::{Component, EtcdFacts};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct EtcdView<'a> {
    bytes: u64,
    sha256: String,
    revision: u64,
    keys: Option<u64>,
    version: Option<&'a str>,
    talos_version: Option<&'a str>,
    origin: &'a str,
    /// Prefixes of encrypted Secrets.
    encryption: &'a [String],
}

#[derive(Debug, Serialize)]
pub(super) struct KubernetesView<'a> {
    version: &'a str,
    server: &'a str,
    uid: &'a str,
    /// Chart of Butler's definitions.
    chart: Option<&'a str>,
    sealed: Option<&'a SealedFacts>,
}

#[derive(Debug, Serialize)]
pub(super) struct ComponentView<'a> {
    name: &'a str,
    /// File to which it is written by hand.
    file: String,
    bytes: u64,
    /// Bytes to download.
    stored: u64,
    objects: Option<u64>,
    has_kinds: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct TenantView<'a> {
    /// Namespace and name.
    name: String,
    endpoint: Option<&'a str>,
    version: Option<&'a str>,
    /// Number of workers that are ready.
    workers: Option<u64>,
    /// Namespace and name of its control plane.
    place: Option<String>,
    datastore: Option<&'a str>,
    schema: Option<&'a str>,
    ready: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct ControlPlaneView<'a> {
    /// Namespace and name of the tenant.
    tenant: String,
    namespace: &'a str,
    name: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct DatastoreView<'a> {
    name: &'a str,
    bytes: u64,
    /// Revision and users, from the snapshot.
    etcd: Option<(u64, &'a [String])>,
}

impl<'a> EtcdView<'a> {
    pub(super) fn of((component, etcd): (&Component, &'a EtcdFacts)) -> Self {
        Self {
            bytes: component.plain_bytes,
            sha256: component.plain_sha256.to_string(),
            revision: etcd.revision,
            keys: etcd.total_keys,
            version: etcd.etcd_version.as_deref(),
            talos_version: etcd.talos_version.as_deref(),
            origin: &etcd.origin,
            encryption: &etcd.encryption_prefixes,
        }
    }
}

impl<'a> KubernetesView<'a> {
    pub(super) fn of(kubernetes: &'a KubernetesFacts) -> Self {
        Self {
            version: &kubernetes.version,
            server: &kubernetes.server,
            uid: &kubernetes.uid,
            chart: kubernetes.crd_chart.as_deref(),
            sealed: kubernetes.sealed_secrets.as_ref(),
        }
    }
}

impl<'a> ComponentView<'a> {
    pub(super) fn of(component: &'a Component) -> Self {
        let packs = component.packs.iter().map(|pack| pack.bytes);
        let archive = component.archive.as_ref();
        Self {
            name: component.name.as_str(),
            file: format!("{}.tar", component.name.as_str().replace('/', "-")),
            bytes: component.plain_bytes,
            stored: packs.fold(0, u64::saturating_add),
            objects: archive.map(|archive| archive.objects),
            has_kinds: archive.is_some_and(|archive| !archive.kinds.is_empty()),
        }
    }
}

impl<'a> TenantView<'a> {
    pub(super) fn of(tenant: &'a TenantFacts) -> Self {
        let plane = tenant.control_plane.as_ref();
        let version = tenant.answer.version.as_ref();
        let place = ControlPlaneView::of(tenant);
        Self {
            name: format!("{}/{}", tenant.namespace, tenant.name),
            endpoint: tenant.endpoint.as_deref(),
            version: version
                .or(tenant.kubernetes_version.as_ref())
                .map(String::as_str),
            workers: tenant.workers_ready.or(tenant.answer.nodes_ready),
            place: place.map(|place| format!("{}/{}", place.namespace, place.name)),
            datastore: plane.and_then(|plane| plane.datastore.as_deref()),
            schema: plane.map(|plane| plane.schema.as_str()),
            ready: tenant.answer.ready,
        }
    }
}

impl<'a> ControlPlaneView<'a> {
    pub(super) fn of(tenant: &'a TenantFacts) -> Option<Self> {
        Some(Self {
            tenant: format!("{}/{}", tenant.namespace, tenant.name),
            namespace: tenant.tenant_namespace.as_deref()?,
            name: &tenant.control_plane.as_ref()?.name,
        })
    }
}

impl<'a> DatastoreView<'a> {
    pub(super) fn of((name, component): (&'a str, &'a Component)) -> Self {
        let etcd = component.etcd.as_ref();
        Self {
            name,
            bytes: component.plain_bytes,
            etcd: etcd.map(|etcd| (etcd.revision, etcd.users.as_slice())),
        }
    }
}
