//! Tests of configuration files that are wrong, change and break.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::folder::set_mode;
use e2e::run::tells;
use e2e::wait::until;

use super::running::{Daemon, SELDOM, configure};
use super::site::{ChainSite, PREFIX};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_run_by_is_refused_at_the_start() -> Result<()> {
    let site = ChainSite::new().await?;
    let listen = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    for (more, words) in [
        (
            "runs: { time-zone: Europe/Zürich }\ncomponents: { etcd: { cron: 0 3 * * * } }",
            "not a time zone",
        ),
        ("components: { etcd: { cron: 0 3 31 2 * } }", "never fires"),
        (
            "components: { etcd: { cron: 0 3 * * *, jitter: 25h } }",
            "out of range",
        ),
        (
            "runs: { on-change: { quiet: 9s, longest: 2s } }",
            "longer than `longest`",
        ),
        (
            "components: { etcd: { on-change: true } }",
            "no change of etcd can be noticed",
        ),
        ("components: { etdc: { cron: 0 3 * * * } }", "no key `etdc`"),
    ] {
        configure(&site, more)?;
        let output = site.backupd("run").args(listen).ended_with(2).await?;
        tells(&output, &[words, "butler.yaml:"]);
    }
    configure(&site, SELDOM)?;
    let path = site.folder.join("butler.yaml");
    let good = std::fs::read_to_string(&path)?;
    let identity = std::fs::read_to_string(site.key("identity.key"))?;
    let secret = identity
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY"))
        .unwrap_or_default();
    ensure!(!secret.is_empty(), "no secret key in identity.key");
    std::fs::write(&path, good.replace(&site.recipient, secret))?;
    let output = site.backupd("run").args(listen).ended_with(2).await?;
    tells(&output, &["private"]);
    assert!(!output.stderr.contains(secret), "it repeats the key");

    let key = site.folder.join("open.key");
    std::fs::copy(site.key("signing.key"), &key)?;
    set_mode(&key, 0o644)?;
    std::fs::write(
        &path,
        good.replace(&site.key("signing.key").display().to_string(), "open.key"),
    )?;
    let output = site.backupd("run").args(listen).ended_with(2).await?;
    tells(&output, &["open to other users", "chmod 600"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_for_one_cluster_or_place_cost_the_second_alone() -> Result<()> {
    let site = ChainSite::new().await?;
    configure(&site, SELDOM)?;
    let good = std::fs::read_to_string(site.folder.join("butler.yaml"))?;
    let good = good.replace("config: talosconfig", "config: ../talosconfig");
    let schedules = site.folder.join("schedules");
    std::fs::create_dir(&schedules)?;
    std::fs::write(schedules.join("a.yaml"), &good)?;
    std::fs::write(schedules.join("b.yaml"), &good)?;
    std::fs::write(
        schedules.join("c.yaml"),
        good.replace("cluster: test", "cluster: other"),
    )?;
    let run = site.backupd("run").args(["--config", "schedules"]);
    let daemon = Daemon::start_with(run).await?;
    daemon.committed(1).await?;
    let status = daemon.status().await?;
    let errors: Vec<_> = status["files"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|file| file["error"].clone())
        .collect();
    assert_eq!(errors.first(), Some(&serde_json::Value::Null));
    assert!(
        errors
            .get(1)
            .is_some_and(|e| e.to_string().contains("has the file")),
        "{errors:?}"
    );
    assert!(
        errors
            .get(2)
            .is_some_and(|e| e.to_string().contains("overlap")),
        "{errors:?}"
    );
    assert_eq!(status["clusters"].as_array().map(Vec::len), Some(1));
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_keeps_what_it_said_and_says_so_everywhere() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    let cluster = daemon.committed(1).await?;
    let next = cluster["components"]["etcd"]["nextRun"].clone();
    let path = site.folder.join("butler.yaml");
    let good = std::fs::read_to_string(&path)?;
    std::fs::write(&path, "cluster: [")?;
    daemon.running().signal("HUP").await?;
    let file = |wanted: fn(&serde_json::Value) -> bool| {
        let daemon = &daemon;
        async move {
            let check = || async {
                let status = daemon.status().await?;
                let is = wanted(&status["files"][0]["error"]);
                is.then_some(status).context("not yet")
            };
            until("the file's error", Duration::from_secs(20), check).await
        }
    };
    file(serde_json::Value::is_string).await?;
    let (_, metrics) = daemon.get("/metrics").await?;
    assert!(
        metrics.contains("butler_backup_config_file_broken{file=\"butler.yaml\"} 1.0"),
        "{metrics}"
    );
    assert_eq!(
        daemon.cluster().await?["components"]["etcd"]["nextRun"],
        next
    );
    // The change is noticed without a signal.
    std::fs::write(&path, good.replace("0 3 29 2 *", "5 4 29 2 *"))?;
    file(serde_json::Value::is_null).await?;
    daemon
        .until("the new schedule", |c| {
            c["components"]["etcd"]["cron"] == "5 4 29 2 *"
        })
        .await?;
    let output = daemon.stop().await?.ended_with(0)?;
    tells(
        &output,
        &[
            "a file cannot be used; what it said before stays in force",
            "butler.yaml:1",
        ],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_another_cluster_is_left_alone() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    configure(&site, SELDOM)?;
    let path = site.folder.join("butler.yaml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, text.replace("cluster: test", "cluster: other"))?;
    let daemon = Daemon::start_with(site.backupd("run")).await?;
    let check = || async {
        let status = daemon.status().await?;
        let failed = status["clusters"][0]["totals"]["failed"].as_u64() > Some(0);
        failed.then_some(status).context("not yet")
    };
    let status = until("a refusal", Duration::from_secs(30), check).await?;
    let cause = status["clusters"][0]["components"]["etcd"]["lastFailure"]["cause"].to_string();
    assert!(cause.contains("was claimed for cluster `test`"), "{cause}");
    daemon.stop().await?.ended_with(0)?;
    assert_eq!(
        site.keys()
            .await?
            .iter()
            .filter(|k| k.starts_with("manifests/"))
            .count(),
        1,
        "{PREFIX}"
    );
    Ok(())
}
