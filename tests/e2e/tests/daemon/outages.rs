//! Tests of stores and talosconfigs that go away and come back.

use std::time::Duration;

use anyhow::Result;
use e2e::proxy::{Fault, Lasting};
use e2e::run::tells;
use e2e::talos::ClientSpec;
use http::{Method, StatusCode};

use super::running::{Daemon, SELDOM};
use super::site::ChainSite;

const ETCD: &str = "{\"components\":[\"etcd\"]}";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_waited_for_and_made_up_for_once() -> Result<()> {
    let site = ChainSite::new().await?;
    site.proxy.on_path(
        None,
        "",
        Fault::Answer(403, "AccessDenied"),
        Lasting::After(0),
    );
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    let cluster = daemon
        .until("a store that is away", |c| c["storeError"].is_string())
        .await?;
    assert_eq!(cluster["totals"]["committed"], 0);
    assert_eq!(
        daemon.get("/readyz").await?.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        daemon
            .metric("butler_backup_store_reachable{cluster=\"test\"}")
            .await?,
        0.0
    );
    site.proxy.forget();
    daemon.committed(1).await?;
    assert_eq!(
        daemon
            .metric("butler_backup_store_reachable{cluster=\"test\"}")
            .await?,
        1.0
    );
    let skew = daemon
        .metric("butler_backup_clock_skew_seconds{cluster=\"test\"}")
        .await?;
    assert!(skew.abs() <= 2.0, "{skew}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon.stop().await?.ended_with(0)?;
    assert_eq!(site.listed().await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_after_the_commit_fails_the_run() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    daemon.committed(1).await?;
    site.change().await?;
    site.proxy.forget();
    site.proxy.on_path(
        Some(Method::HEAD),
        "packs/",
        Fault::Answer(404, "NotFound"),
        Lasting::Times(1),
    );
    let (_, text) = daemon.post("", &[], ETCD).await?;
    // The run reports it, and takes another restore point, which is whole.
    let cluster = daemon.committed(2).await?;
    assert_eq!(cluster["totals"]["retries"], 1, "{text}");
    let output = daemon.stop().await?.ended_with(0)?;
    assert!(
        output
            .stderr
            .contains("was put but is not in the store as it should be"),
        "{}",
        output.stderr
    );
    site.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talosconfig_that_is_renewed_is_read_anew() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    daemon.committed(1).await?;
    let expiry = "butler_backup_certificate_expiry_timestamp_seconds{cluster=\"test\",kind=\"talosconfig\",name=\"\"}";
    assert!(daemon.metric(expiry).await? > 1.7e9);
    // The file is just being written.
    let whole = site
        .talos
        .talosconfig(&ClientSpec::of(&["os:etcd:backup"]))?;
    let (half, _) = whole.split_at(whole.len() / 2);
    site.talosconfig(half)?;
    let (status, _) = daemon.post("?wait=false", &[], ETCD).await?;
    assert_eq!(status, StatusCode::ACCEPTED);
    daemon
        .until("a second try", |c| c["run"]["tries"].as_u64() > Some(1))
        .await?;
    site.talosconfig(&whole)?;
    daemon.committed(2).await?;
    daemon.stop().await?.ended_with(0)?;
    site.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_another_time_is_told_everywhere() -> Result<()> {
    let site = ChainSite::new().await?;
    // One answer only, the first one: the SDK signs by the time of the answers, and the server would refuse
    // everything that is signed by another time than its own.
    let hour_ahead = Fault::Date(3600);
    site.proxy
        .on_path(Some(Method::GET), "", hour_ahead, Lasting::Times(1));
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    let hour = |seconds: i64| (-3610..=-3590).contains(&seconds);
    let told = |c: &serde_json::Value| c["clockSkewSeconds"].as_i64().is_some_and(hour);
    daemon.until("a skew of an hour", told).await?;
    let skew = daemon
        .metric("butler_backup_clock_skew_seconds{cluster=\"test\"}")
        .await?;
    assert!((-3610.0..=-3590.0).contains(&skew), "{skew}");
    // Restore points carry the daemon's time; a wrong time of the store does not stop them.
    daemon.committed(1).await?;
    let output = daemon.stop().await?.ended_with(0)?;
    let told = "this machine's clock differs from the store's";
    tells(&output, &[told]);
    site.verified("latest").await?;
    Ok(())
}
