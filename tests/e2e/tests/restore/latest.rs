//! Tests of `latest` where runs for changes made restore points of some components: it is the newest with the
//! needed data, and a cluster comes back from several of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::id::RestorePointId;
use e2e::butler::Shared;
use e2e::run::{Output, tells};
use e2e::site::ButlerSite;
use serde_json::{Value, json};

use super::in_place::newest;

const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";

async fn snapshot(site: &ButlerSite, components: &str) -> Result<String> {
    let snapshot = site.backupd("snapshot").args(["--component", components]);
    snapshot.ended_with(0).await?;
    newest(site).await
}

async fn team(site: &ButlerSite, name: &str) -> Result<()> {
    let team = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": name }, "spec": { "displayName": name, "access": {} },
    });
    site.shared
        .butler
        .kube_apiserver
        .create(TEAMS, &team)
        .await?;
    Ok(())
}

async fn ran(site: &ButlerSite, args: &[&str]) -> Result<Output> {
    let (command, args) = args.split_first().context("no command")?;
    site.restore_cli(command).args(args).output().await
}

/// Checks the line about restore points that were passed over: there is one, and it names all of `words`.
fn passed(output: &Output, words: &[&str]) {
    let lines = output.stderr.lines().filter(|l| l.contains("passed over"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{}", output.stderr);
    for word in words {
        assert!(lines.iter().all(|l| l.contains(word)), "{word}: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_newest_that_has_what_is_needed() -> Result<()> {
    let mut site = ButlerSite::saved_on(Shared::own().await?, "latest").await?;
    let whole = newest(&site).await?;
    // As in the default schedule: etcd alone, objects when they change.
    let etcd = snapshot(&site, "etcd").await?;
    team(&site, "later").await?;
    let resources = snapshot(&site, "resources").await?;
    let sealing = snapshot(&site, "sealed-secrets").await?;

    let fetch = ["fetch", "latest", "--component", "etcd", "--to", "etcd.db"];
    let fetched = ran(&site, &[&fetch[..], &["--output", "json"]].concat()).await?;
    passed(
        &fetched,
        &[&etcd, &sealing, "2 newer ones", "sealed-secrets"],
    );
    assert_eq!(fetched.ended_with(0)?.json()?["restorePoint"], json!(etcd));

    let get = ["resources", "get", "team", "later", "--output", "json"];
    let got = ran(&site, &get).await?;
    passed(&got, &[&resources, &sealing]);
    assert_eq!(got.ended_with(0)?.json()?["metadata"]["name"], "later");
    let got = ran(
        &site,
        &["resources", "get", "crd", "teams.butler.butlerlabs.dev"],
    )
    .await?;
    passed(&got.ended_with(0)?, &[&whole, &sealing]);

    let verify = ran(&site, &["verify-tenants", "latest", "--output", "json"]).await?;
    passed(&verify, &[&resources]);
    let verified = verify.ended_with(0)?.json()?;
    assert_eq!(verified["restorePoint"], json!(resources));

    let runbook = ran(&site, &["runbook", "latest", "--mode", "in-place"]).await?;
    passed(&runbook, &[&etcd]);
    assert!(runbook.ended_with(0)?.stdout.contains(&etcd));
    let runbook = ran(&site, &["runbook", "latest", "--mode", "rebuild"]).await?;
    passed(&runbook, &[&whole, "3 newer ones"]);
    assert!(runbook.ended_with(0)?.stdout.contains(&whole));

    let plan = [
        "plan",
        "latest",
        "--only",
        "crds,resources",
        "--output",
        "json",
    ];
    let planned = ran(&site, &plan).await?;
    passed(&planned, &[&whole]);
    let planned = planned.ended_with(0)?.json()?;
    assert_eq!(planned["plan"]["restorePoint"]["id"], json!(whole));

    back(&mut site, &etcd, &resources, &whole).await
}

/// Puts restore point `like` again, as if it was made at `id`'s time plus `milliseconds`: without encryption
/// and without a signature, as by somebody who may write to the bucket.
fn plant(site: &ButlerSite, like: &str, id: &str, milliseconds: i64) -> Result<()> {
    // The S3 server keeps objects as files.
    let folder = site.objects();
    let (time, digits) = like.split_once('-').context("no id")?;
    let is = |name: &str| name.starts_with(&format!("{time}-{digits}"));
    let files = std::fs::read_dir(folder.join("manifests"))?;
    let mut files = files.filter_map(|file| Some(file.ok()?.path()));
    let file = files.find(|file| file.file_name().is_some_and(|n| is(&n.to_string_lossy())));
    let mut manifest: Value =
        serde_json::from_slice(&std::fs::read(file.context("no manifest")?)?)?;
    manifest["encryption"] = json!({ "mode": "none" });
    for component in manifest["components"]
        .as_array_mut()
        .context("no components")?
    {
        let component = component.as_object_mut().context("no component")?;
        component.remove("recipeEpoch");
        for pack in component["packs"].as_array_mut().context("no packs")? {
            pack.as_object_mut().context("no pack")?.remove("epoch");
        }
    }
    let began = id.parse::<RestorePointId>()?.began().context("no time")?;
    let began = began + jiff::SignedDuration::from_millis(milliseconds);
    manifest["began"] = json!(began);
    let bytes = manifest.to_string();
    let key = layout::manifest(began, Digest::of(bytes.as_bytes()));
    std::fs::write(folder.join(key.as_str()), bytes)?;
    Ok(())
}

/// Restores etcd from one restore point, and later changes from the other.
async fn back(site: &mut ButlerSite, etcd: &str, resources: &str, whole: &str) -> Result<()> {
    // They would be the base, the source of the objects, and the snapshot.
    plant(site, whole, etcd, -1)?;
    plant(site, whole, &newest(site).await?, 1)?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let plan = site
        .restore_cli("plan")
        .args(["latest", "--output", "json"]);
    let plan = plan.ended_with(0).await?;
    let told = plan
        .stderr
        .matches("not signed by a key of --trust")
        .count();
    assert_eq!(told, 1, "{}", plan.stderr);
    let plan = plan.json()?;
    let plan = &plan["plan"];
    assert_eq!(plan["restorePoint"]["id"], json!(etcd), "{plan:#}");
    assert_eq!(
        plan["origin"]["restorePoint"]["id"],
        json!(resources),
        "{plan:#}"
    );
    assert_eq!(plan["base"]["id"], json!(whole), "{plan:#}");
    let made = |o: &&Value| o["outcome"] == "created";
    let objects = plan["objects"].as_array().context("no objects")?;
    let made: Vec<&Value> = objects.iter().filter(made).collect();
    assert_eq!(made.len(), 1, "{made:#?}");

    let running = site.restore(&kubeconfig).args(["--settle", "1"]).start()?;
    let ran = site.brought_back(running).await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    assert_eq!(ran["objects"]["created"], 1, "{ran:#}");
    assert_eq!(ran["objects"].get("left"), None, "{ran:#}");
    assert_eq!(ran["tenants"]["connected"], 2, "{ran:#}");
    let server = &site.shared.butler.kube_apiserver;
    server.read(&format!("{TEAMS}/later")).await?;
    alone(site, etcd).await
}

/// Checks that with nothing newer than etcd's snapshot nothing is brought forward.
async fn alone(site: &mut ButlerSite, before: &str) -> Result<()> {
    let etcd = snapshot(site, "etcd").await?;
    assert!(etcd.as_str() > before);
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let plan = site
        .restore_cli("plan")
        .args(["latest", "--output", "json"]);
    let plan = plan.ended_with(0).await?;
    tells(&plan, &["they come back as etcd has them"]);
    let plan = plan.json()?;
    assert_eq!(plan["plan"]["steps"], json!(["etcd", "verify"]), "{plan:#}");
    let kubeconfig = site.shared.butler.kubeconfig();
    let running = site.restore(&kubeconfig).start()?;
    let ran = site.brought_back(running).await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    assert_eq!(ran["tenants"]["connected"], 2, "{ran:#}");
    let server = &site.shared.butler.kube_apiserver;
    server.read(&format!("{TEAMS}/later")).await?;
    unasked(site).await
}

/// Checks that without a kubeconfig etcd is restored alone, without waiting for an API.
async fn unasked(site: &mut ButlerSite) -> Result<()> {
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let config = site.folder.join("butler.yaml");
    let text = std::fs::read_to_string(&config)?;
    let unconfigured = text.lines().filter(|line| !line.contains("kubeconfig"));
    let unconfigured: Vec<&str> = unconfigured.collect();
    std::fs::write(&config, unconfigured.join("\n"))?;
    let plan = site.restore_cli("plan").args(["latest", "--only", "etcd"]);
    let plan = plan.ended_with(0).await?;
    let told = "the Kubernetes API is not asked whether it is back";
    assert!(
        plan.stdout.replace('\n', " ").contains(told),
        "{}",
        plan.stdout
    );
    let restore = site
        .restore_cli("restore")
        .args(["--plan", "restore-plan.json"]);
    let restore = restore.args(["--yes", "--target", "butler-mgmt", "--output", "json"]);
    // The wait for an API has ten minutes; this ends long before.
    let ended = tokio::time::timeout(Duration::from_secs(300), restore.output()).await??;
    let ran = ended.ended_with(0)?.json()?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.resume().await
}
