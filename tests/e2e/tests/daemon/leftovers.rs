//! Tests that a daemon removes leftovers on its own, and that one which may not delete reports that and goes
//! on with backups.

use std::time::Duration;

use anyhow::Result;
use e2e::run::tells;
use e2e::wait::until;

use super::leftover_parts::{NO_DELETE, grow, killed, let_do};
use super::running::{Daemon, SELDOM, configure};
use super::site::ChainSite;

/// Configuration. Runs of the small database take a second.
const CONFIG: &str = "runs: { deadline: 10s }\nleftovers: { grace: 20s }\n";

/// Makes a site with leftovers that are old enough to be removed.
async fn site() -> Result<(ChainSite, usize, usize)> {
    // It has its own etcd: writes of other tests would be part of a killed run's leftovers, and trigger the
    // safety limit.
    let site = ChainSite::own().await?;
    configure(&site, CONFIG)?;
    grow(&site).await?;
    let kept = site.keys().await?.len();
    let left = killed(&site, "manifests").await?;
    let old = || async {
        let dry = site
            .backupd("sweep")
            .args(["--dry-run", "--output", "json"]);
        let told = dry.output().await?.json()?;
        anyhow::ensure!(told["oldObjects"] == left.len(), "not yet: {told}");
        Ok(())
    };
    until("old leftovers", Duration::from_secs(90), old).await?;
    Ok((site, kept, left.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_go_after_a_run_and_are_told() -> Result<()> {
    let (site, kept, left) = site().await?;
    let daemon = Daemon::start(&site, &format!("{SELDOM}{CONFIG}"), &[]).await?;
    let etcd = "{\"components\":[\"etcd\"]}";
    daemon.post("", &[], etcd).await?;
    let cluster = daemon
        .until("a sweep", |c| c["leftovers"]["lastSweep"].is_string())
        .await?;
    let told = &cluster["leftovers"];
    assert_eq!(told["removedObjects"], left, "{told}");
    assert_eq!(
        (told["objects"].as_u64(), told["graceSeconds"].as_u64()),
        (Some(0), Some(20))
    );
    assert!(told["problem"].is_null(), "{told}");
    for (metric, value) in [
        (
            "leftovers_removed_objects_total",
            f64::from(u32::try_from(left)?),
        ),
        ("leftovers_objects", 0.0),
        ("leftovers_sweep_failed", 0.0),
    ] {
        let name = format!("butler_backup_{metric}{{cluster=\"test\"}}");
        assert_eq!(daemon.metric(&name).await?, value, "{metric}");
    }
    let output = daemon.stop().await?.ended_with(0)?;
    let lines = output.stderr.lines();
    let removed = lines.filter(|line| line.contains("a leftover was removed"));
    assert_eq!(removed.count(), left, "{}", output.stderr);
    // What was kept, and what the daemon's run put.
    assert!(site.keys().await?.len() > kept);
    for id in site.listed().await? {
        site.verified(&id).await?;
    }
    assert!(site.audit(0).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_delete_it_says_so_and_backs_up() -> Result<()> {
    let (site, _, left) = site().await?;
    let user = site.s3.user("daemon-without-delete").await?;
    let_do(&site, &user, &NO_DELETE).await?;
    configure(
        &site,
        &format!("components: {{ etcd: {{ cron: '* * * * *' }} }}\n{CONFIG}"),
    )?;
    let run = site.programs.backupd().arg("run");
    let run = site.without_credentials(run).envs(user.env());
    let daemon = Daemon::start_with(run).await?;
    let cluster = daemon
        .until("a problem", |c| c["leftovers"]["problem"].is_object())
        .await?;
    let cause = cluster["leftovers"]["problem"]["cause"]
        .as_str()
        .unwrap_or_default();
    assert!(cause.contains("s3:DeleteObject"), "{cause}");
    assert!(
        cluster["totals"]["committed"].as_u64() > Some(0),
        "{cluster}"
    );
    let told = cluster["leftovers"]["objects"].as_u64();
    assert!(told >= Some(u64::try_from(left)?), "{cluster}");
    let failed = "butler_backup_leftovers_sweep_failed{cluster=\"test\"}";
    assert_eq!(daemon.metric(failed).await?, 1.0);
    let output = daemon.stop().await?.ended_with(0)?;
    tells(&output, &["were not removed"]);
    site.verified("latest").await?;
    Ok(())
}
