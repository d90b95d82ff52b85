//! Steps of the show in which our own programs do something.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::screen::{self, Screen};
use super::stage::{CONFIG, Stage};

/// Restore point as `restore-cli` reports it.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) id: String,
    pub(super) stored: u64,
    pub(super) revision: u64,
    pub(super) keys: u64,
    pub(super) sha256: String,
}

/// Simulated minutes of churn.
const MINUTES: u32 = 60;

pub(super) async fn keys(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.step(
        "Make keys, once for each cluster",
        "One pair opens restore points; its private half never goes to the cluster. The other \
         pair vouches for them.",
    )?;
    let keygen = stage.backupd("keygen").args(["--out", "keys"]);
    screen.run(&keygen).await?;
    Ok(())
}

pub(super) async fn configuration(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.step(
        "Write the configuration",
        "One file for each cluster. Credentials for S3 are not in it: they are in the usual AWS \
         variables.",
    )?;
    let folder = stage.core.folder.path();
    let identity = folder.join("keys/identity.key");
    let identity = std::fs::read_to_string(&identity)
        .with_context(|| format!("reading {}", identity.display()))?;
    let recipient = identity
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .context("the identity file names no public key")?;
    let text = stage.configuration(recipient)?;
    let path = folder.join(CONFIG);
    std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    crate::print(&format!("\n$ cat {CONFIG}\n{}", screen::indented(&text)))?;
    let check = stage.backupd("check-config").args(["--config", CONFIG]);
    screen.run(&check).await?;
    Ok(())
}

pub(super) async fn snapshot(screen: &mut Screen, stage: &Stage, reason: &str) -> Result<Point> {
    screen.step(
        "Take a restore point",
        "backupd asks the three nodes, streams a snapshot from a follower, checks it against its \
         own checksum, cuts it into chunks, compresses, encrypts and stores them, and commits \
         with a signed manifest.",
    )?;
    take(screen, stage, reason).await
}

async fn take(screen: &Screen, stage: &Stage, reason: &str) -> Result<Point> {
    let snapshot = stage.backupd("snapshot");
    let snapshot = snapshot.args(["--config", CONFIG, "--reason", reason]);
    screen.run(&snapshot).await?;
    newest(stage).await
}

/// Returns the newest restore point, as scripts would read it.
async fn newest(stage: &Stage) -> Result<Point> {
    let show = stage.restore_cli("show");
    let show = show.args(["latest", "--config", CONFIG, "--output", "json"]);
    let shown = show.output().await?.ended_with(0)?.json()?;
    let number = |pointer: &str| {
        let value = shown.pointer(pointer).and_then(Value::as_u64);
        value.with_context(|| format!("no number {pointer} in {shown}"))
    };
    let text = |pointer: &str| {
        let value = shown.pointer(pointer).and_then(Value::as_str);
        value
            .map(ToOwned::to_owned)
            .with_context(|| format!("no text {pointer} in {shown}"))
    };
    Ok(Point {
        id: text("/id")?,
        stored: number("/cost/storedBytes")?,
        revision: number("/components/0/etcd/revision")?,
        keys: number("/components/0/etcd/totalKeys")?,
        sha256: text("/components/0/plainSha256")?,
    })
}

pub(super) async fn look(screen: &mut Screen, stage: &Stage, point: &Point) -> Result<()> {
    screen.step(
        "Look at what is there",
        "Reading needs no key: manifests hold no secrets.",
    )?;
    let list = stage.restore_cli("list").args(["--config", CONFIG]);
    screen.run(&list).await?;
    let show = stage
        .restore_cli("show")
        .args(["latest", "--config", CONFIG]);
    let shown = screen.run(&show).await?;
    screen.holds(
        shown.stdout.contains(&point.id),
        &format!("the newest restore point is {}", point.id),
    )
}

pub(super) async fn verify(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.step(
        "Prove that it can be restored",
        "Every object is read and decrypted, the snapshot is put together again, and its own \
         checksum, pages and revision are checked.",
    )?;
    let verify = stage.restore_cli("verify");
    screen
        .run(&verify.args(["latest", "--config", CONFIG]))
        .await?;
    Ok(())
}

/// Fetches the restore point; returns the file's name.
pub(super) async fn fetch(
    screen: &mut Screen,
    stage: &Stage,
    point: &Point,
) -> Result<&'static str> {
    const FILE: &str = "fetched.db";
    screen.step(
        "Fetch it",
        "The file is what `talosctl bootstrap --recover-from` and `etcdutl snapshot restore` take.",
    )?;
    let fetch = stage.restore_cli("fetch");
    let fetch = fetch.args(["latest", "--component", "etcd", "--to", FILE]);
    screen.run(&fetch.args(["--config", CONFIG])).await?;
    let sum = e2e::run::Command::new("sha256sum").arg(FILE);
    let sum = sum.in_folder(stage.core.folder.path());
    let sum = screen.run(&sum).await?;
    screen.holds(
        sum.stdout.starts_with(&point.sha256),
        "its SHA-256 is the one that the signed manifest names",
    )?;
    Ok(FILE)
}

/// Lets time pass; returns how much, and what it changed.
pub(super) async fn churn(screen: &mut Screen, stage: &mut Stage) -> Result<String> {
    screen.step(
        "Let an hour pass",
        "Simulated, in the real etcd: leases are renewed every ten seconds, events come and go, \
         statuses and Secrets change, and old revisions are compacted, as Kubernetes does it.",
    )?;
    let client = stage.core.etcd.client().await?;
    let churn = stage.core.data.churn(&client, MINUTES).await?;
    let writes = [
        churn.renewals,
        churn.events,
        churn.updates,
        churn.changes,
        churn.replaced,
    ];
    let text = format!("an hour with {} writes", writes.iter().sum::<u64>());
    screen.line(&format!(
        "{text}: {} lease renewals, {} events, {} status updates, {} changes, {} objects \
         replaced, {} compactions; revision {}",
        churn.renewals,
        churn.events,
        churn.updates,
        churn.changes,
        churn.replaced,
        churn.compactions,
        churn.revision
    ))?;
    Ok(text)
}

pub(super) async fn second(screen: &mut Screen, stage: &Stage, first: &Point) -> Result<Point> {
    screen.step(
        "Take a second restore point",
        "It is as complete as the first one, and stores only what is new.",
    )?;
    let second = take(screen, stage, "an hour later").await?;
    let list = stage.restore_cli("list").args(["--config", CONFIG]);
    screen.run(&list).await?;
    ensure!(second.id != first.id, "no second restore point");
    screen.holds(
        second.stored < first.stored / 10,
        &format!(
            "everything counted, it cost {} of the first one: {} instead of {}",
            screen::percent(second.stored, first.stored),
            screen::bytes(second.stored),
            screen::bytes(first.stored)
        ),
    )?;
    Ok(second)
}

pub(super) async fn audit(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.step(
        "Audit the bucket",
        "Without a key and without downloads: every object is there, of the right size, with a \
         recorded checksum equal to its name, and every restore point is signed.",
    )?;
    let audit = stage.restore_cli("audit").args(["--config", CONFIG]);
    screen.run(&audit).await?;
    Ok(())
}
