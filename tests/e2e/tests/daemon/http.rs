//! Tests of the listener with clients that are slow, many or rude.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::wait::until;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::running::{Daemon, SELDOM};
use super::site::ChainSite;

/// Connects from the address 127.0.HIGH.LOW, which counts as a client of its own.
async fn from(high: u8, low: u8, port: u16) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind((Ipv4Addr::new(127, 0, high, low), 0).into())?;
    Ok(socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?)
}

/// Requests `/healthz` once.
async fn probe(mut stream: TcpStream) -> Result<()> {
    let head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let ask = async {
        stream.write_all(head).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    };
    // A probe of Kubernetes waits for one second; a busy machine gets some more.
    tokio::time::timeout(Duration::from_secs(4), ask)
        .await
        .context("too late")?
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_up_nobody_and_are_cut() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    daemon.committed(1).await?;
    // Heads that never end.
    let mut slow = Vec::new();
    for _ in 0..12 {
        let mut stream = from(0, 2, daemon.port()).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-")
            .await?;
        slow.push(stream);
    }
    // Followers that read nothing.
    let body = "{\"components\":[\"etcd\"]}";
    for _ in 0..3 {
        let mut stream = from(0, 2, daemon.port()).await?;
        let head = format!(
            "POST /v1/snapshots HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        slow.push(stream);
    }
    // A body that never ends.
    let mut unended = from(0, 3, daemon.port()).await?;
    let head = b"POST /v1/snapshots HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{";
    unended.write_all(head).await?;
    daemon.committed(4).await?;
    assert_eq!(daemon.get("/healthz").await?.0, StatusCode::OK);
    // The heads have ten seconds.
    let first = slow.first_mut().context("no connection")?;
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), first.read_to_end(&mut rest))
        .await
        .context("it was not cut")??;
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(30), unended.read_exact(&mut answer))
        .await
        .context("the body was waited for")??;
    assert_eq!(&answer, b"HTTP/1.1 408");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_that_read_nothing_stop_no_probe_and_are_cut() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    daemon.committed(1).await?;
    // They send until no more is accepted, and never read: they use all connections.
    let mut writers = JoinSet::new();
    for low in 1..=64 {
        let mut stream = from(1, low, daemon.port()).await?;
        writers.spawn(async move {
            let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
            while stream.write_all(head).await.is_ok() {}
        });
    }
    let began = Instant::now();
    let cut = async {
        while writers.join_next().await.is_some() {}
        began.elapsed()
    };
    let probes = async {
        loop {
            let probed = probe(from(0, 3, daemon.health_port()).await?).await;
            probed.with_context(|| format!("after {:?}", began.elapsed()))?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let limit = tokio::time::sleep(Duration::from_secs(90));
    let took = tokio::select! {
        took = cut => took,
        failed = probes => return failed,
        () = limit => anyhow::bail!("they were not cut"),
    };
    eprintln!("all were cut after {took:?}");
    // There is room for others again.
    assert_eq!(daemon.get("/v1/status").await?.0, StatusCode::OK);
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_too_many_connections_leaves_room_for_others() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(from(0, 2, daemon.port()).await?);
        held.push(from(0, 2, daemon.health_port()).await?);
    }
    // Served at once, also while that client keeps all connections that it may have.
    probe(from(0, 3, daemon.port()).await?).await?;
    probe(from(0, 3, daemon.health_port()).await?).await?;
    // On the health listener even that client gets an answer; on the other its sixteen connections are the
    // limit.
    probe(from(0, 2, daemon.health_port()).await?).await?;
    probe(from(0, 2, daemon.port()).await?).await.unwrap_err();
    drop(held);
    let again = async || probe(from(0, 2, daemon.port()).await?).await;
    until("room for that client", Duration::from_secs(30), again).await?;
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_a_hundred_times_a_second_cost_a_run_nothing() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
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
    site.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_answer_nor_in_the_log_at_trace() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &["--log-level", "trace"]).await?;
    daemon.committed(1).await?;
    let mut told = String::new();
    for page in ["/v1/status", "/v1/restore-points", "/metrics", "/readyz"] {
        told.push_str(&daemon.get(page).await?.1);
    }
    told.push_str(&daemon.post("", &[], "{\"components\":[\"etcd\"]}").await?.1);
    told.push_str(&daemon.stop().await?.ended_with(0)?.stderr);
    let mut secrets: Vec<String> = Vec::new();
    for name in ["signing.key", "identity.key"] {
        let text = std::fs::read_to_string(site.key(name))?;
        secrets.extend(
            text.lines()
                .filter(|line| line.len() > 40 && !line.contains(' '))
                .map(ToOwned::to_owned),
        );
    }
    let talosconfig = std::fs::read_to_string(site.folder.join("talosconfig"))?;
    let key = talosconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("key: "));
    secrets.push(key.context("no key")?.to_owned());
    secrets.extend(
        site.s3
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
