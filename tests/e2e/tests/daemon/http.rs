//! The listener under clients that are slow, many or rude.

use std::time::Duration;

use anyhow::{Context as _, Result};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bed::Bed;
use super::running::{Daemon, SELDOM};

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_up_nobody_and_are_cut() -> Result<()> {
    let bed = Bed::new().await?;
    let daemon = Daemon::start(&bed, SELDOM, &[]).await?;
    daemon.committed(1).await?;
    // Heads that never end.
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-")
            .await?;
        slow.push(stream);
    }
    // Followers that read nothing.
    let body = "{\"components\":[\"etcd\"]}";
    for _ in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).await?;
        let head = format!(
            "POST /v1/snapshots HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        slow.push(stream);
    }
    daemon.committed(4).await?;
    assert_eq!(daemon.get("/healthz").await?.0, StatusCode::OK);
    // The heads were given ten seconds.
    let first = slow.first_mut().context("no connection")?;
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), first.read_to_end(&mut rest))
        .await
        .context("it was not cut")??;
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_are_taken_wait_and_are_served() -> Result<()> {
    let bed = Bed::new().await?;
    let daemon = Daemon::start(&bed, SELDOM, &[]).await?;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(TcpStream::connect(("127.0.0.1", daemon.port())).await?);
    }
    // The silent ones are cut after ten seconds; then it is the turn of this one.
    let mut late = TcpStream::connect(("127.0.0.1", daemon.port())).await?;
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(60), late.read_to_string(&mut answer));
    read.await.context("it was not served")??;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_a_hundred_times_a_second_cost_a_run_nothing() -> Result<()> {
    let bed = Bed::new().await?;
    let daemon = Daemon::start(&bed, SELDOM, &[]).await?;
    let scraped = async {
        let mut every = tokio::time::interval(Duration::from_millis(10));
        let mut scrapes = 0_u32;
        while scrapes < 500 {
            every.tick().await;
            let (status, text) = daemon.get("/metrics").await?;
            assert_eq!(status, StatusCode::OK);
            assert!(text.ends_with("# EOF\n"), "{text}");
            scrapes += 1;
        }
        anyhow::Ok(())
    };
    let (scraped, committed) = tokio::join!(scraped, daemon.committed(1));
    scraped?;
    committed?;
    daemon.stop().await?.ended_with(0)?;
    bed.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_answer_nor_in_the_log_at_trace() -> Result<()> {
    let bed = Bed::new().await?;
    let daemon = Daemon::start(&bed, SELDOM, &["--log-level", "trace"]).await?;
    daemon.committed(1).await?;
    let mut told = String::new();
    for page in ["/v1/status", "/v1/restore-points", "/metrics", "/readyz"] {
        told.push_str(&daemon.get(page).await?.1);
    }
    told.push_str(&daemon.post("", &[], "{\"components\":[\"etcd\"]}").await?.1);
    told.push_str(&daemon.stop().await?.ended_with(0)?.stderr);
    let mut secrets: Vec<String> = Vec::new();
    for name in ["signing.key", "identity.key"] {
        let text = std::fs::read_to_string(bed.ground.key(name))?;
        secrets.extend(
            text.lines()
                .filter(|line| line.len() > 40 && !line.contains(' '))
                .map(ToOwned::to_owned),
        );
    }
    let talosconfig = std::fs::read_to_string(bed.folder.join("talosconfig"))?;
    let key = talosconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("key: "));
    secrets.push(key.context("no key")?.to_owned());
    secrets.extend(
        bed.ground
            .s3
            .keys()
            .env()
            .into_iter()
            .filter(|(name, _)| name.contains("SECRET"))
            .map(|(_, v)| v),
    );
    assert!(secrets.len() >= 4, "{}", secrets.len());
    assert!(told.contains("TRACE"), "nothing was logged at trace");
    for secret in secrets {
        assert!(!told.contains(&secret), "a secret was told");
    }
    Ok(())
}
