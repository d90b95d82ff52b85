//! Tests of removing leftovers of killed runs by hand: exactly those, by users who may, and never in doubt.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::types::ChecksumAlgorithm;
use e2e::proxy::{Fault, Lasting};
use e2e::run::{Command, tells};
use e2e::wait::until;
use http::Method;
use serde_json::Value;

use super::leftover_parts::{MANY, NO_DELETE, grow, keys, killed, let_do};
use super::site::{ChainSite, PREFIX};

/// Time limit, much longer than the shortest grace times of these tests.
const LIMIT: Duration = Duration::from_secs(90);

/// Makes a site with this deadline of a run, which decides the shortest grace time.
async fn site(deadline: &str) -> Result<ChainSite> {
    // It has its own etcd: writes of other tests would be part of a killed run's leftovers, and trigger the
    // safety limit.
    let site = ChainSite::own().await?;
    let path = site.folder.join("butler.yaml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{text}runs: {{ deadline: {deadline} }}\n"))?;
    Ok(site)
}

fn sweep(site: &ChainSite, grace: &str) -> Command {
    let sweep = site.backupd("sweep").args(["--grace", grace]);
    sweep.args(["--output", "json"])
}

/// Waits until a dry run finds `left` old enough.
async fn old(site: &ChainSite, grace: &str, left: &BTreeSet<String>) -> Result<Value> {
    let look = || async {
        let output = sweep(site, grace).arg("--dry-run").output().await?;
        let told = output.json()?;
        let old = told["old"].as_array().context("no list")?;
        let old = old
            .iter()
            .filter_map(|o| Some(o["key"].as_str()?.to_owned()));
        ensure!(old.collect::<BTreeSet<_>>() == *left, "not yet: {told}");
        Ok(told)
    };
    until("leftovers that are old enough", LIMIT, look).await
}

