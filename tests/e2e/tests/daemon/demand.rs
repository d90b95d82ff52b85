//! Tests of restore points that somebody requests from a running daemon.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::folder::set_mode;
use e2e::proxy::{Fault, Lasting};
use e2e::run::tells;
use e2e::wait::until;
use http::{Method, StatusCode};
use serde_json::Value;

use super::running::{Daemon, SELDOM, configure};
use super::site::ChainSite;

/// Schedule with which nothing is due and nothing is made up for.
const IDLE: &str = "components: { etcd: { cron: 0 3 29 2 *, catch-up: false } }\n";

fn lines(text: &str) -> Result<Vec<Value>> {
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .context("no JSON in each line")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_to_its_result_and_a_key_makes_it_one() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, IDLE, &[]).await?;
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
    // A second request with the same key returns the same run, at once.
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
    assert_eq!(site.listed().await?.len(), 1);

    let snapshot = site.backupd("snapshot").args(["--daemon", &daemon.url()]);
    let snapshot = snapshot.args([
        "--component",
        "etcd",
        "--reason",
        "by hand",
        "--output",
        "json",
    ]);
    let output = snapshot.ended_with(0).await?;
    let taken = output.json()?;
    assert_eq!(taken["reason"], "by hand");
    tells(&output, &["etcd snapshot from", "Committed."]);
    assert_eq!(
        site.listed().await?.first().map(String::as_str),
        taken["restorePoint"].as_str()
    );
    site.verified("latest").await?;
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_with_what_is_allowed() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, IDLE, &[]).await?;
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
    assert_eq!(site.listed().await?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nobody_is_heard_without_it() -> Result<()> {
    let site = ChainSite::new().await?;
    let file = site.folder.join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n")?;
    set_mode(&file, 0o644)?;
    let run = site
        .backupd("run")
        .args(["--token-file", "token", "--listen", "127.0.0.1:0"]);
    let run = run.args(["--health-listen", "127.0.0.1:0"]);
    tells(&run.ended_with(2).await?, &["chmod 600"]);
    set_mode(&file, 0o600)?;

    let daemon = Daemon::start(&site, IDLE, &["--token-file", "token"]).await?;
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
    // Metrics and health are open; pages on clusters and restore points are not.
    for page in ["/metrics", "/healthz", "/readyz"] {
        let status = daemon.get(page).await?.0;
        assert_ne!(status, StatusCode::UNAUTHORIZED, "{page}");
    }
    let right = [("authorization", "Bearer 0123456789abcdef0123456789abcdef")];
    for page in [
        "/v1/status",
        "/v1/restore-points",
        "/v1/runs/x",
        "/v1/runs/x/events",
    ] {
        let refused = daemon.get(page).await?;
        assert_eq!(refused.0, StatusCode::UNAUTHORIZED, "{page}");
        assert!(!refused.1.contains("test"), "{}", refused.1);
        let told = daemon.get_with(page, &right).await?.0;
        assert_ne!(told, StatusCode::UNAUTHORIZED, "{page}");
        // A page in a browser is refused, whatever credentials the browser adds.
        let page_of_browser = [right[0], ("origin", "http://127.0.0.1")];
        let refused = daemon.get_with(page, &page_of_browser).await?.0;
        assert_eq!(refused, StatusCode::FORBIDDEN, "{page}");
    }
    let status = daemon.get_with("/v1/status", &right).await?;
    assert_eq!(status.0, StatusCode::OK, "{}", status.1);
    let ask = || {
        site.backupd("snapshot")
            .args(["--daemon", &daemon.url(), "--component", "etcd"])
    };
    tells(&ask().ended_with(6).await?, &["401"]);
    ask().args(["--token-file", "token"]).ended_with(0).await?;
    let output = daemon.stop().await?.ended_with(0)?;
    assert!(
        !output.stderr.contains("0123456789abcdef"),
        "the token is in the log"
    );

    let open = ["--token-file", "token", "--open-reads"];
    let daemon = Daemon::start(&site, IDLE, &open).await?;
    assert_eq!(daemon.get("/v1/status").await?.0, StatusCode::OK);
    let refused = daemon.post(wait, &[], "{}").await?.0;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_sent_in_the_clear_unasked() -> Result<()> {
    let site = ChainSite::new().await?;
    configure(&site, IDLE)?;
    let file = site.folder.join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n")?;
    set_mode(&file, 0o600)?;
    let run = site.backupd("run").args(["--token-file", "token"]);
    for listen in ["0.0.0.0:0", "[::]:0", "10.255.255.1:8080"] {
        let run = run.clone().args(["--listen", listen]);
        let run = run.args(["--health-listen", "127.0.0.1:0"]);
        let refused = run.ended_with(2).await?;
        tells(
            &refused,
            &["in the clear", "--tls-cert", "--insecure-token"],
        );
    }
    let port = e2e::port::Port::reserve()?;
    let run = run.args(["--listen", &format!("0.0.0.0:{port}"), "--insecure-token"]);
    let run = run.args(["--health-listen", "127.0.0.1:0"]).start()?;
    let url = format!("http://127.0.0.1:{port}");
    until(
        "a daemon that answers",
        Duration::from_secs(90),
        async || {
            let ask = site.backupd("snapshot").args(["--daemon", &url]);
            let ask = ask.args(["--component", "etcd", "--token-file", "token"]);
            ask.output().await?.ended_with(0).map(drop)
        },
    )
    .await?;
    run.signal("TERM").await?;
    run.ended().await?.ended_with(0)?;

    // The client does not send the token to another machine, either.
    let ask = site.backupd("snapshot").args(["--token-file", "token"]);
    let ask = ask.args(["--daemon", "http://butler-backup.example:8080"]);
    let refused = ask.ended_with(2).await?;
    tells(&refused, &["in the clear", "https", "--insecure-token"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_name_is_refused() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, IDLE, &["--name", "butler.example.org"]).await?;
    for own in ["127.0.0.1", "localhost:8080", "[::1]", "butler.example.org"] {
        let told = daemon.get_with("/v1/status", &[("host", own)]).await?;
        assert_eq!(told.0, StatusCode::OK, "{own}: {}", told.1);
    }
    // A name of somebody else's that points to this machine.
    let other = [("host", "rebound.example.com:8080")];
    for page in ["/v1/status", "/v1/restore-points", "/v1/runs/x"] {
        let refused = daemon.get_with(page, &other).await?;
        assert_eq!(refused.0, StatusCode::MISDIRECTED_REQUEST, "{page}");
        assert!(
            refused.1.contains("--name rebound.example.com"),
            "{}",
            refused.1
        );
    }
    let refused = daemon.post("", &other, "{}").await?;
    assert_eq!(refused.0, StatusCode::MISDIRECTED_REQUEST);
    for open in ["/metrics", "/healthz"] {
        assert_eq!(daemon.get_with(open, &other).await?.0, StatusCode::OK);
    }
    daemon.stop().await?.ended_with(0)?;
    assert_eq!(site.listed().await?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_and_a_due_run_is_skipped_not_queued() -> Result<()> {
    let site = ChainSite::new().await?;
    site.proxy
        .on_path(Some(Method::PUT), "packs/", Fault::Hold, Lasting::After(0));
    let minutely = "components: { etcd: { cron: '* * * * *' } }\n";
    let daemon = Daemon::start(&site, minutely, &["--grace", "0"]).await?;
    site.proxy.holding().await;
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
    let site = ChainSite::new().await?;
    site.proxy
        .on_path(Some(Method::PUT), "packs/", Fault::Hold, Lasting::After(0));
    let daemon = Daemon::start(&site, SELDOM, &["--grace", "1"]).await?;
    site.proxy.holding().await;
    let waiting = site
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
