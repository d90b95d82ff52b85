//! Tests of the copy of a journal in the bucket: a restore goes on from it where its folder is lost, and goes
//! on without it where the bucket cannot be written.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::butler::{SYSTEM, Shared};
use e2e::fresh::Fresh;
use e2e::run::tells;
use e2e::site::{ButlerSite, journal_in};
use serde_json::{Value, json};

use super::compare::same;
use super::rebuild::skipped;

/// Returns the folder in which the bucket's server keeps `journals/` of the prefix.
fn journals(site: &ButlerSite, prefix: &str) -> PathBuf {
    let butler = &site.shared.butler;
    let objects = butler.s3.objects().join(&butler.bucket);
    objects.join(prefix).join("journals")
}

async fn json_of(site: &ButlerSite, args: &[&str], code: i32) -> Result<Value> {
    let (command, args) = args.split_first().context("no command")?;
    let command = site.restore_cli(command).args(args);
    let output = command.args(["--output", "json"]).output().await?;
    output.ended_with(code)?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_from_the_bucket_where_its_folder_is_lost() -> Result<()> {
    let site = ButlerSite::saved("stored").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let planned = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    let skipped = skipped(&planned.ended_with(0)?.json()?);
    let running = site.restore(&kubeconfig).args(["--settle", "0"]).start()?;
    // In the middle of the objects: the objects made so far carry the markers of a pause.
    e2e::wait::until("the first tenant", Duration::from_secs(60), async || {
        let path = "/apis/steward.butlerlabs.dev/v1alpha1/tenantcontrolplanes";
        let found = fresh.kube_apiserver.read(path).await?;
        ensure!(found["items"].as_array().is_some_and(|i| !i.is_empty()));
        Ok(())
    })
    .await?;
    running.kill().await?;
    let folder = site.folder.join("butler-restores");
    let first = site.folder.join("first");
    std::fs::rename(&folder, &first)?;

    // No secret and no name of an object is there in clear text.
    let copies = std::fs::read_dir(journals(&site, "stored"))?;
    let copies: Vec<PathBuf> = copies.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    let [copy] = copies.as_slice() else {
        anyhow::bail!("{copies:?}");
    };
    for part in std::fs::read_dir(copy)? {
        let bytes = std::fs::read(part?.path())?;
        let text = String::from_utf8_lossy(&bytes);
        let named = |name: &&String| text.contains(name.as_str());
        assert_eq!(site.shared.butler.canaries().iter().find(named), None);
        assert!(!text.contains("tenantcontrolplanes"), "{text}");
    }

    let status = json_of(&site, &["status"], 0).await?;
    let listed = &status["journalsInStore"];
    let restore = listed[0]["restore"].as_str().context("no journal")?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{status:#}");
    assert_eq!(listed[0]["ended"], Value::Null, "{status:#}");
    let status = json_of(&site, &["status", restore], 7).await?;
    assert_eq!(status["restore"], json!(restore), "{status:#}");
    let unknown = site.restore_cli("resume").arg("20200101t000000z-00000000");
    unknown.ended_with(5).await?;

    // Consent is asked for again: the journal was begun on another machine.
    let resume = |args: &[&str]| {
        let resume = site.restore_cli("resume").args(args);
        let resume = resume.args(["--settle", "0", "--output", "json"]);
        resume.arg("--kubeconfig").arg(&kubeconfig)
    };
    let asked = resume(&[restore]).output().await?;
    assert_ne!(asked.code, Some(0), "{}", asked.stderr);
    std::fs::remove_dir_all(&folder)?;
    let agreed = [restore, "--yes", "--target", "butler-mgmt"];
    let ran = resume(&agreed).json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    assert_eq!(ran["objects"].get("failed"), None, "{ran:#}");
    same(&site, &kubeconfig, &skipped).await?;

    // The first machine comes back, with a stale journal.
    let left = first.join(format!("{restore}.journal"));
    let left = left.to_str().context("no text")?;
    let again = resume(&[left]).output().await?;
    tells(&again, &["was continued elsewhere"]);
    again.ended_with(6)?;

    // Audit, status and list handle the copy, and the duration of the restore is known.
    let audit = json_of(&site, &["audit"], 0).await?;
    assert!(!audit.to_string().contains("journals/"), "{audit:#}");
    let status = json_of(&site, &["status", restore], 0).await?;
    assert_eq!(status["ended"], "complete", "{status:#}");
    let list = json_of(&site, &["list"], 0).await?;
    assert_eq!(list["restorePoints"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_its_copy_a_restore_goes_on_and_says_so_once() -> Result<()> {
    let site = ButlerSite::saved("unwritable").await?;
    // A file is in the place of the folder of journals.
    std::fs::write(journals(&site, "unwritable"), "")?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let planned = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    planned.ended_with(0)?;
    let restore = site.restore(&kubeconfig).args(["--settle", "1"]);
    let ran = restore.ended_with(0).await?;
    let told = ran.stderr.matches("is kept only in its folder").count();
    assert_eq!(told, 1, "{}", ran.stderr);
    assert_eq!(ran.json()?["ended"], "complete", "{}", ran.stdout);
    Ok(())
}

/// Returns a script in which no file may grow beyond this many blocks of 512 bytes, and a larger write fails,
/// as on a full disk, without being root.
fn limit(blocks: u64) -> String {
    format!("trap '' XFSZ\nulimit -f {blocks}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_a_restore_where_it_can_be_gone_on_with() -> Result<()> {
    // With ConfigMaps so large that all objects together are more than any component.
    let shared = Shared::own().await?;
    for name in ["wide", "wider"] {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": SYSTEM },
            "data": { "text": "a".repeat(300 << 10) },
        });
        let maps = format!("/api/v1/namespaces/{SYSTEM}/configmaps");
        shared.butler.kube_apiserver.create(&maps, &map).await?;
    }
    let site = ButlerSite::saved_on(shared, "full").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let planned = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    let skipped = skipped(&planned.ended_with(0)?.json()?);
    let folder = site.folder.join("butler-restores");
    let crowded = |command: e2e::run::Command, blocks: u64| async move {
        let output = command.after_sh(&limit(blocks)).output().await?;
        tells(&output, &["File too large", "hint: make room"]);
        output.ended_with(1)
    };
    // The spooled objects need the most room, more than any component; without it nothing is begun.
    let restore = site.restore(&kubeconfig).args(["--settle", "0"]);
    let refused = crowded(restore.clone(), 1_600).await?;
    let what = "cannot keep objects in scratch";
    tells(&refused, &[what]);
    assert!(!folder.exists());

    // A journal that cannot grow, from its first batch of objects on.
    let running = restore.start()?;
    e2e::wait::until("the first objects", Duration::from_secs(60), async || {
        let path = "/api/v1/namespaces/butler-system";
        fresh.kube_apiserver.read(path).await.map(drop)
    })
    .await?;
    running.kill().await?;
    let journal = journal_in(&folder)?.context("no journal")?;
    // It is made longer than any scratch file, so that it alone meets the limit.
    let lines = std::fs::read(&journal)?;
    let resumed = b"{\"record\":\"resumed\",\"at\":\"2026-11-24T00:00:00Z\"}\n";
    let wanted = 4 << 20;
    let mut longer = lines.clone();
    while longer.len() < wanted {
        longer.extend_from_slice(resumed);
    }
    std::fs::write(&journal, &longer)?;
    let before = longer.len();
    let resume = site.restore_cli("resume").args(["--settle", "0"]);
    let resume = resume.args(["--output", "json"]);
    let resume = resume.arg("--kubeconfig").arg(&kubeconfig);
    let blocks = u64::try_from(before)? / 512 + 3;
    let stopped = crowded(resume.clone(), blocks).await?;
    tells(&stopped, &["the journal"]);
    // It has only whole lines, and records no more than what was done.
    let text = std::fs::read_to_string(&journal)?;
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        serde_json::from_str::<Value>(line)?;
    }
    let ran = resume.json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    same(&site, &kubeconfig, &skipped).await?;
    Ok(())
}
