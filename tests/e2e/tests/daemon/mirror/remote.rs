//! Tests of a remote that is away, and of one that others write to.

use anyhow::Result;
use e2e::git::{GitHost, git};
use serde_json::json;

use super::{BY_TOKEN, Cluster, Daemon, TEAM, TOKEN, commits, mirrored, show, somebody_else};

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_is_away_or_went_on_costs_no_restore_point() -> Result<()> {
    let cluster = Cluster::with_teams().await?;
    cluster.token(TOKEN)?;
    let folder = cluster.folder.make("git")?;
    let mut host = GitHost::start(&folder, Some(TOKEN)).await?;
    let bare = host.bare("fleet.git").await?;
    let config = cluster.config(&host.url("fleet.git"), BY_TOKEN);
    let daemon = Daemon::start(&cluster.site, &config, &[]).await?;
    daemon
        .until("a first commit", |c| c["mirror"]["commits"] == 1)
        .await?;

    host.stop().await;
    cluster.rename("payments", "Ours").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!(
        (&mirror["unpushed"], &mirror["commits"]),
        (&json!(1), &json!(2)),
        "{mirror:#}"
    );
    let failed = "butler_backup_mirror_failed{cluster=\"test\"}";
    assert_eq!(daemon.metric(failed).await?, 1.0);
    assert_eq!(commits(&bare).await?, 1);

    // Somebody writes something else meanwhile: our commit is put on top of it unchanged.
    somebody_else(&folder, &bare, "README.md", "By hand").await?;
    host.again().await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!(
        (&mirror["unpushed"], &mirror["givenUp"]),
        (&json!(0), &json!(0)),
        "{mirror:#}"
    );
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert_eq!(daemon.metric(failed).await?, 0.0);
    assert_eq!(commits(&bare).await?, 3);
    let team = format!("main:{TEAM}/payments.yaml");
    assert!(show(&bare, &team).await?.contains("Ours"));

    // Somebody writes the same lines: commits that were not pushed are given up, and made again on top.
    host.stop().await;
    cluster.rename("payments", "Ours again").await?;
    mirrored(&daemon).await?;
    somebody_else(
        &folder,
        &bare,
        &format!("{TEAM}/payments.yaml"),
        "spec: theirs\n",
    )
    .await?;
    let theirs = git(&bare, &["rev-parse", "main"]).await?.stdout;
    host.again().await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!(
        (&mirror["unpushed"], &mirror["givenUp"]),
        (&json!(0), &json!(1)),
        "{mirror:#}"
    );
    assert!(show(&bare, &team).await?.contains("Ours again"));
    // Their commit is in the history: nothing was forced.
    git(
        &bare,
        &["merge-base", "--is-ancestor", theirs.trim(), "main"],
    )
    .await?;

    // The work folder may be lost, or broken.
    let work = cluster.site.folder.join("mirror/test/repository");
    std::fs::write(work.join(".git/index.lock"), "")?;
    std::fs::write(work.join(".git/HEAD"), "broken")?;
    cluster.rename("payments", "Ours at last").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert!(show(&bare, &team).await?.contains("Ours at last"));
    let cluster = daemon.cluster().await?;
    assert_eq!(cluster["totals"]["failed"], 0, "{cluster:#}");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}
