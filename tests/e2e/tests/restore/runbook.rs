//! Tests of the runbook: its own commands, cut out of its text, bring a lost cluster back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::butler::Shared;
use e2e::fresh::Fresh;
use e2e::run::{Command, Output};
use e2e::site::ButlerSite;
use e2e::tools::{self, Tool};
use serde_json::{Value, json};

use super::compare::same;
use super::rebuild::skipped;

/// Fence of commands of the restore itself.
const WAY: &str = "sh";
/// Fence of commands to run only when a sentence asks for them.
const ASIDE: &str = "bash";
const PAUSED: &str = "steward.butlerlabs.dev/paused";

/// Returns the blocks of commands of one kind in a text.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<(bool, String)> = None;
    for line in text.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(fence)) => block = Some((fence == kind, String::new())),
            (Some(_), Some("")) => {
                let (_, lines) = block.take().filter(|(is, _)| *is).unwrap_or_default();
                found.extend(Some(lines).filter(|lines| !lines.is_empty()));
            }
            (Some((_, lines)), _) => {
                lines.push_str(line);
                lines.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Returns the command for a typed script, without anything that the lab knows except the variables that the
/// runbook asks for and the store's credentials.
async fn typing(
    site: &ButlerSite,
    kubeconfig: &Path,
    folder: &Path,
    script: &str,
) -> Result<Command> {
    let kubectl = tools::path(Tool::Kubectl).await?;
    let kubectl = kubectl.parent().context("kubectl is in no folder")?;
    let mut path = site.programs.folder().as_os_str().to_owned();
    path.push(":");
    path.push(kubectl);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    Ok(Command::new("bash")
        .args(["-euo", "pipefail", "-x", "-c", script])
        .env("PATH", path)
        .env("HOME", folder)
        .env("KUBECONFIG", kubeconfig)
        .env("BUTLER_IDENTITY", site.folder.join("keys/identity.key"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(site.shared.butler.s3.keys().env())
        .in_folder(folder))
}

async fn typed(
    site: &ButlerSite,
    kubeconfig: &Path,
    folder: &Path,
    script: &str,
) -> Result<Output> {
    let bash = typing(site, kubeconfig, folder, script).await?;
    bash.output().await
}

async fn runbook(site: &ButlerSite, mode: &str) -> Result<String> {
    let runbook = site.restore_cli("runbook").args(["latest", "--mode", mode]);
    Ok(runbook.ended_with(0).await?.stdout)
}

/// Returns the Secrets of a namespace by name: UID and data.
async fn secrets(
    site: &ButlerSite,
    kubeconfig: &Path,
    namespace: &str,
) -> Result<BTreeMap<String, (Value, Value)>> {
    let secrets = site.listed(kubeconfig, "secrets").await?;
    let within = secrets
        .iter()
        .filter(|s| s["metadata"]["namespace"] == namespace);
    let pair = |secret: &Value| {
        let name = secret["metadata"]["name"].as_str()?.to_owned();
        Some((
            name,
            (secret["metadata"]["uid"].clone(), secret["data"].clone()),
        ))
    };
    Ok(within.filter_map(pair).collect())
}

async fn control_plane(
    site: &ButlerSite,
    kubeconfig: &Path,
    namespace: &str,
    name: &str,
) -> Result<Value> {
    let kind = "tenantcontrolplanes.steward.butlerlabs.dev";
    let all = site.listed(kubeconfig, kind).await?;
    let mut found = all.into_iter();
    found
        .find(|o| o["metadata"]["namespace"] == namespace && o["metadata"]["name"] == name)
        .context("no such control plane")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_runbook_rebuild_the_cluster() -> Result<()> {
    let site = ButlerSite::saved("runbook").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let text = runbook(&site, "rebuild").await?;
    for canary in site.shared.butler.canaries() {
        assert!(
            !text.contains(canary.as_str()),
            "a secret is in the runbook"
        );
    }
    let night = site.folder.make("night")?;
    let way = blocks(&text, WAY);
    assert!(way.len() >= 6, "{text}");
    let script = way.concat();

    // On the cluster that is to be replaced it stops before anything is written.
    let old = site.shared.butler.kubeconfig();
    let stopped = typed(&site, &old, &night, &script).await?;
    assert_eq!(stopped.code, Some(1), "{}", stopped.stderr);
    assert!(!night.join("restore-plan.json").exists());

    let ran = typed(&site, &kubeconfig, &night, &script).await?;
    println!("{}\n{}", ran.stderr, ran.stdout);
    let ran = ran.ended_with(0)?;
    assert!(
        ran.stdout.contains("Nothing: it is complete"),
        "{}",
        ran.stdout
    );
    let plan = std::fs::read(night.join("restore-plan.json"))?;
    let plan: Value = serde_json::from_slice(&plan)?;
    let skipped = skipped(&json!({ "plan": plan }));
    let compared = same(&site, &kubeconfig, &skipped).await?;
    assert!(compared.objects > 100, "{compared:?}");

    // The next runbook contains the duration.
    let next = site
        .restore_cli("runbook")
        .args(["latest", "--mode", "rebuild"]);
    let next = next.arg("--journals").arg(night.join("butler-restores"));
    let next = next.ended_with(0).await?.stdout;
    assert!(next.contains("The last such restore was on"), "{next}");

    rescued(&site, &kubeconfig, &night, &text).await
}

/// Checks that a control plane which was deleted while it was paused comes back, with everything that it
/// owns.
async fn rescued(site: &ButlerSite, kubeconfig: &Path, night: &Path, text: &str) -> Result<()> {
    let tenant = site.shared.butler.tenants().first().context("no tenant")?;
    let (namespace, name) = (tenant.tenant_namespace.as_str(), tenant.name.as_str());
    let (_, guide) = text
        .split_once(&format!("/{name}`:\n"))
        .context("no guide for the tenant")?;
    let guide = blocks(guide, ASIDE)
        .into_iter()
        .next()
        .context("no block")?;
    let before = control_plane(site, kubeconfig, namespace, name).await?;
    let kept = secrets(site, kubeconfig, namespace).await?;
    let owned = kept.len();
    assert!(owned > 5, "{owned}");
    let delete = format!(
        "kubectl -n {namespace} annotate tenantcontrolplanes {name} {PAUSED}=night\n\
         kubectl -n {namespace} delete tenantcontrolplanes {name} --wait=false\n"
    );
    typed(site, kubeconfig, night, &delete)
        .await?
        .ended_with(0)?;
    let going = control_plane(site, kubeconfig, namespace, name).await?;
    assert!(
        !going["metadata"]["deletionTimestamp"].is_null(),
        "{going:#}"
    );

    let saved = typed(site, kubeconfig, night, &guide).await?;
    println!("{}\n{}", saved.stderr, saved.stdout);
    saved.ended_with(0)?;
    // A garbage collector that still saw an owner would have acted long ago.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = control_plane(site, kubeconfig, namespace, name).await?;
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(
        after["metadata"]["deletionTimestamp"].is_null(),
        "{after:#}"
    );
    assert_eq!(after["metadata"]["annotations"][PAUSED], "night");
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["status"], before["status"]);
    assert_eq!(secrets(site, kubeconfig, namespace).await?, kept);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_runbook_bring_a_lost_etcd_back() -> Result<()> {
    let mut site = ButlerSite::saved_on(Shared::own().await?, "runbook-in-place").await?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let text = runbook(&site, "in-place").await?;
    let night = site.folder.make("night")?;
    let later = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "after-the-backup" },
    });
    let server = &site.shared.butler.kube_apiserver;
    server.create("/api/v1/namespaces", &later).await?;

    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let admin = site.shared.butler.talosconfigs.get("os:admin");
    let admin = admin.context("no talosconfig")?.clone();
    let script = blocks(&text, WAY).concat();
    let bash = typing(&site, &kubeconfig, &night, &script).await?;
    // The name of the cluster is that of the context, which the runbook has.
    let bash = bash.env("TALOSCONFIG", admin);
    let running = bash.start()?;
    // The API server comes when etcd does, as a node's does.
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    let back = e2e::wait::until("etcd", Duration::from_secs(120), async || {
        anyhow::ensure!(shared.butler.talos.etcd_runs(), "not yet");
        Ok(())
    });
    if back.await.is_err() {
        let ran = running.ended().await?;
        anyhow::bail!("etcd did not come back\n{}\n{}", ran.stderr, ran.stdout);
    }
    shared.butler.resume().await?;
    let ran = running.ended().await?;
    println!("{}\n{}", ran.stderr, ran.stdout);
    let ran = ran.ended_with(0)?;
    assert!(ran.stdout.contains("the right cluster"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("Nothing: it is complete"),
        "{}",
        ran.stdout
    );

    let plan: Value = serde_json::from_slice(&std::fs::read(night.join("restore-plan.json"))?)?;
    let skipped = skipped(&json!({ "plan": plan }));
    let compared = same(&site, &kubeconfig, &skipped).await?;
    assert!(compared.objects > 100, "{compared:?}");
    let namespaces = site.listed(&kubeconfig, "namespaces").await?;
    assert!(
        namespaces
            .iter()
            .all(|n| n["metadata"]["name"] != "after-the-backup")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_a_runbook_is_one_that_a_shell_understands() -> Result<()> {
    let site = ButlerSite::saved("runbook-parsed").await?;
    for mode in ["in-place", "rebuild"] {
        let text = runbook(&site, mode).await?;
        for block in [blocks(&text, WAY), blocks(&text, ASIDE)].concat() {
            let parsed = Command::new("bash").args(["-n", "-c", &block]);
            let parsed = parsed.output().await?;
            assert_eq!(
                (parsed.code, parsed.stderr.as_str()),
                (Some(0), ""),
                "{block}"
            );
            // Each of our own commands has only existing flags.
            for line in block.lines().filter(|l| l.starts_with("restore-cli ")) {
                let words = line.split_whitespace().skip(1);
                let flags: Vec<_> = words.clone().filter(|w| w.starts_with("--")).collect();
                let sub: Vec<_> = words.take_while(|w| !w.starts_with("--")).take(2).collect();
                let helped = site.programs.restore_cli().args(&sub).arg("--help");
                let helped = helped.ended_with(0).await?.stdout;
                for flag in flags.iter().filter(|f| **f != "--version") {
                    assert!(helped.contains(flag), "{flag} of {line}\n{helped}");
                }
            }
        }
    }
    Ok(())
}
