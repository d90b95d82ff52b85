//! Tests that missing objects are a blocker for every source, and that each step is checked separately.

use anyhow::{Context as _, Result, ensure};
use e2e::fresh::Fresh;
use e2e::site::ButlerSite;
use serde_json::Value;

use super::sources::{objects, tarball};

const DATASTORES: &str = "datastores.steward.butlerlabs.dev";

/// Returns the blockers of a plan; each names what allows or removes it.
fn blockers(plan: &Value) -> Result<Vec<String>> {
    let findings = plan["plan"]["findings"].as_array().context("no findings")?;
    let errors = findings.iter().filter(|f| f["severity"] == "error");
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    for error in &errors {
        ensure!(error.contains("`--"), "no way on: {error}");
    }
    Ok(errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lacking_is_a_blocker_and_only_for_the_step_that_needs_it() -> Result<()> {
    let site = ButlerSite::saved("lacking").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let rebuild = ["--mode", "rebuild"];
    let without = [&rebuild[..], &["--exclude-resources", DATASTORES]].concat();
    let plan = site
        .plan(&kubeconfig, &without)
        .await?
        .ended_with(6)?
        .json()?;
    let told = blockers(&plan)?;
    ensure!(
        told.iter().any(|b| b.contains("--allow missing-datastore")),
        "{told:#?}"
    );
    // Definitions need no DataStore, and write nothing else.
    let only = [&without[..], &["--only", "crds"]].concat();
    let plan = site.plan(&kubeconfig, &only).await?.ended_with(0)?.json()?;
    let kinds = plan["plan"]["kinds"].as_array().context("no kinds")?;
    assert_eq!(kinds.len(), 1, "{kinds:#?}");
    // Objects need their definitions.
    let only = [&rebuild[..], &["--only", "resources"]].concat();
    let plan = site.plan(&kubeconfig, &only).await?.ended_with(6)?.json()?;
    let told = blockers(&plan)?;
    let of_teams =
        |b: &&String| b.contains("teams.butler") && b.contains("--allow missing-definition");
    assert_eq!(told.iter().filter(of_teams).count(), 1, "{told:#?}");

    // Without Secrets, from the archive and from elsewhere.
    let mut objects = objects(&site).await?;
    objects.retain(|path, _| !path.starts_with("resources/secrets/"));
    let file = site.folder.join("bare.tar.gz");
    tarball(&file, "1.1.0\n", &objects)?;
    for more in [
        ["--exclude-resources", "secrets"],
        ["--from", "velero:bare.tar.gz"],
    ] {
        let plan = [&rebuild[..], &more[..]].concat();
        let plan = site.plan(&kubeconfig, &plan).await?.ended_with(6)?.json()?;
        let told = blockers(&plan)?;
        for allow in ["missing-sealing-key", "missing-secret"] {
            let allow = format!("--allow {allow}");
            ensure!(
                told.iter().any(|b| b.contains(&allow)),
                "{allow}: {told:#?}"
            );
        }
    }
    Ok(())
}
