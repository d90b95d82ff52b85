//! Tests that sealed Secrets are checked with the stored keys, and that a lost key is reported.

use anyhow::{Context as _, Result};
use backup_core::format::manifest::Severity;
use e2e::butler;
use e2e::sealed_secrets::{self, Scope, SealedSecrets};
use serde_json::{Value, json};

use super::site::ExportSite;

const KIND: &str = "sealedsecrets.bitnami.com";
const NAMESPACE: &str = "sealing";
const PASSWORD: &str = "not to be seen by anybody";

fn name_of(key: &Value) -> Result<&str> {
    let name = key.pointer("/metadata/name").and_then(Value::as_str);
    name.context("a sealing key without a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_by_a_key_that_is_gone_is_named() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    kube.namespace(NAMESPACE).await?;
    let (old, new, controller) = {
        let server = site.cluster.server.lock().await;
        butler::define(&server, KIND).await?;
        let folder = &site.cluster.folder;
        let mut controller =
            SealedSecrets::start(folder, "sealed-secrets", &server, NAMESPACE).await?;
        let old = sealed_secrets::active_keys(&server, NAMESPACE).await?;
        let old = old.into_iter().next().context("there is no sealing key")?;
        let new = controller.renew(&server).await?;
        controller.stop().await?;
        (old, new, controller)
    };
    // Both sealed by the real kubeseal, each for a key that the real controller made.
    for (key, name) in [(&old, "orphan"), (&new, "kept")] {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "stringData": { "password": PASSWORD },
        });
        let folder = site.cluster.folder.path();
        let sealed = sealed_secrets::seal(folder, key, &secret, Scope::Strict).await?;
        let list = format!("/apis/bitnami.com/v1alpha1/namespaces/{NAMESPACE}/sealedsecrets");
        kube.create(&list, &sealed).await?;
    }
    let of_key = format!("/api/v1/namespaces/{NAMESPACE}/secrets/{}", name_of(&old)?);
    kube.delete(&of_key).await?;
    drop(controller);

    let snapshot = site.snapshot(&["--component", "sealed-secrets,resources"]);
    let exported = site.taken(&snapshot, 7).await?;
    let object = format!("{KIND} {NAMESPACE}/orphan");
    let finding = exported.finding(&object, Severity::Error)?;
    assert!(
        finding
            .cause
            .contains("no sealing key of this restore point opens it"),
        "{finding:?}"
    );
    let kubernetes = exported.manifest.kubernetes.as_ref();
    let sealed = kubernetes.and_then(|k| k.sealed_secrets.as_ref());
    let sealed = sealed.context("no facts on sealed Secrets")?;
    assert_eq!((sealed.sealed_secrets, sealed.opened), (2, 1));
    let keys: Vec<_> = sealed.keys.iter().map(|key| key.secret.as_str()).collect();
    assert_eq!(keys, [format!("{NAMESPACE}/{}", name_of(&new)?)]);
    let told = format!("{:?} {}", exported.manifest, exported.output.stderr);
    assert!(!told.contains(PASSWORD), "{told}");
    Ok(())
}
