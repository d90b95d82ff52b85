//! Tests of references in all the shapes that operators use, and of the report on skipped Secrets.

use anyhow::{Context as _, Result};
use backup_core::format::export::Skipped;
use backup_core::id::ComponentName;
use serde_json::{Value, json};

use super::kube::Definition;
use super::site::{EXPORT, ExportSite};

/// Returns how operators name a Secret: the purpose, and a `spec` that refers to the Secret of that name.
fn shapes() -> Vec<(&'static str, Value)> {
    let it = |name: &str| json!({ "name": name });
    let key = |name: &str| json!({ "name": name, "key": "k" });
    vec![
        (
            "gateway-listener",
            json!({ "listeners": [{ "tls": { "certificateRefs": [it("gateway-listener")] } }] }),
        ),
        (
            "mesh-gateway",
            json!({ "servers": [{ "tls": { "credentialName": "mesh-gateway" } }] }),
        ),
        (
            "scrape-user",
            json!({ "endpoints": [{ "basicAuth": {
                "username": key("scrape-user"), "password": key("scrape-user"),
            } }] }),
        ),
        (
            "scrape-ca",
            json!({ "tlsConfig": { "ca": { "secret": key("scrape-ca") } } }),
        ),
        (
            "scrape-key",
            json!({ "tlsConfig": { "keySecret": key("scrape-key") } }),
        ),
        ("alert-routes", json!({ "configSecret": "alert-routes" })),
        (
            "more-scrapes",
            json!({ "additionalScrapeConfigs": key("more-scrapes") }),
        ),
        (
            "disk-image",
            json!({ "source": { "http": { "url": "https://x", "secretRef": "disk-image" } } }),
        ),
        ("bgp-peer", json!({ "authSecretRef": "bgp-peer" })),
        (
            "object-storage",
            json!({ "credential": key("object-storage") }),
        ),
        (
            "connection",
            json!({ "writeConnectionSecretToRef": { "name": "connection", "namespace": "shapes" } }),
        ),
        ("superuser", json!({ "superuserSecret": it("superuser") })),
        (
            "bucket-keys",
            json!({ "s3Credentials": { "accessKeyId": key("bucket-keys") } }),
        ),
        (
            "prism",
            json!({ "prismCentral": { "credentialRef": {
                "kind": "Secret", "name": "prism", "namespace": "shapes",
            } } }),
        ),
        ("client", json!({ "clientSecretName": "client" })),
        (
            "chart-values",
            json!({ "valuesFrom": [{ "kind": "Secret", "name": "chart-values" }] }),
        ),
        (
            "acme-account",
            json!({ "acme": { "privateKeySecretRef": it("acme-account") } }),
        ),
        (
            "cloud-token",
            json!({ "hetznerSecretRef": { "name": "cloud-token", "key": { "hcloudToken": "t" } } }),
        ),
        (
            "bootstrap-data",
            json!({ "bootstrap": { "dataSecretName": "bootstrap-data" } }),
        ),
        (
            "outside-secret",
            json!({
                "secretStoreRef": { "name": "store", "kind": "SecretStore" },
                "target": it("outside-secret"),
            }),
        ),
        (
            "chart-repository",
            json!({ "passwordSecretKeySelector": key("chart-repository") }),
        ),
        // Kubeadm's form for files on nodes.
        (
            "node-file",
            json!({ "files": [{ "path": "/etc/x", "contentFrom": { "secret": key("node-file") } }] }),
        ),
        (
            "chart-inline",
            json!({ "values": { "postgresql": { "auth": { "existingSecret": "chart-inline" } } } }),
        ),
        (
            "storage-driver",
            json!({ "parameters": {
                "csi.storage.k8s.io/provisioner-secret-name": "storage-driver",
                "csi.storage.k8s.io/provisioner-secret-namespace": "shapes",
            } }),
        ),
        (
            "login",
            json!({ "gitProvider": { "secretRef": it("login") } }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_taken_by_every_shape_of_reference_and_the_rest_is_counted() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let kind = Definition::new("gadgets", "shapes.example.com").namespaced();
    kube.define(&kind.object()).await?;
    kube.namespace("shapes").await?;
    let objects = kind.objects(Some("shapes"));
    let shapes = shapes();
    for (name, spec) in &shapes {
        kube.secret("shapes", name, "Opaque").await?;
        // The object has another name, because its own name is not a reference.
        let object = kind.example(&format!("of-{name}"), &json!({ "spec": spec }));
        kube.create(&objects, &object).await?;
    }
    for name in ["nobody-refers", "of-login", "store"] {
        kube.secret("shapes", name, "Opaque").await?;
    }
    kube.config_map("shapes", "login").await?;
    let flags = ["--component", EXPORT, "--include-namespaces", "shapes"];
    let exported = site.taken(&site.snapshot(&flags), 0).await?;
    exported.nothing_else(&[]);
    let mut expected: Vec<String> = shapes
        .iter()
        .map(|(name, _)| format!("resources/secrets/namespaces/shapes/{name}.json"))
        .collect();
    expected.sort();
    assert_eq!(site.paths("secrets").await?, expected);

    let left = |resource: &str| -> Result<Skipped> {
        let skipped = &exported.kind(&ComponentName::secrets(), resource)?.skipped;
        let left = skipped.iter().find(|s| !s.namespaces.is_empty());
        left.cloned().with_context(|| format!("{skipped:?}"))
    };
    assert_eq!(
        left("secrets")?.namespaces,
        [("shapes".to_owned(), 3)].into()
    );
    assert_eq!(left("configmaps")?.objects, 1);
    let shown = site
        .restore_cli("show")
        .arg("latest")
        .ended_with(0)
        .await?
        .stdout;
    let told = "secrets left out, as nothing refers to them: 3 in shapes";
    assert!(shown.contains(told), "{shown}");
    Ok(())
}
