//! Third act of the show: the worst night, and the way back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::wait;
use serde_json::Value;

use super::cluster::Whole;
use super::screen::Screen;

/// Time limit for etcd. It is restored in seconds; a machine that compiles next to it is slow.
const ETCD_WITHIN: Duration = Duration::from_secs(300);

/// Plays the act; returns what was seen, in lines for the end.
pub(super) async fn play(screen: &mut Screen, whole: &mut Whole) -> Result<Vec<String>> {
    lose(screen, whole).await?;
    plan(screen, whole).await?;
    let began = Instant::now();
    restore(screen, whole).await?;
    let seconds = began.elapsed().as_secs();
    compare(screen, whole).await?;
    Ok(vec![format!(
        "its etcd was destroyed on all three nodes, and one plan brought it back in {seconds} s: \
         etcd through the Talos API, definitions, objects, and every tenant answers as before"
    )])
}

async fn lose(screen: &mut Screen, whole: &mut Whole) -> Result<()> {
    screen.step(
        "The disaster",
        "etcd is ended on all three control plane nodes and its disks are emptied, as a reset of \
         EPHEMERAL does. API server and controllers end with it. The tenants go on running: their \
         data lives elsewhere, but nobody manages them any more.",
    )?;
    // The last nightly restore point before the disaster.
    screen
        .run(&whole.backupd("snapshot").arg("--quiet"))
        .await?;
    whole.butler.lose_etcd().await?;
    screen.line("etcd is lost on all three nodes")?;
    let answer = whole.butler.kube_apiserver.get("/readyz").await;
    screen.holds(answer.is_err(), "the management cluster does not answer")
}

async fn plan(screen: &mut Screen, whole: &Whole) -> Result<()> {
    screen.step(
        "Plan the way back",
        "With reads alone: the nodes are looked at over the Talos API, the archive is read and \
         judged. What could hurt a tenant would be a blocker with its remedy.",
    )?;
    let plan = whole
        .restore_cli("plan")
        .args(["latest", "--mode", "in-place"]);
    let planned = screen.run(&plan).await?;
    screen.holds(
        planned.stdout.contains("Nothing was changed"),
        "nothing was changed, and nothing stands in the way",
    )
}

async fn restore(screen: &mut Screen, whole: &mut Whole) -> Result<()> {
    screen.step(
        "Restore",
        "etcd from the snapshot, definitions, objects, tenants: each step is in a journal before \
         and after it is done, so that `restore-cli resume` goes on after any interruption.",
    )?;
    let restore = whole.restore_cli("restore");
    let restore = restore.args(["--plan", "restore-plan.json", "--settle", "5"]);
    let restore = restore.args(["--yes", "--target", "butler-mgmt"]);
    // The nodes start their API servers when etcd is back.
    let nodes = async {
        wait::until("etcd", ETCD_WITHIN, async || {
            ensure!(whole.butler.talos.etcd_runs(), "etcd does not run yet");
            Ok(())
        })
        .await?;
        whole.butler.resume().await
    };
    let (ran, started) = tokio::join!(screen.run(&restore), nodes);
    started?;
    screen.holds(ran?.stdout.contains("complete"), "everything is back")
}

async fn compare(screen: &mut Screen, whole: &Whole) -> Result<()> {
    screen.step(
        "See that it is the same",
        "The journal tells how far a restore is, also while it runs. The cluster is captured once \
         more and compared with the restore point: what differs is what has happened since.",
    )?;
    screen.run(&whole.restore_cli("status")).await?;
    let tenants = whole.restore_cli("verify-tenants").arg("latest");
    screen.run(&tenants).await?;
    let list = whole.restore_cli("list").args(["--output", "json"]);
    let list = list.output().await?.ended_with(0)?.json()?;
    let before = list.pointer("/restorePoints/0/id").and_then(Value::as_str);
    let before = before.context("no restore point")?.to_owned();
    screen
        .run(&whole.backupd("snapshot").arg("--quiet"))
        .await?;
    let diff = whole.restore_cli("diff").args([before.as_str(), "latest"]);
    screen.run(&diff).await?;
    Ok(())
}
