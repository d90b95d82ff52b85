//! Tests that a plan looks for the tenants' data in their DataStore before Steward does, which would report a
//! tenant Ready without any data.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use e2e::butler::{Butler, Shared};
use e2e::fresh::Fresh;
use e2e::run::tells;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

const PLANES: &str = "/apis/steward.butlerlabs.dev/v1alpha1";

/// Returns the scenario, to break it.
fn butler(site: &mut ButlerSite) -> Result<&mut Butler> {
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    Ok(&mut shared.butler)
}

/// Returns a plan's findings on `object`: each severity and cause.
fn said(planned: &Value, object: &str) -> Vec<(String, String)> {
    let findings = planned["plan"]["findings"].as_array();
    let of = findings.into_iter().flatten().filter(|f| {
        let about = f["object"].as_str().unwrap_or_default();
        about.contains(object)
    });
    let text = |f: &Value, field: &str| f[field].as_str().unwrap_or_default().to_owned();
    of.map(|f| (text(f, "severity"), text(f, "cause")))
        .collect()
}

async fn planned(site: &ButlerSite, kubeconfig: &Path, code: i32, more: &[&str]) -> Result<Value> {
    let args = [&["--mode", "rebuild"], more].concat();
    site.plan(kubeconfig, &args).await?.ended_with(code)?.json()
}

/// Returns the output of `verify-tenants`, for scripts and for people.
async fn verified(site: &ButlerSite) -> Result<(Value, String)> {
    let verify = || site.restore_cli("verify-tenants").arg("latest");
    let told = verify().args(["--output", "json"]).output().await?;
    let page = verify().ended_with(4).await?;
    Ok((told.ended_with(4)?.json()?, page.stdout))
}

