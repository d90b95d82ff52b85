//! Tests of a machine without `git`, and of a repository in a folder of the machine.

use anyhow::{Context as _, Result};
use e2e::git::bare;

use super::super::running::configure;
use super::{Cluster, Daemon, TEAM, TEAMS, files, mirrored, show, somebody_else};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_git_and_a_folder_of_others_are_told() -> Result<()> {
    let cluster = Cluster::with_teams().await?;
    let folder = cluster.folder.make("git")?;
    let bare = bare(&folder, "fleet.git").await?;
    let config = cluster.config(&bare.display().to_string(), "");
    configure(&cluster.site, &config)?;
    let empty = cluster.folder.make("empty")?;
    let command = cluster.site.backupd("run").env("PATH", &empty);
    let daemon = Daemon::start_with(command).await?;
    let told = daemon
        .until("a problem", |c| c["mirror"]["problem"].is_object())
        .await?;
    let cause = told["mirror"]["problem"]["cause"]
        .as_str()
        .context("no cause")?;
    assert!(cause.contains("cannot start `git`"), "{cause}");
    assert_eq!(told["totals"]["committed"], 1);
    daemon.stop().await?.ended_with(0)?;

    // A file that is not one of the mirror's stays, whatever its name is.
    let daemon = Daemon::start(&cluster.site, &config, &[]).await?;
    mirrored(&daemon).await?;
    let (own, theirs) = (
        format!("{TEAM}/payments.yaml"),
        format!("{TEAM}/theirs.yaml"),
    );
    somebody_else(&folder, &bare, &theirs, "a: b\n").await?;
    cluster.server.delete(&format!("{TEAMS}/payments")).await?;
    mirrored(&daemon).await?;
    assert_eq!(files(&bare).await?, [format!("D\t{own}")]);
    assert_eq!(show(&bare, &format!("main:{theirs}")).await?, "a: b\n");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}
