//! Tenant: a real API server on a prefix of the DataStore, and the objects of Butler, Steward and Cluster API
//! for it in the management cluster.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::datastore;
use super::scene::{self, Scene, condition, controlled_by, text};
use super::{DATASTORE, SYSTEM, TEAM, tenant_secrets};
use crate::Folder;
use crate::etcd::Etcd;
use crate::kube_apiserver::{KubeApiserver, Storage};

/// Version that a tenant reports; it is the version of its API server.
pub(super) const VERSION: &str = "v1.36.1";
/// Number of worker nodes of each tenant.
const WORKERS: u32 = 2;

/// Tenant of the scenario.
pub struct Tenant {
    /// Name of the TenantCluster, and of its control planes.
    pub name: String,
    /// Namespace of the TenantCluster.
    pub namespace: String,
    /// Namespace of its control plane: the name and the first part of the TenantCluster's UID.
    pub tenant_namespace: String,
    /// Schema in the DataStore: the prefix of its keys without slashes, its role and its user.
    pub schema: String,
    /// API server that its TenantCluster's endpoint names.
    pub kube_apiserver: KubeApiserver,
}

impl Tenant {
    /// Returns the kubeconfig of its administrator, as a file.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kube_apiserver.kubeconfig()
    }

    /// Returns its endpoint without scheme, as Steward writes it.
    pub(super) fn host_and_port(&self) -> String {
        self.kube_apiserver.url().replace("https://", "")
    }
}

/// Makes the tenant `number` called `name`, with all its objects.
pub(super) async fn make(
    scene: Scene<'_>,
    folder: &Folder,
    datastore: &Etcd,
    namespace: &str,
    name: &str,
    number: u8,
) -> Result<Tenant> {
    let cluster = tenant_cluster(scene, namespace, name).await?;
    let uid = text(&cluster, "/metadata/uid")?;
    let short: String = uid.chars().take(8).collect();
    let tenant_namespace = format!("{name}-{short}");
    let labels = json!({ "metadata": { "labels": {
        "app.kubernetes.io/managed-by": "butler",
        "butler.butlerlabs.dev/tenant": name,
        "butler.butlerlabs.dev/team": TEAM,
        "butler.butlerlabs.dev/source-namespace": namespace,
        "butler.butlerlabs.dev/source-name": name,
        "pod-security.kubernetes.io/enforce": "privileged",
    }}});
    scene
        .make(scene::NAMESPACE, "", &tenant_namespace, labels)
        .await?;
    let schema = format!("{tenant_namespace}_{name}").replace('-', "_");
    let client = datastore::admit(datastore, folder, &schema).await?;
    let storage = Storage {
        endpoint: datastore.endpoint(),
        client: Some(client.clone()),
        prefix: Some(format!("/{schema}")),
        encrypted: false,
        features: Vec::new(),
    };
    let server = KubeApiserver::start_with(folder, &format!("tenant-{name}"), &storage).await?;
    let tenant = Tenant {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        tenant_namespace,
        schema,
        kube_apiserver: server,
    };
    let control_plane = control_planes(scene, &tenant).await?;
    let owner = controlled_by(scene::TENANT_CONTROL_PLANE, &control_plane)?;
    tokio::try_join!(
        tenant_secrets::make(scene, datastore, &tenant, &owner, &client),
        service(scene, &tenant, &owner),
        inside(&tenant),
        allocations(scene, &tenant, number),
        addon(scene, &tenant),
    )?;
    let status = cluster_status(&tenant);
    scene
        .status(scene::TENANT_CLUSTER, &cluster, status)
        .await?;
    Ok(tenant)
}

/// Makes the Service before the control plane; the cluster gives it an address.
async fn service(scene: Scene<'_>, tenant: &Tenant, owner: &Value) -> Result<()> {
    let body = json!({
        "metadata": { "ownerReferences": [owner] },
        "spec": {
            "type": "ClusterIP",
            "selector": { "steward.butlerlabs.dev/name": &tenant.name },
            "ports": [{ "name": "kube-apiserver", "port": 6443 }],
        },
    });
    let namespace = &tenant.tenant_namespace;
    scene
        .make(scene::SERVICE, namespace, &tenant.name, body)
        .await?;
    Ok(())
}

