//! DataStores of Steward: a real etcd with TLS, users and roles, and one without an etcd.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scene::{self, Scene};
use super::{DATASTORE, STEWARD, TEAM};
use crate::Folder;
use crate::etcd::Etcd;
use crate::pki::{Authority, Files};

/// Secret of the etcd's authority.
pub(super) const AUTHORITY_SECRET: &str = "steward-etcd-certs";
/// Secret of the etcd's administrator.
pub(super) const ROOT_SECRET: &str = "steward-etcd-root-client-cert";

/// Starts the etcd behind [`DATASTORE`]; every client must be a user from then on.
pub(super) async fn start(folder: &Folder) -> Result<Etcd> {
    let etcd = Etcd::start(folder, "datastore").await?;
    etcd.client().await?.enable_auth().await?;
    Ok(etcd)
}

/// Gives a tenant its prefix; returns the files that its API server shows to the etcd.
pub(super) async fn admit(etcd: &Etcd, folder: &Folder, schema: &str) -> Result<Files> {
    let root = etcd.client().await?;
    root.add_tenant(schema, schema, &format!("/{schema}/"))
        .await?;
    let authority = authority(etcd)?;
    let pki = folder.join("datastore-tenants").join(schema);
    authority.write(&pki, "client", &authority.client(schema, None)?)
}

/// Returns the authority that signs tenants' certificates.
pub(super) fn authority(etcd: &Etcd) -> Result<&Authority> {
    etcd.authority().context("the DataStore's etcd has no TLS")
}

/// Makes both DataStores with the objects that they refer to, and a control plane on the second. `used_by`
/// names the control planes on the first.
pub(super) async fn describe(scene: Scene<'_>, etcd: &Etcd, used_by: &[String]) -> Result<()> {
    let authority = authority(etcd)?;
    let root = etcd
        .client_files()
        .context("the DataStore's etcd has no TLS")?;
    let (ca, ca_key) = (authority.pem(), authority.key());
    let read = |path| std::fs::read_to_string(path).context("reading a certificate");
    let (certificate, key) = (read(&root.certificate)?, read(&root.key)?);
    let password = scene.canaries.word("postgres");
    scene
        .opaque(
            STEWARD,
            AUTHORITY_SECRET,
            &[("ca.crt", ca), ("ca.key", &ca_key)],
        )
        .await?;
    scene
        .secret(
            STEWARD,
            ROOT_SECRET,
            "kubernetes.io/tls",
            json!({}),
            &[("tls.crt", &certificate), ("tls.key", &key)],
        )
        .await?;
    scene
        .opaque(
            STEWARD,
            "postgres-credentials",
            &[("username", "steward"), ("password", &password)],
        )
        .await?;
    let leaf = |name: &str, key: &str| json!({ "secretReference": { "name": name, "namespace": STEWARD, "keyPath": key } });
    let endpoint = etcd.endpoint();
    let endpoint = endpoint.trim_start_matches("https://");
    let first = json!({
        "spec": {
            "driver": "etcd",
            "endpoints": [endpoint],
            "tlsConfig": {
                "certificateAuthority": {
                    "certificate": leaf(AUTHORITY_SECRET, "ca.crt"),
                    "privateKey": leaf(AUTHORITY_SECRET, "ca.key"),
                },
                "clientCertificate": {
                    "certificate": leaf(ROOT_SECRET, "tls.crt"),
                    "privateKey": leaf(ROOT_SECRET, "tls.key"),
                },
            },
        },
        "status": { "usedBy": used_by },
    });
    let second = json!({
        "spec": {
            "driver": "PostgreSQL",
            "endpoints": ["postgres.example:5432"],
            "basicAuth": {
                "username": leaf("postgres-credentials", "username"),
                "password": leaf("postgres-credentials", "password"),
            },
        },
        "status": { "usedBy": [format!("{TEAM}/{ON_POSTGRES}")] },
    });
    tokio::try_join!(
        scene.make(scene::DATA_STORE, "", DATASTORE, first),
        scene.make(scene::DATA_STORE, "", "postgres", second),
        scene.make(
            scene::TENANT_CONTROL_PLANE,
            TEAM,
            ON_POSTGRES,
            on_postgres()
        ),
    )?;
    Ok(())
}

/// Control plane that belongs to no TenantCluster.
const ON_POSTGRES: &str = "ledger";

fn on_postgres() -> Value {
    let schema = format!("{TEAM}_{ON_POSTGRES}");
    json!({
        "metadata": { "finalizers": ["finalizer.steward.butlerlabs.dev"] },
        "spec": {
            "dataStore": "postgres",
            "dataStoreSchema": &schema,
            "dataStoreUsername": &schema,
            "controlPlane": {
                "deployment": { "replicas": 0 }, "service": { "serviceType": "ClusterIP" },
            },
            "kubernetes": { "version": "v1.31.4" },
        },
        "status": {
            "storage": {
                "driver": "PostgreSQL",
                "dataStoreName": "postgres",
                "setup": { "schema": &schema, "user": &schema },
            },
            "kubernetesResources": { "version": { "version": "v1.31.4", "status": "Sleeping" } },
        },
    })
}
