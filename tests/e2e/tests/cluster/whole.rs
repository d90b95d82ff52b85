//! Tests that everything named in the operations guide is in the restore point, and is verified.

use anyhow::{Context as _, Result};
use e2e::etcdutl;
use serde_json::Value;

use super::{manifest, site};

#[tokio::test(flavor = "multi_thread")]
async fn a_butler_cluster_is_taken_whole() -> Result<()> {
    let site = site("whole").await?;
    let taken = site.take(&[]).await?;
    let components = taken["components"].as_array().context("no components")?;
    let names: Vec<_> = components
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "etcd",
            "machine-config",
            "crds",
            "sealed-secrets",
            "resources",
            "kubeconfigs",
            "secrets",
            "datastore/default",
        ]
    );
    assert_eq!(taken["missing"], serde_json::json!([]));
    let findings = taken["findings"].as_array().context("no findings")?;
    let told = |object: &str, word: &str| {
        findings.iter().any(|f| {
            let cause = f["cause"].as_str().unwrap_or_default();
            f["object"] == object && cause.contains(word)
        })
    };
    assert!(findings.iter().all(|f| f["severity"] != "error"));
    // A driver other than etcd is named, never passed over.
    assert!(told(
        "datastore/postgres",
        "not covered: it keeps its data in PostgreSQL"
    ));
    assert!(told(
        "sealedsecrets.bitnami.com",
        "only a key marked as compromised"
    ));
    // The key of the encryption at rest is in the machine configuration.
    assert!(!told("key of the encryption at rest", "Secrets"));

    let manifest = manifest(&site)?;
    let kubernetes = &manifest["kubernetes"];
    let tenants = kubernetes["tenants"].as_array().context("no tenants")?;
    let names: Vec<_> = tenants.iter().filter_map(|t| t["name"].as_str()).collect();
    assert_eq!(names, ["alpha", "beta"]);
    for tenant in tenants {
        assert_eq!(tenant["answer"]["ready"], true, "{tenant:#}");
        assert_eq!(tenant["answer"]["nodesReady"], 2, "{tenant:#}");
        assert!(tenant["kubeconfig"]["caSha256"].is_string(), "{tenant:#}");
        assert_eq!(tenant["controlPlane"]["datastore"], "default", "{tenant:#}");
    }
    let kept = &kubernetes["kubeconfigs"][0];
    assert_eq!(kept["origin"], "kubeconfig", "{kept:#}");
    assert!(kept["server"].is_string(), "{kept:#}");
    let sealed = &kubernetes["sealedSecrets"];
    assert!(sealed["sealedSecrets"].as_u64() >= Some(3), "{sealed:#}");
    assert_eq!(sealed["opened"], sealed["sealedSecrets"], "{sealed:#}");
    assert_eq!(
        sealed["keys"].as_array().map(Vec::len),
        Some(3),
        "{sealed:#}"
    );

    site.restore_cli("verify")
        .arg("latest")
        .ended_with(0)
        .await?;
    site.restore_cli("audit").ended_with(0).await?;
    let tenants = site.restore_cli("verify-tenants").arg("latest");
    let tenants = tenants.args(["--output", "json"]).json().await?;
    assert_eq!(tenants["connected"], 2, "{tenants:#}");
    assert_eq!(tenants["findings"], serde_json::json!([]), "{tenants:#}");

    // The tenants' etcd comes back as etcd itself has it, with users and roles.
    let store = etcdutl::status(&site.fetched("datastore/default").await?).await?;
    assert!(store.revision > 0 && store.total_key > 0, "{store:?}");
    let facts = |name: &str| -> Option<&Value> {
        let components = manifest["components"].as_array()?;
        components.iter().find(|c| c["name"] == name)
    };
    let facts = facts("datastore/default").context("no datastore")?;
    assert_eq!(facts["etcd"]["authEnabled"], true, "{facts:#}");
    for tenant in site.shared.butler.tenants() {
        assert!(
            facts["etcd"]["prefixes"][&tenant.schema].as_u64() > Some(0),
            "{facts:#}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_kubeconfig_is_handed_back_and_works() -> Result<()> {
    let site = site("handed-back").await?;
    site.take(&[]).await?;
    let fetch = site.restore_cli("fetch").args(["latest", "--component"]);
    let fetch = fetch.args([
        "kubeconfigs",
        "--tenant",
        "alpha",
        "--to",
        "alpha.kubeconfig",
    ]);
    fetch.ended_with(0).await?;
    let file = site
        .fetched("kubeconfigs")
        .await?
        .with_file_name("alpha.kubeconfig");
    let nodes = site.kubectl(&file).await?;
    let nodes = nodes.args(["get", "nodes", "-o", "json"]);
    let nodes = nodes.json().await?;
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(2));
    Ok(())
}
