//! Tests of the rebuild: an empty second cluster, all steps, with a real garbage collector at work.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::fresh::Fresh;
use e2e::site::{ButlerSite, journal_in};
use serde_json::Value;

use super::compare::{nothing_to_do, same};

/// Returns the objects that a plan leaves out.
pub(crate) fn skipped(plan: &Value) -> BTreeSet<String> {
    let objects = plan["plan"]["objects"].as_array();
    let skipped = objects
        .into_iter()
        .flatten()
        .filter(|o| o["outcome"] == "skipped");
    skipped
        .filter_map(|o| Some(o["object"].as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_cluster_becomes_the_one_that_was_lost() -> Result<()> {
    let site = ButlerSite::saved("rebuild").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let planned = site
        .plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(0)?
        .json()?;
    let skipped = skipped(&planned);
    let crds = site
        .listed(&kubeconfig, "customresourcedefinitions")
        .await?;
    assert!(crds.is_empty(), "a plan changes nothing");

    let ran = site.restored(&kubeconfig).await?;
    assert_eq!(ran["objects"].get("failed"), None, "{ran:#}");
    let verified = &ran["tenants"];
    assert_eq!(verified["connected"], 2, "{verified:#}");
    assert_eq!(verified["findings"], serde_json::json!([]), "{verified:#}");

    let compared = same(&site, &kubeconfig, &skipped).await?;
    assert!(compared.objects > 100, "{compared:?}");
    println!("of {compared:?}");
    compared.has_status_and_owners();

    // A second run of the same has nothing to do.
    let status = site.restore_cli("status").args(["--output", "json"]);
    let status = status.json().await?;
    assert_eq!(status["ended"], "complete", "{status:#}");
    assert_eq!(status["stillStopped"], serde_json::json!([]), "{status:#}");
    let again = site
        .plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(0)?
        .json()?;
    nothing_to_do(&again)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_goes_on_and_does_nothing_twice() -> Result<()> {
    let site = ButlerSite::saved("killed").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let planned = site
        .plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(0)?
        .json()?;
    let skipped = skipped(&planned);
    let wait = ["--settle", "0"];
    // Before its first line there is nothing to resume: the journal does not have its name yet.
    let first = site.restore(&kubeconfig).args(wait).start()?;
    let folder = site.folder.join("butler-restores");
    e2e::wait::until("the journal", Duration::from_secs(60), async || {
        journal_in(&folder)?.map(drop).context("not yet")
    })
    .await?;
    first.kill().await?;
    for pause in (0..30).map(|n| 30 + n * 45) {
        let resume = site
            .restore_cli("resume")
            .args(["--output", "json"])
            .args(wait);
        let running = resume.arg("--kubeconfig").arg(&kubeconfig).start()?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        running.kill().await?;
    }
    let resume = site
        .restore_cli("resume")
        .args(["--output", "json"])
        .args(wait);
    resume
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .ended_with(0)
        .await?;
    same(&site, &kubeconfig, &skipped).await?;
    // Each object was made once: nothing was written again after its creation, except for owners that came
    // later, status, and the end of the pause.
    for cluster in site
        .listed(&kubeconfig, "tenantclusters.butler.butlerlabs.dev")
        .await?
    {
        assert_eq!(cluster["metadata"]["generation"], 1, "{cluster:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_dies_in_the_middle_costs_nothing() -> Result<()> {
    let site = ButlerSite::saved("dying").await?;
    let mut fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let planned = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    let skipped = skipped(&planned.ended_with(0)?.json()?);
    let running = site.restore(&kubeconfig).args(["--settle", "1"]).start()?;
    // When it has begun to write objects.
    e2e::wait::until("the first objects", Duration::from_secs(60), async || {
        let (status, _) = fresh
            .kube_apiserver
            .get("/api/v1/namespaces/butler-system")
            .await?;
        anyhow::ensure!(status == 200, "not yet");
        Ok(())
    })
    .await?;
    fresh.kube_apiserver.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    fresh.kube_apiserver.restart().await?;
    let ran = running.ended().await?.ended_with(0)?.json()?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    same(&site, &kubeconfig, &skipped).await?;
    Ok(())
}
