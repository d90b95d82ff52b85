//! Tests that the archive holds the same objects as `kubectl get`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use e2e::run::Command;
use e2e::site::ButlerSite;
use serde_json::Value;

use super::{manifest, site};

/// Returns the objects of a tar, by their paths.
async fn archived(site: &ButlerSite, component: &str) -> Result<BTreeMap<String, Value>> {
    let file = site.fetched(component).await?;
    let mut archive = tar::Archive::new(std::fs::File::open(&file)?);
    let mut objects = BTreeMap::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned())?;
        if path.starts_with("resources/") {
            let object = serde_json::from_reader(entry)?;
            assert!(objects.insert(path, object).is_none(), "a path twice");
        }
    }
    Ok(objects)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_as_kubectl_shows_it() -> Result<()> {
    let site = site("same").await?;
    site.take(&[]).await?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let manifest = site.shown().await?;
    let mut compared = 0;
    for component in ["crds", "resources"] {
        let mut objects = archived(&site, component).await?;
        let components = manifest["components"].as_array().context("no components")?;
        let facts = components.iter().find(|c| c["name"] == component);
        let kinds = facts.context("not taken")?["archive"]["kinds"].as_array();
        for kind in kinds.context("no kinds")? {
            let resource = kind["resource"].as_str().context("no resource")?;
            let get = site.kubectl(&kubeconfig).await?;
            let get = get.args(["get", resource, "-A", "-o", "json"]);
            let list = get.arg("--show-managed-fields").json().await?;
            let items = list["items"].as_array().context("no items")?;
            assert_eq!(
                kind["objects"].as_u64(),
                u64::try_from(items.len()).ok(),
                "{kind:#}"
            );
            for item in items {
                let name = item["metadata"]["name"].as_str().context("no name")?;
                let path = match item["metadata"]["namespace"].as_str() {
                    Some(ns) => format!("resources/{resource}/namespaces/{ns}/{name}.json"),
                    None => format!("resources/{resource}/cluster/{name}.json"),
                };
                let ours = objects
                    .remove(&path)
                    .with_context(|| format!("no {path}"))?;
                assert_eq!(&ours, item, "{path}");
                compared += 1;
            }
        }
        assert!(
            objects.is_empty(),
            "not in the cluster: {:?}",
            objects.keys()
        );
    }
    assert!(compared > 100, "{compared}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_those_in_scope_and_no_others() -> Result<()> {
    let site = site("scope").await?;
    site.take(&[]).await?;
    let secrets = archived(&site, "secrets").await?;
    let has = |path: &str| secrets.contains_key(&format!("resources/{path}.json"));
    assert!(has(
        "secrets/namespaces/infrastructure-credentials/nutanix-credentials"
    ));
    assert!(!has(
        "secrets/namespaces/infrastructure-credentials/unrelated"
    ));
    // Skipped objects are counted by namespace.
    let manifest = manifest(&site)?;
    let components = manifest["components"].as_array().context("no components")?;
    let taken = components.iter().find(|c| c["name"] == "secrets");
    let kinds = taken.context("not taken")?["archive"]["kinds"].as_array();
    let kind = kinds
        .into_iter()
        .flatten()
        .find(|k| k["resource"] == "secrets");
    let skipped = kind.context("no Secrets")?["skipped"].as_array();
    let left: BTreeMap<&str, u64> = skipped
        .into_iter()
        .flatten()
        .filter_map(|s| s["namespaces"].as_object())
        .flatten()
        .filter_map(|(namespace, count)| Some((namespace.as_str(), count.as_u64()?)))
        .collect();
    // Nothing here belongs to Flux, so nothing refers to its key.
    let expected = [("flux-system", 1), ("infrastructure-credentials", 1)];
    assert_eq!(left, expected.into());
    for path in secrets.keys() {
        for never in [
            "kube-root-ca.crt",
            "bootstrap-token-",
            "butler-console-token",
        ] {
            assert!(!path.contains(never), "{path}");
        }
    }
    let keys = archived(&site, "sealed-secrets").await?;
    assert_eq!(keys.len(), 3, "{:?}", keys.keys());
    let kubeconfigs = archived(&site, "kubeconfigs").await?;
    for tenant in site.shared.butler.tenants() {
        let (namespace, name) = (&tenant.tenant_namespace, &tenant.name);
        let path = format!("resources/secrets/namespaces/{namespace}/{name}-admin-kubeconfig.json");
        assert!(kubeconfigs.contains_key(&path), "{path}");
        // Secrets that cannot be made again without breaking the tenant.
        for kept in [
            "ca",
            "sa-certificate",
            "front-proxy-ca-certificate",
            "datastore-config",
        ] {
            assert!(
                has(&format!("secrets/namespaces/{namespace}/{name}-{kept}")),
                "{kept}"
            );
        }
    }
    // Velero's tools find the objects too.
    let file = site.fetched("resources").await?;
    let list = Command::new("tar")
        .arg("-tf")
        .arg(&file)
        .ended_with(0)
        .await?
        .stdout;
    assert!(list.lines().any(|line| line
        == "resources/tenantclusters.butler.butlerlabs.dev/namespaces/butler-tenants/alpha.json"));
    Ok(())
}
