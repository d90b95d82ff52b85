//! Secrets of a tenant's control plane, with the actual keys of its API server.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::datastore;
use super::scene::{self, Scene};
use super::tenant::{Tenant, VERSION};
use crate::etcd::Etcd;
use crate::pki::{Authority, Files, Identity};

/// Secret to make: the part of its name after the tenant's, and its values.
type Values = (&'static str, Vec<(&'static str, String)>);

/// Makes the Secrets, and the ConfigMap beside them. `owner` is a reference to the TenantControlPlane,
/// `client` the identity that the API server shows to the DataStore.
pub(super) async fn make(
    scene: Scene<'_>,
    datastore: &Etcd,
    tenant: &Tenant,
    owner: &Value,
    client: &Files,
) -> Result<()> {
    let mut all = of_steward(scene, datastore, tenant, client)?;
    all.extend(of_talos(scene, tenant)?);
    try_join_all(
        all.into_iter()
            .map(|(part, values)| one(scene, tenant, owner, part, values)),
    )
    .await?;
    let admin = tenant
        .kube_apiserver
        .authority()
        .client("kubernetes-admin", ADMINS)?;
    let kubeconfig = tenant.kube_apiserver.kubeconfig_of(&admin)?;
    let of_cluster_api = json!({
        "labels": {
            "cluster.x-k8s.io/cluster-name": &tenant.name,
            "app.kubernetes.io/managed-by": "butler",
            "butler.butlerlabs.dev/secret-type": "kubeconfig",
        },
    });
    let name = format!("{}-kubeconfig", tenant.name);
    let values = [("value", kubeconfig.as_str())];
    let kind = "cluster.x-k8s.io/secret";
    let namespace = &tenant.tenant_namespace;
    scene
        .secret(namespace, &name, kind, of_cluster_api, &values)
        .await?;
    let kubeadm = json!({
        "metadata": { "ownerReferences": [owner] },
        "data": { "ClusterConfiguration": format!("kubernetesVersion: {VERSION}\n") },
    });
    let name = format!("{}-kubeadmconfig", tenant.name);
    scene
        .make(scene::CONFIG_MAP, namespace, &name, kubeadm)
        .await?;
    Ok(())
}

/// Group that may do everything.
const ADMINS: Option<&str> = Some("system:masters");

fn of_steward(
    scene: Scene<'_>,
    datastore: &Etcd,
    tenant: &Tenant,
    client: &Files,
) -> Result<Vec<Values>> {
    let server = &tenant.kube_apiserver;
    let authority = server.authority();
    let front_proxy = Authority::new("front-proxy-ca")?;
    let (ca, ca_key) = (authority.pem().to_owned(), authority.key());
    let pair = |Identity { certificate, key }| vec![("tls.crt", certificate), ("tls.key", key)];
    let kubeconfig = |user: &str, group| -> Result<String> {
        server.kubeconfig_of(&authority.client(user, group)?)
    };
    let admin = kubeconfig("kubernetes-admin", ADMINS)?;
    // Inside the management cluster the same server has another name.
    let inside = format!(
        "https://{}.{}.svc:6443",
        tenant.name, tenant.tenant_namespace
    );
    let admin_inside = admin.replace(&server.url(), &inside);
    let read = |path| std::fs::read_to_string(path).context("reading a certificate");
    Ok(vec![
        (
            "ca",
            vec![
                ("ca.crt", ca.clone()),
                ("ca.key", ca_key.clone()),
                ("tls.crt", ca),
                ("tls.key", ca_key),
            ],
        ),
        (
            "front-proxy-ca-certificate",
            vec![
                ("ca.crt", front_proxy.pem().to_owned()),
                ("ca.key", front_proxy.key()),
            ],
        ),
        (
            "front-proxy-client-certificate",
            pair(front_proxy.client("front-proxy-client", None)?),
        ),
        (
            "sa-certificate",
            vec![
                ("sa.pub", server.accounts().public_key_pem()),
                ("sa.key", server.accounts().serialize_pem()),
            ],
        ),
        (
            "api-server-certificate",
            pair(authority.server("kube-apiserver")?),
        ),
        (
            "api-server-kubelet-client-certificate",
            pair(authority.client("kube-apiserver-kubelet-client", ADMINS)?),
        ),
        (
            "admin-kubeconfig",
            vec![
                ("admin.conf", admin.clone()),
                ("admin.svc", admin_inside.clone()),
                ("super-admin.conf", admin),
                ("super-admin.svc", admin_inside),
            ],
        ),
        (
            "controller-manager-kubeconfig",
            vec![(
                "controller-manager.conf",
                kubeconfig("system:kube-controller-manager", None)?,
            )],
        ),
        (
            "scheduler-kubeconfig",
            vec![("scheduler.conf", kubeconfig("system:kube-scheduler", None)?)],
        ),
        (
            "datastore-config",
            vec![
                ("DB_CONNECTION_STRING", datastore.endpoint()),
                ("DB_SCHEMA", tenant.schema.clone()),
                ("DB_USER", tenant.schema.clone()),
                ("DB_PASSWORD", scene.canaries.word("datastore")),
            ],
        ),
        (
            "datastore-certificate",
            vec![
                ("ca.crt", datastore::authority(datastore)?.pem().to_owned()),
                ("server.crt", read(&client.certificate)?),
                ("server.key", read(&client.key)?),
            ],
        ),
        (
            "konnectivity-certificate",
            pair(authority.server("system:konnectivity-server")?),
        ),
    ])
}

fn of_talos(scene: Scene<'_>, tenant: &Tenant) -> Result<Vec<Values>> {
    let authority = Authority::new("talos")?;
    let server = authority.server(&tenant.name)?;
    let admin = authority.client("admin", Some("os:admin"))?;
    let token = scene.canaries.word("trustd");
    Ok(vec![
        (
            "talos-bootstrap",
            vec![("value", format!("machine:\n  token: {token}\n"))],
        ),
        (
            "talosconfig",
            vec![(
                "talosconfig",
                format!("context: {}\nkey: {token}\n", tenant.name),
            )],
        ),
        (
            "trustd-creds",
            vec![
                ("os-ca.crt", authority.pem().to_owned()),
                ("os-ca.key", authority.key()),
                ("server.crt", server.certificate),
                ("server.key", server.key),
                ("token", token),
                ("admin.crt", admin.certificate),
                ("admin.key", admin.key),
            ],
        ),
    ])
}

async fn one(
    scene: Scene<'_>,
    tenant: &Tenant,
    owner: &Value,
    part: &str,
    values: Vec<(&'static str, String)>,
) -> Result<()> {
    let mut digest = Sha256::new();
    for (_, value) in &values {
        digest.update(value);
    }
    let mut metadata = json!({
        "labels": {
            "steward.butlerlabs.dev/project": "steward",
            "steward.butlerlabs.dev/name": &tenant.name,
            "steward.butlerlabs.dev/component": part,
        },
        "annotations": { "steward.butlerlabs.dev/checksum": hex::encode(digest.finalize()) },
        "ownerReferences": [owner],
    });
    if part == "datastore-config" {
        let finalizers = json!(["finalizer.steward.butlerlabs.dev/datastore-secret"]);
        let fields = metadata.as_object_mut().context("metadata is a map")?;
        fields.insert("finalizers".to_owned(), finalizers);
    }
    let values: Vec<_> = values
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let name = format!("{}-{part}", tenant.name);
    scene
        .secret(&tenant.tenant_namespace, &name, "Opaque", metadata, &values)
        .await?;
    Ok(())
}
