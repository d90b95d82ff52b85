//! Tests of what is committed, and what never is.

use anyhow::{Context as _, Result};
use e2e::folder::mode;
use e2e::git::{GitHost, everything, git};
use serde_json::{Value, json};

use super::{
    BY_TOKEN, Cluster, Daemon, INLINE, TEAM, TEAMS, TOKEN, cause, commits, files, mirrored, show,
    somebody_else,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_restore_point_that_changes_something_is_one_commit() -> Result<()> {
    let cluster = Cluster::with_teams().await?;
    cluster.secrets().await?;
    cluster.token(TOKEN)?;
    let folder = cluster.folder.make("git")?;
    let host = GitHost::start(&folder, Some(TOKEN)).await?;
    let bare = host.bare("fleet.git").await?;
    let flags = ["--log-level", "trace"];
    let daemon = Daemon::start(
        &cluster.site,
        &cluster.config(&host.url("fleet.git"), BY_TOKEN),
        &flags,
    )
    .await?;

    // A component that was never taken is taken at once.
    let first = daemon
        .until("a first commit", |c| c["mirror"]["commits"] == 1)
        .await?;
    assert_eq!(first["mirror"]["unpushed"], 0, "{first:#}");
    assert!(first["mirror"]["problem"].is_null(), "{first:#}");
    assert_eq!(first["mirror"]["leftOutFields"], 3, "{first:#}");
    assert_eq!(commits(&bare).await?, 1);
    let written = files(&bare).await?;
    for file in [
        format!("A\t{TEAM}/payments.yaml"),
        "A\tbutler-backup/test/crds/teams.butler.butlerlabs.dev.yaml".to_owned(),
        "A\tbutler-backup/test/resources/sealedsecrets.bitnami.com/default/sealed.yaml".to_owned(),
    ] {
        assert!(written.contains(&file), "{file}: {written:?}");
    }
    let custom = |file: &String| {
        file.contains("/crds/") || file.contains("butlerlabs") || file.contains("bitnami")
    };
    assert!(written.iter().all(custom), "{written:?}");
    let team = show(&bare, &format!("main:{TEAM}/payments.yaml")).await?;
    let team: Value = serde_saphyr::from_str(&team)?;
    let expected = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": "payments", "annotations": { "note": "0644" } },
        "spec": { "displayName": "Payments" },
    });
    assert_eq!(team, expected);
    let id = first["mirror"]["restorePoint"].as_str().context("no id")?;
    let message = git(&bare, &["log", "-1", "--format=%an%n%B", "main"])
        .await?
        .stdout;
    for told in [
        "butler-backup\n",
        &format!("Restore point {id}\n"),
        "Cluster: test\n",
        "Reason: schedule, missed and made up for\n",
    ] {
        assert!(message.contains(told), "{told}: {message}");
    }

    // Nothing changed: a restore point, and no commit.
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!((commits(&bare).await?, &mirror["commits"]), (1, &json!(1)));

    cluster.rename("payments", "Payments and more").await?;
    let (id, mirror) = mirrored(&daemon).await?;
    assert_eq!(mirror["restorePoint"], json!(id));
    assert_eq!(files(&bare).await?, [format!("M\t{TEAM}/payments.yaml")]);
    let trailers = ["log", "-1", "--format=%(trailers:only)", "main"];
    let trailers = git(&bare, &trailers).await?.stdout;
    let told = format!("Restore-Point: {id}\nCluster: test\nReason: a reason\n");
    assert_eq!(trailers.trim(), told.trim());

    // Others may write beside it.
    somebody_else(&folder, &bare, "README.md", "By hand").await?;
    cluster.server.delete(&format!("{TEAMS}/search")).await?;
    mirrored(&daemon).await?;
    assert_eq!(files(&bare).await?, [format!("D\t{TEAM}/search.yaml")]);
    assert_eq!(show(&bare, "main:README.md").await?, "By hand");
    assert_eq!(commits(&bare).await?, 4);
    let metric = daemon
        .metric("butler_backup_mirror_commits_total{cluster=\"test\"}")
        .await?;
    assert_eq!(metric, 3.0);

    // A token that the host does not accept.
    cluster.token("canary-of-another-token")?;
    cluster.rename("payments", "Payments").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    let cause = cause(&mirror)?;
    assert!(cause.contains("ask the remote"), "{cause}");

    assert_eq!(mode(&cluster.site.folder.join("mirror/test"))?, 0o700);
    let all = everything(&bare).await?;
    assert!(all.contains("AgBsealedsealedsealed") && all.contains("displayName"));
    for canary in ["canary", INLINE, "dXNlcg=="] {
        assert!(!all.contains(canary), "{canary} is in Git");
    }
    let store = "main:butler-backup/test/resources/datastores.steward.butlerlabs.dev/db.yaml";
    let store = show(&bare, store).await?;
    assert!(
        store.contains("# Left out, as it may be secret: spec.basicAuth."),
        "{store}"
    );
    assert!(store.contains("db.example.org:5432"), "{store}");
    let output = daemon.stop().await?.ended_with(0)?;
    assert!(!output.stderr.contains("canary"), "a canary is in the log");
    Ok(())
}