/// Checks that everything that was committed is there, to the last byte.
async fn all_sound(site: &ChainSite, count: usize) -> Result<()> {
    let listed = site.listed().await?;
    ensure!(listed.len() == count, "{listed:?}");
    for id in listed {
        site.verified(&id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_killed_runs_left_goes_and_every_restore_point_stays_whole() -> Result<()> {
    let site = site("1s").await?;
    grow(&site).await?;
    let mut left = BTreeSet::new();
    for folder in ["recipes", "manifests"] {
        left.extend(killed(&site, folder).await?);
        // Another run commits what the killed one did not.
        site.snapshot().await?;
    }
    let kept = &keys(&site).await? - &left;
    let folders: BTreeSet<_> = left
        .iter()
        .filter_map(|key| key.split('/').next())
        .collect();
    assert!(
        folders.contains("packs") && folders.contains("signatures"),
        "{left:?}"
    );
    // Less than twice the deadline of a run.
    let output = sweep(&site, "1s").ended_with(2).await?;
    tells(
        &output,
        &["--grace", "`runs.deadline` (1 s)", "give 2 s or more"],
    );
    let told = old(&site, "2s", &left).await?;
    assert_eq!(
        (told["dryRun"].as_bool(), told["removedObjects"].as_u64()),
        (Some(true), Some(0))
    );
    assert_eq!(
        keys(&site).await?,
        &kept | &left,
        "a dry run removes nothing"
    );

    let output = sweep(&site, "2s")
        .arg("--log-level")
        .arg("info")
        .ended_with(0)
        .await?;
    let told = output.json()?;
    assert_eq!(told["removedObjects"], left.len());
    assert_eq!(told["leftoverObjects"], left.len());
    assert_eq!(told["restorePoints"], MANY + 2);
    for key in &left {
        tells(&output, &[key]);
    }
    assert_eq!(keys(&site).await?, kept);
    all_sound(&site, MANY + 2).await?;
    assert_eq!(site.audit(0).await?, Vec::<Value>::new());
    // A second sweep; and the next run builds on what is there.
    let told = sweep(&site, "2s").json().await?;
    assert_eq!(
        (
            told["removedObjects"].as_u64(),
            told["leftoverObjects"].as_u64()
        ),
        (Some(0), Some(0))
    );
    site.snapshot().await?;
    all_sound(&site, MANY + 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_beside_a_sweep_commits_what_can_be_restored() -> Result<()> {
    let site = site("5s").await?;
    grow(&site).await?;
    let left = killed(&site, "manifests").await?;
    old(&site, "10s", &left).await?;
    // A run that has put everything but its manifest, and waits.
    site.change().await?;
    site.proxy.forget();
    let slow = Fault::Answer(503, "SlowDown");
    let lasting = Lasting::For(Duration::from_secs(4), None);
    site.proxy
        .on_path(Some(Method::PUT), "/manifests/", slow, lasting);
    let before = keys(&site).await?;
    let run = site.backupd("snapshot").start()?;
    let waits = || async {
        let new = &keys(&site).await? - &before;
        ensure!(
            new.iter().any(|key| key.starts_with("signatures/")),
            "{new:?}"
        );
        Ok(())
    };
    until("a run before its commit", LIMIT, waits).await?;
    let told = sweep(&site, "10s").json().await?;
    assert_eq!(told["removedObjects"], left.len());
    assert!(
        told["leftoverObjects"].as_u64() > told["removedObjects"].as_u64(),
        "{told}"
    );
    run.ended().await?.ended_with(0)?;
    all_sound(&site, MANY + 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_safety_limit_holds_where_manifests_are_gone_until_somebody_has_looked() -> Result<()> {
    let site = site("1s").await?;
    for _ in 0..2 {
        site.snapshot().await?;
        site.change().await?;
    }
    let before = keys(&site).await?;
    let mut copies = Vec::new();
    for manifest in before.iter().filter(|key| key.starts_with("manifests/")) {
        copies.push((manifest.clone(), site.get(manifest).await?));
        let gone = site.client()?.delete_object().bucket(&site.bucket);
        gone.key(format!("{PREFIX}/{manifest}")).send().await?;
    }
    let there = keys(&site).await?;
    let held = || async {
        let output = sweep(&site, "2s").output().await?;
        ensure!(output.code == Some(6), "not yet: {output:?}");
        Ok(output)
    };
    let output = until("a safety limit", LIMIT, held).await?;
    tells(
        &output,
        &[
            "there is no restore point",
            "manifests were deleted",
            "--force",
        ],
    );
    assert_eq!(output.json()?["held"], true);
    assert_eq!(keys(&site).await?, there);
    // An operator who checks, and finds a copy, has lost nothing.
    for (manifest, bytes) in copies {
        // With its checksum, as in the first put.
        let back = site.client()?.put_object().bucket(&site.bucket);
        let back = back.key(format!("{PREFIX}/{manifest}")).body(bytes.into());
        let back = back.checksum_algorithm(ChecksumAlgorithm::Sha256);
        back.send().await?;
    }
    let told = sweep(&site, "2s").json().await?;
    assert_eq!(told["leftoverObjects"], 0);
    all_sound(&site, 2).await?;
    // An operator who knows that the state is right goes on.
    for manifest in before.iter().filter(|key| key.starts_with("manifests/")) {
        let gone = site.client()?.delete_object().bucket(&site.bucket);
        gone.key(format!("{PREFIX}/{manifest}")).send().await?;
    }
    // The objects that were put last get as old as the rest.
    let forced = || async {
        // The flag's earlier name.
        let forced = sweep(&site, "2s").arg("--past-the-brake");
        forced.ended_with(0).await?;
        let left = keys(&site).await?;
        let has = |begin: &str| left.iter().any(|key| key.starts_with(begin));
        let (claim, probe) = (has("claim.json"), has("probe/"));
        ensure!(claim && probe && left.len() == 2, "{left:?}");
        Ok(())
    };
    until("a prefix with its claim and the probe alone", LIMIT, forced).await
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_may_not_delete_are_told_which_right_they_lack() -> Result<()> {
    let site = site("1s").await?;
    grow(&site).await?;
    let left = killed(&site, "manifests").await?;
    old(&site, "2s", &left).await?;
    let there = keys(&site).await?;
    let user = site.s3.user("sweeper").await?;
    let sweep = || {
        let sweep = site.programs.backupd().args(["sweep", "--grace", "2s"]);
        site.without_credentials(sweep).envs(user.env())
    };
    let_do(&site, &user, &NO_DELETE).await?;
    let output = sweep().ended_with(1).await?;
    tells(
        &output,
        &[
            "could not be removed",
            "refused to delete",
            "s3:DeleteObject",
        ],
    );
    assert_eq!(keys(&site).await?, there);
    let_do(
        &site,
        &user,
        &[&NO_DELETE[..], &["s3:DeleteObject"]].concat(),
    )
    .await?;
    sweep().ended_with(0).await?;
    assert_eq!(keys(&site).await?, &there - &left);
    all_sound(&site, MANY).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_swept_too_and_not_beside_what_another_key_signed() -> Result<()> {
    let site = site("1s").await?;
    let folder = site.folder.join("store");
    let store = format!("file://{}", folder.display());
    let ours = |command: &str| site.backupd(command).args(["--store", &store]);
    ours("snapshot").ended_with(0).await?;
    let left = folder.join(format!("packs/{}", "0".repeat(64)));
    std::fs::write(&left, "left")?;
    let sweep = || ours("sweep").args(["--grace", "2s", "--output", "json"]);
    let swept = || async {
        let told = sweep().json().await?;
        ensure!(told["removedObjects"] == 1, "not yet: {told}");
        Ok(())
    };
    until("a file that is removed", LIMIT, swept).await?;
    assert!(!left.exists());
    let verify = site
        .restore_cli("verify")
        .args(["latest", "--store", &store]);
    verify.ended_with(0).await?;
    let keygen = site.backupd("keygen").args(["--out", "others"]);
    keygen.ended_with(0).await?;
    let snapshot = ours("snapshot").args(["--signing-key", "others/signing.key"]);
    snapshot.ended_with(0).await?;
    let output = sweep().ended_with(6).await?;
    tells(&output, &["a key that is not trusted", "--trust"]);
    let trusting = sweep().args(["--trust", "others/signing.pub", "--trust"]);
    let trusting = trusting.arg(site.key("signing.pub"));
    trusting.ended_with(0).await?;
    Ok(())
}
