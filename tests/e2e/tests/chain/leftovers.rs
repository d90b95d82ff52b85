//! Tests of removing leftovers of killed runs by hand: exactly those, by users who may, and never in doubt.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::types::ChecksumAlgorithm;
use e2e::proxy::{Fault, Lasting};
use e2e::run::Command;
use e2e::wait::until;
use http::Method;
use serde_json::Value;

use super::bed::{Bed, PREFIX, tells};
use super::ground::Ground;
use super::leftover_parts::{MANY, NO_DELETE, grow, keys, killed, let_do};

/// Time limit, much longer than the shortest grace times of these tests.
const LIMIT: Duration = Duration::from_secs(90);

/// Makes a bed with this deadline of a run, which decides the shortest grace time.
async fn bed(deadline: &str) -> Result<Bed> {
    // It has its own etcd: writes of other tests would be part of a killed run's leftovers, and trigger the
    // safety limit.
    let bed = Bed::on(Ground::own().await?).await?;
    let path = bed.folder.join("butler.yaml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{text}runs: {{ deadline: {deadline} }}\n"))?;
    Ok(bed)
}

fn sweep(bed: &Bed, grace: &str) -> Command {
    let sweep = bed.backupd("sweep").args(["--grace", grace]);
    sweep.args(["--output", "json"])
}