async fn tenant_cluster(scene: Scene<'_>, namespace: &str, name: &str) -> Result<Value> {
    let body = json!({
        "metadata": {
            "labels": { "butler.butlerlabs.dev/team": TEAM },
            "annotations": { "butler.butlerlabs.dev/creator-email": "alice@example.org" },
            "finalizers": ["butler.butlerlabs.dev/tenantcluster"],
        },
        "spec": {
            "kubernetesVersion": VERSION,
            "teamRef": { "name": TEAM },
            "providerConfigRef": { "name": "harvester", "namespace": SYSTEM },
            "workers": {
                "replicas": WORKERS,
                "machineTemplate": {
                    "cpu": 4, "memory": "8Gi", "diskSize": "40Gi", "os": { "type": "talos" },
                },
            },
            "controlPlane": { "replicas": 1, "dataStoreRef": { "name": DATASTORE } },
            "networking": { "podCIDR": "10.244.0.0/16", "serviceCIDR": "10.0.0.0/24" },
            "managementPolicy": { "mode": "Active" },
        },
    });
    scene
        .make(scene::TENANT_CLUSTER, namespace, name, body)
        .await
}

fn cluster_status(tenant: &Tenant) -> Value {
    let Tenant { name, .. } = tenant;
    json!({
        "phase": "Ready",
        "tenantNamespace": &tenant.tenant_namespace,
        "controlPlaneEndpoint": tenant.kube_apiserver.url(),
        "kubeconfigSecretRef": { "name": format!("{name}-kubeconfig") },
        "ipAllocationRef": { "name": format!("{name}-nodes"), "namespace": SYSTEM },
        "lbAllocationRef": { "name": format!("{name}-lb"), "namespace": SYSTEM },
        "workerNodesReady": WORKERS,
        "workerNodesDesired": WORKERS,
        "observedState": {
            "kubernetesVersion": VERSION,
            "workers": { "desired": WORKERS, "ready": WORKERS },
            "addons": [{ "name": "cilium", "version": "1.17.0", "status": "Installed" }],
        },
        "conditions": [
            condition("InfrastructureReady", "Provisioned"),
            condition("ControlPlaneReady", "Provisioned"),
            condition("WorkersReady", "AllReady"),
            condition("Ready", "Ready"),
        ],
        "observedGeneration": 1,
    })
}

/// Makes the control planes: Cluster API's Cluster owns the StewardControlPlane, which owns the
/// TenantControlPlane. Returns the last one.
async fn control_planes(scene: Scene<'_>, tenant: &Tenant) -> Result<Value> {
    let Tenant {
        name,
        tenant_namespace,
        schema,
        ..
    } = tenant;
    let endpoint = tenant.host_and_port();
    let (host, port) = endpoint
        .split_once(':')
        .context("an endpoint without a port")?;
    let port: u16 = port.parse().context("the port of an endpoint")?;
    let cluster = json!({
        "metadata": {
            "labels": { "butler.butlerlabs.dev/tenant": name },
            "finalizers": ["cluster.cluster.x-k8s.io"],
        },
        "spec": {
            "clusterNetwork": {
                "pods": { "cidrBlocks": ["10.244.0.0/16"] },
                "services": { "cidrBlocks": ["10.0.0.0/24"] },
            },
            "controlPlaneEndpoint": { "host": host, "port": port },
            "controlPlaneRef": {
                "apiVersion": scene::STEWARD_CONTROL_PLANE.api_version,
                "kind": scene::STEWARD_CONTROL_PLANE.kind,
                "name": name,
                "namespace": tenant_namespace,
            },
        },
        "status": { "phase": "Provisioned", "infrastructureReady": true, "controlPlaneReady": true },
    });
    let cluster = scene
        .make(scene::CLUSTER, tenant_namespace, name, cluster)
        .await?;
    let of_cluster = json!({ "cluster.x-k8s.io/cluster-name": name });
    let steward = json!({
        "metadata": {
            "labels": &of_cluster,
            "ownerReferences": [controlled_by(scene::CLUSTER, &cluster)?],
        },
        "spec": {
            "version": VERSION,
            "replicas": 1,
            "dataStoreName": DATASTORE,
            "dataStoreSchema": schema,
            "dataStoreUsername": schema,
            "controlPlaneEndpoint": { "host": host, "port": port },
        },
        "status": {
            "initialized": true,
            "ready": true,
            "replicas": 1,
            "readyReplicas": 1,
            "unavailableReplicas": 0,
            "updatedReplicas": 1,
            "selector": format!("steward.butlerlabs.dev/name={name}"),
            "version": VERSION,
            "externalManagedControlPlane": true,
            "conditions": [condition("Ready", "Ready")],
        },
    });
    let kind = scene::STEWARD_CONTROL_PLANE;
    let steward = scene.make(kind, tenant_namespace, name, steward).await?;
    let of = |part: &str| json!({ "secretName": format!("{name}-{part}") });
    let body = json!({
        "metadata": {
            "labels": &of_cluster,
            "ownerReferences": [controlled_by(kind, &steward)?],
            "finalizers": [
                "finalizer.steward.butlerlabs.dev", "finalizer.steward.butlerlabs.dev/soot",
            ],
        },
        "spec": {
            "dataStore": DATASTORE,
            "dataStoreSchema": schema,
            "dataStoreUsername": schema,
            "controlPlane": {
                "deployment": { "replicas": 1 }, "service": { "serviceType": "LoadBalancer" },
            },
            "kubernetes": { "version": VERSION },
            "networkProfile": { "address": host, "port": port, "clusterDomain": "cluster.local" },
            "addons": { "coreDNS": {}, "konnectivity": {} },
        },
        "status": {
            "controlPlaneEndpoint": &endpoint,
            "storage": {
                "driver": "etcd",
                "dataStoreName": DATASTORE,
                "config": of("datastore-config"),
                "certificate": of("datastore-certificate"),
                "setup": { "schema": schema, "user": schema },
            },
            "certificates": {
                "ca": of("ca"),
                "sa": of("sa-certificate"),
                "frontProxyCA": of("front-proxy-ca-certificate"),
                "frontProxyClient": of("front-proxy-client-certificate"),
                "apiServer": of("api-server-certificate"),
                "apiServerKubeletClient": of("api-server-kubelet-client-certificate"),
            },
            "kubeconfig": {
                "admin": of("admin-kubeconfig"),
                "controllerManager": of("controller-manager-kubeconfig"),
                "scheduler": of("scheduler-kubeconfig"),
            },
            "kubernetesResources": {
                "version": { "version": VERSION, "status": "Ready" },
                "deployment": { "name": name, "namespace": tenant_namespace, "replicas": 1 },
                "service": { "name": name, "namespace": tenant_namespace, "port": port },
            },
        },
    });
    scene
        .make(scene::TENANT_CONTROL_PLANE, tenant_namespace, name, body)
        .await
}

