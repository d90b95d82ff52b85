//! Restore points that somebody asks a running daemon for.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use e2e::proxy::{Fault, Lasting};
use http::{Method, StatusCode};
use serde_json::Value;

use super::bed::{Bed, tells};
use super::running::{Daemon, SELDOM};

/// Nothing is due, nothing is made up for.
const IDLE: &str = "components: { etcd: { cron: 0 3 29 2 *, catch-up: false } }\n";

fn lines(text: &str) -> Result<Vec<Value>> {
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .context("no JSON in each line")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_to_its_result_and_a_key_makes_it_one() -> Result<()> {
    let bed = Bed::new().await?;
    let daemon = Daemon::start(&bed, IDLE, &[]).await?;
    let key = [("idempotency-key", "upgrade-42")];
    let body = r#"{"components":["etcd"],"reason":"before 1.36","pin":true}"#;
    let (status, text) = daemon.post("", &key, body).await?;
    assert_eq!(status, StatusCode::OK, "{text}");
    let told = lines(&text)?;
    let (first, last) = (
        told.first().context("nothing")?,
        told.last().context("nothing")?,
    );
    assert_eq!(first["cause"], "demand");
    assert_eq!(last["state"], "committed", "{text}");
    assert!(
        told.iter().any(|line| line["state"] == "verifying"),
        "{text}"
    );
    let result = &last["result"];
    assert_eq!(result["pinned"], true);
    assert_eq!(result["reason"], "before 1.36");
    // Once more with the same key: the same run, at once.
    let (_, again) = daemon.post("", &key, body).await?;
    assert_eq!(
        lines(&again)?.last().context("nothing")?["run"],
        last["run"]
    );
    let (status, _) = daemon.post("", &key, "{}").await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, run) = daemon
        .get(&format!(
            "/v1/runs/{}",
            last["run"].as_str().context("no id")?
        ))
        .await?;
    assert_eq!(
        serde_json::from_str::<Value>(&run)?["restorePoint"],
        last["restorePoint"]
    );
    assert_eq!(bed.listed().await?.len(), 1);

    let snapshot = bed.backupd("snapshot").args(["--daemon", &daemon.url()]);
    let snapshot = snapshot.args([
        "--component",
        "etcd",
        "--reason",
        "by hand",
        "--output",
        "json",
    ]);
    let output = snapshot.output().await?.ended_with(0)?;
    let taken = output.json()?;
    assert_eq!(taken["reason"], "by hand");
    tells(&output, &["etcd snapshot from", "Committed."]);
    assert_eq!(
        bed.listed().await?.first().map(String::as_str),
        taken["restorePoint"].as_str()
    );
    bed.verified("latest").await?;
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_with_what_is_allowed() -> Result<()> {
    let bed = Bed::new().await?;
    let daemon = Daemon::start(&bed, IDLE, &[]).await?;
    for (body, status, words) in [
        ("{", 400, "EOF"),
        (r#"{"componets":[]}"#, 400, "components"),
        (r#"{"components":["etdc"]}"#, 400, "this version backs up"),
        (r#"{"cluster":"other"}"#, 404, "not one of this daemon"),
        (r#"{"cluster":"No Name"}"#, 400, "No Name"),
    ] {
        let (got, text) = daemon.post("", &[], body).await?;
        assert_eq!(got.as_u16(), status, "{body}: {text}");
        assert!(text.contains(words), "{text}");
    }
    let large = format!(r#"{{"reason":"{}"}}"#, "x".repeat(100_000));
    assert_eq!(
        daemon.post("", &[], &large).await?.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let origin = [("origin", "https://example.com")];
    assert_eq!(
        daemon.post("", &origin, "{}").await?.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        daemon.get("/v1/snapshots").await?.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(daemon.get("/").await?.0, StatusCode::NOT_FOUND);
    daemon.stop().await?.ended_with(0)?;
    assert_eq!(bed.listed().await?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nobody_is_heard_without_it() -> Result<()> {
    let bed = Bed::new().await?;
    let file = bed.folder.join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let run = bed
        .backupd("run")
        .args(["--token-file", "token", "--listen", "127.0.0.1:0"]);
    tells(&run.output().await?.ended_with(2)?, &["chmod 600"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;

    let daemon = Daemon::start(&bed, IDLE, &["--token-file", "token"]).await?;
    let wait = "?wait=false";
    assert_eq!(
        daemon.post(wait, &[], "{}").await?.0,
        StatusCode::UNAUTHORIZED
    );
    let wrong = [("authorization", "Bearer 0123456789abcdef0123456789abcdee")];
    assert_eq!(
        daemon.post(wait, &wrong, "{}").await?.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(daemon.get("/metrics").await?.0, StatusCode::OK);
    let ask = || {
        bed.backupd("snapshot")
            .args(["--daemon", &daemon.url(), "--component", "etcd"])
    };
    tells(&ask().output().await?.ended_with(6)?, &["401"]);
    ask()
        .args(["--token-file", "token"])
        .output()
        .await?
        .ended_with(0)?;
    let output = daemon.stop().await?.ended_with(0)?;
    assert!(
        !output.stderr.contains("0123456789abcdef"),
        "the token is in the log"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_and_a_due_run_is_skipped_not_queued() -> Result<()> {
    let bed = Bed::new().await?;
    bed.proxy
        .on_path(Some(Method::PUT), "packs/", Fault::Hold, Lasting::After(0));
    let minutely = "components: { etcd: { cron: '* * * * *' } }\n";
    let daemon = Daemon::start(&bed, minutely, &["--grace", "0"]).await?;
    bed.proxy.holding().await;
    for _ in 0..4 {
        assert_eq!(
            daemon.post("?wait=false", &[], "{}").await?.0,
            StatusCode::ACCEPTED
        );
    }
    let (status, text) = daemon.post("?wait=false", &[], "{}").await?;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{text}");
    assert_eq!(
        daemon
            .metric("butler_backup_runs_queued{cluster=\"test\"}")
            .await?,
        4.0
    );
    let skipped = |c: &Value| c["components"]["etcd"]["skipped"].as_u64() > Some(0);
    daemon.until("a run that is skipped", skipped).await?;
    assert_eq!(
        daemon
            .metric("butler_backup_runs_queued{cluster=\"test\"}")
            .await?,
        4.0
    );
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stops_tells_those_who_wait() -> Result<()> {
    let bed = Bed::new().await?;
    bed.proxy
        .on_path(Some(Method::PUT), "packs/", Fault::Hold, Lasting::After(0));
    let daemon = Daemon::start(&bed, SELDOM, &["--grace", "1"]).await?;
    bed.proxy.holding().await;
    let waiting = bed
        .backupd("snapshot")
        .args(["--daemon", &daemon.url()])
        .start()?;
    daemon
        .until("one that waits", |c| c["run"].is_object())
        .await?;
    let queued = "butler_backup_runs_queued{cluster=\"test\"}";
    while daemon.metric(queued).await? < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    daemon.stop().await?.ended_with(0)?;
    tells(
        &waiting.ended().await?.ended_with(1)?,
        &["the daemon is stopping"],
    );
    Ok(())
}
