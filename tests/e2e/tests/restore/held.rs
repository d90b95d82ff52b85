//! Tests that a plan is binding: its contents, and what the API server accepts.

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared, TENANTS};
use e2e::site::ButlerSite;
use serde_json::{Value, json};

const CLUSTER: &str =
    "/apis/butler.butlerlabs.dev/v1alpha1/namespaces/butler-tenants/tenantclusters/alpha";

/// Returns a plan's entry for the object at `path`.
fn said<'p>(plan: &'p Value, path: &str) -> Result<&'p Value> {
    let objects = plan["plan"]["objects"].as_array().context("no objects")?;
    let found = objects
        .iter()
        .find(|o| o["object"] == format!("resources/{path}.json"));
    found.with_context(|| format!("{path} is not in the plan: {objects:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_are_planned_and_tried_and_what_differs_is_refused() -> Result<()> {
    let site = ButlerSite::saved_on(Shared::own().await?, "held").await?;
    let server = &site.shared.butler.kube_apiserver;
    let kubeconfig = site.shared.butler.kubeconfig();
    let mut cluster = server.read(CLUSTER).await?;
    cluster["spec"]["workers"]["replicas"] = json!(1);
    server.replace(CLUSTER, &cluster).await?;
    // A Secret that was made immutable since, with another value.
    let secret = format!("/api/v1/namespaces/{SYSTEM}/secrets/image-factory-key");
    let mut changed = server.read(&secret).await?;
    changed["immutable"] = json!(true);
    changed["data"]["another"] = json!("dmFsdWU=");
    server.replace(&secret, &changed).await?;

    let plan = ["--only", "resources"];
    let planned = site.plan(&kubeconfig, &plan).await?.ended_with(0)?.json()?;
    let alpha = format!("tenantclusters.butler.butlerlabs.dev/namespaces/{TENANTS}/alpha");
    let alpha = said(&planned, &alpha)?;
    assert_eq!(alpha["outcome"], "changed", "{alpha:#}");
    assert!(alpha["content"].is_string(), "{alpha:#}");
    assert_eq!(alpha["untried"], Value::Null, "{alpha:#}");
    let secret = format!("secrets/namespaces/{SYSTEM}/image-factory-key");
    let secret = said(&planned, &secret)?;
    assert_eq!(secret["outcome"], "failed", "{secret:#}");
    assert!(
        secret.to_string().contains("cannot be changed in place"),
        "{secret:#}"
    );
    assert!(!secret.to_string().contains("dmFsdWU"), "{secret:#}");

    // The same outcome, but more would be overwritten.
    let mut cluster = server.read(CLUSTER).await?;
    cluster["metadata"]["annotations"] = json!({ "somebody": "since" });
    server.replace(CLUSTER, &cluster).await?;
    let restore = site.restore(&kubeconfig).ended_with(6).await?;
    assert!(
        restore
            .stderr
            .contains("what would be written is not what was planned"),
        "{}",
        restore.stderr
    );
    assert_eq!(
        server.read(CLUSTER).await?["spec"]["workers"]["replicas"],
        1
    );
    Ok(())
}