/// Makes the objects in the tenant itself: its worker nodes, ready, and an object of the tenant's own.
async fn inside(tenant: &Tenant) -> Result<()> {
    let server = &tenant.kube_apiserver;
    for number in 1..=WORKERS {
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": format!("{}-worker-{number}", tenant.name) },
        });
        let mut node = server.create("/api/v1/nodes", &node).await?;
        let path = format!("/api/v1/nodes/{}/status", text(&node, "/metadata/name")?);
        let ready = json!({ "conditions": [condition("Ready", "KubeletReady")] });
        node.as_object_mut()
            .context("a node is a map")?
            .insert("status".to_owned(), ready);
        server.replace(&path, &node).await?;
    }
    let own = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "shop" },
        "data": { "owner": &tenant.name },
    });
    server
        .create("/api/v1/namespaces/default/configmaps", &own)
        .await?;
    Ok(())
}

async fn allocations(scene: Scene<'_>, tenant: &Tenant, number: u8) -> Result<()> {
    let one = |kind: &str, last: u32, addresses: u32| {
        let (start, end) = (last, last + addresses - 1);
        let first = format!("10.40.{}.", 4 + u32::from(number));
        json!({
            "metadata": { "finalizers": ["butler.butlerlabs.dev/ipallocation"] },
            "spec": {
                "poolRef": { "name": "lab", "namespace": SYSTEM },
                "tenantClusterRef": { "name": &tenant.name, "namespace": &tenant.namespace },
                "type": kind,
                "count": addresses,
            },
            "status": {
                "phase": "Allocated",
                "startAddress": format!("{first}{start}"),
                "endAddress": format!("{first}{end}"),
                "addresses": (start..=end).map(|n| format!("{first}{n}")).collect::<Vec<_>>(),
                "allocatedCount": addresses,
                "allocatedAt": "2026-08-30T07:10:00Z",
                "allocatedBy": "butler-controller",
            },
        })
    };
    let name = &tenant.name;
    let (nodes, balancers) = (format!("{name}-nodes"), format!("{name}-lb"));
    tokio::try_join!(
        scene.make(scene::IP_ALLOCATION, SYSTEM, &nodes, one("nodes", 10, 5)),
        scene.make(
            scene::IP_ALLOCATION,
            SYSTEM,
            &balancers,
            one("loadbalancer", 200, 8)
        ),
    )?;
    Ok(())
}

async fn addon(scene: Scene<'_>, tenant: &Tenant) -> Result<()> {
    let body = json!({
        "metadata": { "finalizers": ["butler.butlerlabs.dev/tenantaddon"] },
        "spec": {
            "clusterRef": { "name": &tenant.name },
            "addon": "cilium",
            "version": "1.17.0",
            "values": { "ipam": { "mode": "kubernetes" } },
        },
        "status": {
            "phase": "Installed",
            "installedVersion": "1.17.0",
            "helmRelease": { "name": "cilium", "namespace": "kube-system", "revision": 1, "status": "deployed" },
        },
    });
    let name = format!("{}-cilium", tenant.name);
    scene
        .make(scene::TENANT_ADDON, &tenant.namespace, &name, body)
        .await?;
    Ok(())
}
