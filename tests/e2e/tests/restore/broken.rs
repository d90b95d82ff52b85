//! Tests of a pack that is missing or changed: the loss is named, and the restore point that still has the
//! data.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use e2e::fresh::Fresh;
use e2e::run::tells;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

const CLUSTER: &str = "/apis/butler.butlerlabs.dev/v1alpha1/namespaces/butler-tenants/\
                       tenantclusters/alpha";

/// Returns the packs of the site's prefix, as the S3 server keeps them.
fn packs(site: &ButlerSite) -> Result<BTreeSet<PathBuf>> {
    let butler = &site.shared.butler;
    let folder = butler
        .s3
        .objects()
        .join(&butler.bucket)
        .join("broken/packs");
    let files = std::fs::read_dir(folder)?.map(|file| Ok(file?.path()));
    files.collect()
}

/// Returns the ids of all restore points, newest first.
async fn points(site: &ButlerSite) -> Result<Vec<String>> {
    let list = site.restore_cli("list").args(["--output", "json"]);
    let list = list.json().await?;
    let points = list["restorePoints"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ids = points.iter().filter_map(|point| point["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// Takes another restore point, in which one tenant differs; returns the packs that it alone has.
async fn changed(site: &ButlerSite, replicas: u32) -> Result<BTreeSet<PathBuf>> {
    let before = packs(site)?;
    let server = &site.shared.butler.kube_apiserver;
    let mut cluster = server.read(CLUSTER).await?;
    cluster["spec"]["workers"]["replicas"] = json!(replicas);
    server.replace(CLUSTER, &cluster).await?;
    site.backupd("snapshot").ended_with(0).await?;
    let new: BTreeSet<PathBuf> = packs(site)?.difference(&before).cloned().collect();
    anyhow::ensure!(!new.is_empty(), "it has no pack of its own");
    Ok(new)
}

/// Returns a verification's finding on a component: cause and remedy.
fn said(verified: &Value, component: &str) -> Result<(String, String)> {
    let findings = verified["findings"].as_array();
    let found = findings
        .into_iter()
        .flatten()
        .find(|f| f["object"] == component);
    let found = found.with_context(|| format!("nothing of {component}: {verified:#}"))?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok((text("cause"), text("remedy")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_gone_or_changed_is_told_by_what_it_held_and_who_has_it() -> Result<()> {
    let site = ButlerSite::saved_on(e2e::butler::Shared::own().await?, "broken").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let first = points(&site).await?.remove(0);
    let rebuild = ["--mode", "rebuild"];

    // Missing: the packs of the second one, which holds the tenant's present state.
    for pack in changed(&site, 3).await? {
        std::fs::remove_file(pack)?;
    }
    let second = points(&site).await?.remove(0);
    let named = "tenantclusters.butler.butlerlabs.dev butler-tenants/alpha";
    let instead = format!("is {first}: `restore-cli plan {first}`");
    let broken = site.plan(&kubeconfig, &rebuild).await?.ended_with(4)?;
    tells(
        &broken,
        &[
            "of component `resources` is lost: ",
            named,
            "not in the store",
            &instead,
        ],
    );
    let verify = site
        .restore_cli("verify")
        .args([&second, "--output", "json"]);
    let verified = verify.ended_with(4).await?.json()?;
    let (cause, remedy) = said(&verified, "etcd")?;
    assert!(
        cause.contains(" bytes, in ") && cause.contains('-'),
        "{cause}"
    );
    assert!(
        remedy.contains(&format!("`restore-cli verify {first}`")),
        "{remedy}"
    );
    let (cause, _) = said(&verified, "resources")?;
    assert!(cause.contains("1 of tenantclusters"), "{cause}");
    let audit = site.restore_cli("audit").args(["--output", "json"]);
    let audit = audit.ended_with(4).await?.json()?;
    let (cause, _) = said(&audit, "restore points")?;
    assert!(
        cause.contains(&format!("the newest that does not is {first}")),
        "{cause}"
    );

    // Changed: the packs of the third one. The second does not help.
    for pack in changed(&site, 4).await? {
        let mut bytes = std::fs::read(&pack)?;
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).context("an empty pack")? ^= 1;
        std::fs::write(&pack, bytes)?;
    }
    let broken = site.plan(&kubeconfig, &rebuild).await?.ended_with(4)?;
    tells(&broken, &["changed or damaged", named, &instead]);
    // The offered restore point is good.
    let plan = site.restore_cli("plan").arg(&first).args(rebuild);
    let plan = plan
        .args(["--to", "first.json"])
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    plan.ended_with(0).await?;
    Ok(())
}
