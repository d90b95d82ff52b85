//! Test that a restore reads from Git what the daemon mirrored there, and that it contains no Secret.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::fresh::Fresh;
use e2e::git::{everything, git};
use e2e::port::Port;
use e2e::site::ButlerSite;
use e2e::wait::until;

use super::compare::same;
use super::rebuild::skipped;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mirrored_is_what_a_restore_reads() -> Result<()> {
    let site = ButlerSite::saved("mirror").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let folder = site.folder.path();
    let init = [
        "init",
        "--quiet",
        "--bare",
        "--initial-branch=main",
        "fleet.git",
    ];
    git(folder, &init).await?;
    let bare = folder.join("fleet.git");
    let config = folder.join("butler.yaml");
    let text = std::fs::read_to_string(&config)?;
    let mirror = "git-mirror: { repository: ./fleet.git, folder: mirror }\n";
    std::fs::write(&config, format!("{text}{mirror}"))?;

    let port = Port::reserve()?;
    let listen = format!("127.0.0.1:{port}");
    let run = site.backupd("run").args(["--listen", &listen]);
    let daemon = run.args(["--health-listen", "127.0.0.1:0"]).start()?;
    let url = format!("http://{listen}");
    until("a restore point of the daemon", LIMIT, async || {
        let snapshot = site.backupd("snapshot").args(["--daemon", &url]);
        snapshot.output().await?.ended_with(0).map(drop)
    })
    .await?;
    until("a commit", LIMIT, async || {
        git(&bare, &["rev-parse", "--verify", "--quiet", "main"])
            .await
            .map(drop)
    })
    .await?;
    daemon.signal("TERM").await?;
    let output = daemon.ended().await?.ended_with(0)?;

    let all = everything(&bare).await?;
    for canary in site.shared.butler.canaries() {
        assert!(!all.contains(canary.as_str()), "a canary is in Git");
        assert!(
            !output.stderr.contains(canary.as_str()),
            "a canary is in the log"
        );
    }
    let files = git(&bare, &["ls-tree", "-r", "--name-only", "main"])
        .await?
        .stdout;
    let resources = |file: &&str| file.starts_with("butler-backup/butler-mgmt/resources/");
    let objects = files.lines().filter(resources).count();
    assert!(objects > 20, "{files}");
    assert!(all.contains("kind: SealedSecret") && all.contains("encryptedData"));

    let from = ["--mode", "rebuild", "--from", "git:fleet.git#main"];
    let planned = site.plan(&kubeconfig, &from).await?.ended_with(0)?.json()?;
    let findings = planned["plan"]["findings"]
        .as_array()
        .context("no findings")?;
    let about_git = |finding: &&serde_json::Value| {
        let cause = finding["cause"].as_str().unwrap_or_default();
        let beside = cause.starts_with("in the archive, not in Git");
        !beside && (cause.contains("Git") || cause.contains("document"))
    };
    let told: Vec<_> = findings.iter().filter(about_git).collect();
    assert!(told.is_empty(), "{told:#?}");
    site.restored(&kubeconfig).await?;
    let compared = same(&site, &kubeconfig, &skipped(&planned)).await?;
    assert!(compared.objects > 100, "{compared:?}");
    Ok(())
}