/// Waits until a dry run finds `left` old enough.
async fn old(bed: &Bed, grace: &str, left: &BTreeSet<String>) -> Result<Value> {
    let look = || async {
        let output = sweep(bed, grace).arg("--dry-run").output().await?;
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
async fn all_sound(bed: &Bed, count: usize) -> Result<()> {
    let listed = bed.listed().await?;
    ensure!(listed.len() == count, "{listed:?}");
    for id in listed {
        bed.verified(&id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_killed_runs_left_goes_and_every_restore_point_stays_whole() -> Result<()> {
    let bed = bed("1s").await?;
    grow(&bed).await?;
    let mut left = BTreeSet::new();
    for folder in ["recipes", "manifests"] {
        left.extend(killed(&bed, folder).await?);
        // Another run commits what the killed one did not.
        bed.snapshot().await?;
    }
    let kept = &keys(&bed).await? - &left;
    let folders: BTreeSet<_> = left
        .iter()
        .filter_map(|key| key.split('/').next())
        .collect();
    assert!(
        folders.contains("packs") && folders.contains("signatures"),
        "{left:?}"
    );
    // Less than twice the deadline of a run.
    let output = sweep(&bed, "1s").output().await?.ended_with(2)?;
    tells(
        &output,
        &["--grace", "`runs.deadline` (1 s)", "give 2 s or more"],
    );
    let told = old(&bed, "2s", &left).await?;
    assert_eq!(
        (told["dryRun"].as_bool(), told["removedObjects"].as_u64()),
        (Some(true), Some(0))
    );
    assert_eq!(
        keys(&bed).await?,
        &kept | &left,
        "a dry run removes nothing"
    );

    let output = sweep(&bed, "2s")
        .arg("--log-level")
        .arg("info")
        .output()
        .await?;
    let output = output.ended_with(0)?;
    let told = output.json()?;
    assert_eq!(told["removedObjects"], left.len());
    assert_eq!(told["leftoverObjects"], left.len());
    assert_eq!(told["restorePoints"], MANY + 2);
    for key in &left {
        assert!(
            output.stderr.contains(key),
            "{key} is not in the log:\n{}",
            output.stderr
        );
    }
    assert_eq!(keys(&bed).await?, kept);
    all_sound(&bed, MANY + 2).await?;
    assert_eq!(bed.audit(0).await?, Vec::<Value>::new());
    // A second sweep; and the next run builds on what is there.
    let told = sweep(&bed, "2s").output().await?.ended_with(0)?.json()?;
    assert_eq!(
        (
            told["removedObjects"].as_u64(),
            told["leftoverObjects"].as_u64()
        ),
        (Some(0), Some(0))
    );
    bed.snapshot().await?;
    all_sound(&bed, MANY + 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_beside_a_sweep_commits_what_can_be_restored() -> Result<()> {
    let bed = bed("5s").await?;
    grow(&bed).await?;
    let left = killed(&bed, "manifests").await?;
    old(&bed, "10s", &left).await?;
    // A run that has put everything but its manifest, and waits.
    bed.change().await?;
    bed.proxy.forget();
    let slow = Fault::Answer(503, "SlowDown");
    let lasting = Lasting::For(Duration::from_secs(4), None);
    bed.proxy
        .on_path(Some(Method::PUT), "/manifests/", slow, lasting);
    let before = keys(&bed).await?;
    let run = bed.backupd("snapshot").start()?;
    let waits = || async {
        let new = &keys(&bed).await? - &before;
        ensure!(
            new.iter().any(|key| key.starts_with("signatures/")),
            "{new:?}"
        );
        Ok(())
    };
    until("a run before its commit", LIMIT, waits).await?;
    let told = sweep(&bed, "10s").output().await?.ended_with(0)?.json()?;
    assert_eq!(told["removedObjects"], left.len());
    assert!(
        told["leftoverObjects"].as_u64() > told["removedObjects"].as_u64(),
        "{told}"
    );
    run.ended().await?.ended_with(0)?;
    all_sound(&bed, MANY + 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_safety_limit_holds_where_manifests_are_gone_until_somebody_has_looked() -> Result<()> {
    let bed = bed("1s").await?;
    for _ in 0..2 {
        bed.snapshot().await?;
        bed.change().await?;
    }
    let before = keys(&bed).await?;
    let mut copies = Vec::new();
    for manifest in before.iter().filter(|key| key.starts_with("manifests/")) {
        copies.push((manifest.clone(), bed.get(manifest).await?));
        let gone = bed.s3()?.delete_object().bucket(&bed.bucket);
        gone.key(format!("{PREFIX}/{manifest}")).send().await?;
    }
    let there = keys(&bed).await?;
    let held = || async {
        let output = sweep(&bed, "2s").output().await?;
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
    assert_eq!(keys(&bed).await?, there);
    // An operator who checks, and finds a copy, has lost nothing.
    for (manifest, bytes) in copies {
        // With its checksum, as in the first put.
        let back = bed.s3()?.put_object().bucket(&bed.bucket);
        let back = back.key(format!("{PREFIX}/{manifest}")).body(bytes.into());
        let back = back.checksum_algorithm(ChecksumAlgorithm::Sha256);
        back.send().await?;
    }
    let told = sweep(&bed, "2s").output().await?.ended_with(0)?.json()?;
    assert_eq!(told["leftoverObjects"], 0);
    all_sound(&bed, 2).await?;
    // An operator who knows that the state is right goes on.
    for manifest in before.iter().filter(|key| key.starts_with("manifests/")) {
        let gone = bed.s3()?.delete_object().bucket(&bed.bucket);
        gone.key(format!("{PREFIX}/{manifest}")).send().await?;
    }
    // The objects that were put last get as old as the rest.
    let forced = || async {
        // The flag's name in version 0.1.
        let forced = sweep(&bed, "2s").arg("--past-the-brake");
        forced.output().await?.ended_with(0)?;
        let left = keys(&bed).await?;
        let has = |begin: &str| left.iter().any(|key| key.starts_with(begin));
        let (claim, probe) = (has("claim.json"), has("probe/"));
        ensure!(claim && probe && left.len() == 2, "{left:?}");
        Ok(())
    };
    until("a prefix with its claim and the probe alone", LIMIT, forced).await
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_may_not_delete_are_told_which_right_they_lack() -> Result<()> {
    let bed = bed("1s").await?;
    grow(&bed).await?;
    let left = killed(&bed, "manifests").await?;
    old(&bed, "2s", &left).await?;
    let there = keys(&bed).await?;
    let user = bed.ground.s3.user("sweeper").await?;
    let sweep = || {
        let sweep = bed
            .ground
            .programs
            .backupd()
            .args(["sweep", "--grace", "2s"]);
        bed.without_credentials(sweep).envs(user.env())
    };
    let_do(&bed, &user, &NO_DELETE).await?;
    let output = sweep().output().await?.ended_with(1)?;
    tells(
        &output,
        &[
            "could not be removed",
            "refused to delete",
            "s3:DeleteObject",
        ],
    );
    assert_eq!(keys(&bed).await?, there);
    let_do(
        &bed,
        &user,
        &[&NO_DELETE[..], &["s3:DeleteObject"]].concat(),
    )
    .await?;
    sweep().output().await?.ended_with(0)?;
    assert_eq!(keys(&bed).await?, &there - &left);
    all_sound(&bed, MANY).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_swept_too_and_not_beside_what_another_key_signed() -> Result<()> {
    let bed = bed("1s").await?;
    let folder = bed.folder.join("store");
    let store = format!("file://{}", folder.display());
    let ours = |command: &str| bed.backupd(command).args(["--store", &store]);
    ours("snapshot").output().await?.ended_with(0)?;
    let left = folder.join(format!("packs/{}", "0".repeat(64)));
    std::fs::write(&left, "left")?;
    let sweep = || ours("sweep").args(["--grace", "2s", "--output", "json"]);
    let swept = || async {
        let told = sweep().output().await?.ended_with(0)?.json()?;
        ensure!(told["removedObjects"] == 1, "not yet: {told}");
        Ok(())
    };
    until("a file that is removed", LIMIT, swept).await?;
    assert!(!left.exists());
    let verify = bed
        .restore_cli("verify")
        .args(["latest", "--store", &store]);
    verify.output().await?.ended_with(0)?;
    let keygen = bed.backupd("keygen").args(["--out", "others"]);
    keygen.output().await?.ended_with(0)?;
    let snapshot = ours("snapshot").args(["--signing-key", "others/signing.key"]);
    snapshot.output().await?.ended_with(0)?;
    let output = sweep().output().await?.ended_with(6)?;
    tells(&output, &["a key that is not trusted", "--trust"]);
    let trusting = sweep().args(["--trust", "others/signing.pub", "--trust"]);
    let trusting = trusting.arg(bed.ground.key("signing.pub"));
    trusting.output().await?.ended_with(0)?;
    Ok(())
}
