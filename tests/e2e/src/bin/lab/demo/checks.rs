//! Steps of the show in which stock tools check our programs.

use anyhow::{Context, Result, ensure};
use e2e::etcdutl;
use e2e::run::Command;

use super::screen::Screen;
use super::stage::Stage;

/// Checks that etcd's own snapshot and ours agree.
pub(super) async fn etcd_agrees(screen: &mut Screen, stage: &Stage, fetched: &str) -> Result<()> {
    const OWN: &str = "own.db";
    screen.step(
        "Ask etcd's own tools",
        "A snapshot that etcdctl takes straight from the source, beside the one that went through \
         Talos API, S3 and back.",
    )?;
    let save = stage.etcdctl()?.args(["snapshot", "save", OWN]);
    // It logs its work as JSON, which is of no use here.
    crate::print(&format!("\n$ {}", save.shown()))?;
    save.output().await?.ended_with(0)?;
    for file in [OWN, fetched] {
        let status = stage.etcdutl().args(["snapshot", "status", file]);
        screen.run(&status.arg("--write-out=table")).await?;
    }
    let folder = stage.core.folder.path();
    let own = etcdutl::status(&folder.join(OWN)).await?;
    let ours = etcdutl::status(&folder.join(fetched)).await?;
    for (what, same) in [
        ("the same revision", own.revision == ours.revision),
        ("the same number of keys", own.total_key == ours.total_key),
        ("the same hash over all of them", own.hash == ours.hash),
    ] {
        screen.holds(same, what)?;
    }
    Ok(())
}

/// Checks that every object's name is the SHA-256 of its bytes; returns the number of objects.
pub(super) async fn names_are_digests(screen: &mut Screen, stage: &Stage) -> Result<usize> {
    screen.step(
        "Audit it by hand",
        "Nothing of ours is needed: sha256sum over the objects, as the S3 server keeps them on \
         its disk. Each name holds the sum of its bytes. The one fixed name, claim.json, ties the \
         prefix to the cluster; every manifest names its sum.",
    )?;
    let script = "find . -type f ! -name claim.json -exec sha256sum {} + | sort -k 2";
    let sums = Command::new("sh").args(["-c", script]);
    let sums = screen.run(&sums.in_folder(stage.objects())).await?;
    let lines: Vec<_> = sums.stdout.lines().collect();
    ensure!(!lines.is_empty(), "there are no objects");
    for line in &lines {
        let (sum, path) = line
            .split_once("  ")
            .context("sha256sum wrote another form")?;
        let name = path.rsplit('/').next().unwrap_or_default();
        ensure!(name.contains(sum), "{path} holds bytes with the sum {sum}");
    }
    let text = format!("all {} names hold the sum of their bytes", lines.len());
    screen.holds(true, &text)?;
    Ok(lines.len())
}