/// Returns the result of one check of a tenant, and its step.
fn result(told: &Value, tenant: usize, check: &str) -> (String, Value) {
    let checks = told["tenants"][tenant]["checks"].as_array();
    let found = checks.into_iter().flatten().find(|c| c["check"] == check);
    let found = found.cloned().unwrap_or_default();
    let word = found["result"].as_str().unwrap_or_default();
    (word.to_owned(), found["step"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_its_data_is_refused_before_steward_calls_it_ready() -> Result<()> {
    let mut site = ButlerSite::saved_on(Shared::own().await?, "data").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let schemas: Vec<String> = site
        .shared
        .butler
        .tenants()
        .iter()
        .map(|t| t.schema.clone())
        .collect();
    let [alpha, beta] = [0, 1].map(|n| schemas.get(n).cloned().unwrap_or_default());

    // Everything is there, and in use by clients that the fresh cluster does not know.
    let plan = planned(&site, &kubeconfig, 0, &["--to", "whole.json"]).await?;
    let store = said(&plan, "datastores.steward.butlerlabs.dev default");
    assert_eq!(store.len(), 1, "{store:#?}");
    let (severity, cause) = store.first().context("nothing")?;
    assert_eq!(severity, "warning");
    assert!(cause.contains("are using it now"), "{cause}");
    assert!(
        cause.contains("/alpha") && cause.contains("/beta"),
        "{cause}"
    );
    let postgres = said(&plan, "datastores.steward.butlerlabs.dev postgres");
    let (_, cause) = postgres.first().context("nothing of postgres")?;
    assert!(
        cause.contains("not checked") && cause.contains("PostgreSQL"),
        "{cause}"
    );
    assert_eq!(
        said(&plan, "tenantcontrolplanes.steward.butlerlabs.dev"),
        []
    );

    // Its data is removed.
    butler(&mut site)?
        .tenant("alpha")?
        .kube_apiserver
        .stop()
        .await?;
    let etcd = site.shared.butler.datastore.client().await?;
    let removed = etcd.remove(&format!("/{alpha}/")).await?;
    assert!(removed > 50, "{removed}");
    let plan = planned(&site, &kubeconfig, 6, &[]).await?;
    let told = said(&plan, "tenantcontrolplanes.steward.butlerlabs.dev");
    let [(severity, cause)] = told.as_slice() else {
        anyhow::bail!("{told:#?}");
    };
    assert_eq!(severity, "error");
    assert!(
        cause.contains("is empty, which had") && cause.contains(&alpha),
        "{cause}"
    );
    // The earlier plan is not valid any more, and the cluster itself has the same problem.
    let refused = site
        .restore_cli("restore")
        .args(["--plan", "whole.json", "--yes"]);
    let refused = refused
        .args(["--target", "butler-mgmt", "--kubeconfig"])
        .arg(&kubeconfig);
    let refused = refused.ended_with(6).await?;
    tells(&refused, &["is empty, which had"]);
    let own = site.shared.butler.kubeconfig();
    let plan = site
        .plan(&own, &["--only", "resources"])
        .await?
        .ended_with(6)?
        .json()?;
    assert_eq!(
        said(&plan, "tenantcontrolplanes.steward.butlerlabs.dev").len(),
        1
    );
    planned(&site, &kubeconfig, 0, &["--allow", "tenant-data"]).await?;

    // Another tenant's data is there instead.
    let path = |schema: &str| format!("/{schema}/namespaces/kube-system");
    let foreign = etcd
        .get(&path(&beta))
        .await?
        .context("beta has no kube-system")?;
    etcd.put(&path(&alpha), foreign).await?;
    let plan = planned(&site, &kubeconfig, 6, &[]).await?;
    let told = said(&plan, "tenantcontrolplanes.steward.butlerlabs.dev");
    let (_, cause) = told.first().context("nothing")?;
    assert!(cause.contains("the data of another cluster"), "{cause}");

    // A check of the cluster itself finds the same, each problem separately.
    let server = &site.shared.butler.kube_apiserver;
    let [one, two] = [0, 1].map(|n| {
        site.shared
            .butler
            .tenants()
            .get(n)
            .map(|t| t.tenant_namespace.clone())
    });
    let (one, two) = one.zip(two).context("not two tenants")?;
    let path = format!("{PLANES}/namespaces/{one}/tenantcontrolplanes/alpha");
    let mut plane = server.read(&path).await?;
    plane["metadata"]["annotations"]["steward.butlerlabs.dev/paused"] = json!("butler-restore");
    server.replace(&path, &plane).await?;
    let path = format!("/apis/cluster.x-k8s.io/v1beta1/namespaces/{two}/clusters/beta");
    let mut cluster = server.read(&path).await?;
    cluster["status"]["conditions"] = json!([{
        "type": "Ready", "status": "False", "reason": "Waiting", "message": "for Machines",
        "lastTransitionTime": "2026-11-24T03:00:00Z",
    }]);
    server.replace(&format!("{path}/status"), &cluster).await?;
    let told = verified(&site).await?;
    assert_eq!(told.0["connected"], 1, "{:#}", told.0);
    assert_eq!(
        result(&told.0, 0, "data"),
        ("failed".to_owned(), json!("datastore"))
    );
    assert_eq!(
        result(&told.0, 0, "datastore"),
        ("ok".to_owned(), Value::Null)
    );
    assert_eq!(result(&told.0, 0, "readyz").0, "failed");
    assert_eq!(result(&told.0, 0, "version").0, "not checked");
    assert_eq!(result(&told.0, 0, "control-plane").0, "told");
    assert_eq!(
        result(&told.0, 1, "cluster"),
        ("differs".to_owned(), json!("resources"))
    );
    for fine in [
        "kubeconfig",
        "authority",
        "certificate",
        "endpoint",
        "readyz",
        "nodes",
        "data",
    ] {
        assert_eq!(result(&told.0, 1, fine).0, "ok", "{fine}: {:#}", told.0);
    }
    assert!(
        told.0["tenants"][1]["keys"].as_u64() > Some(50),
        "{:#}",
        told.0
    );
    assert!(told.1.contains("the data of another cluster"), "{}", told.1);
    assert!(
        told.1.contains("it is paused (butler-restore)"),
        "{}",
        told.1
    );

    // Nothing answers: that is reported, and nothing is called good or bad.
    butler(&mut site)?.datastore.stop().await?;
    let plan = planned(&site, &kubeconfig, 0, &[]).await?;
    let store = said(&plan, "datastores.steward.butlerlabs.dev default");
    let (severity, cause) = store.first().context("nothing")?;
    assert_eq!(severity, "warning");
    assert!(
        cause.contains("was not checked") && cause.contains("not reachable"),
        "{cause}"
    );
    let told = verified(&site).await?;
    for tenant in [0, 1] {
        assert_eq!(
            result(&told.0, tenant, "data").0,
            "not checked",
            "{:#}",
            told.0
        );
    }
    assert!(
        told.1.contains("Not checked") && told.1.contains("not reachable"),
        "{}",
        told.1
    );
    Ok(())
}
