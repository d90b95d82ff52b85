//! Tests of a busy store, a lost reply, and two runs at once.

use std::time::Duration;

use anyhow::Result;
use e2e::proxy::{Fault, Lasting};
use http::Method;

use super::site::ChainSite;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_slow_down_for_a_while_is_waited_for() -> Result<()> {
    let site = ChainSite::new().await?;
    // The store's own tests try thirty seconds of it; the budget is the same here.
    let outage = Lasting::For(Duration::from_secs(6), None);
    let busy = Fault::Answer(503, "SlowDown");
    site.proxy.on_path(None, "", busy, outage);
    site.snapshot().await?;
    assert!(
        site.proxy.seen().len() > site.keys().await?.len(),
        "nothing was refused"
    );
    site.verified("latest").await?;

    site.proxy.forget();
    let outage = Lasting::For(Duration::from_secs(3), None);
    site.proxy.on_path(None, "", busy, outage);
    site.fetch("latest").ended_with(0).await?;
    assert!(site.audit(0).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_whose_replies_are_lost_are_done_once() -> Result<()> {
    let site = ChainSite::new().await?;
    let lost = Lasting::Times(4);
    site.proxy.on(Method::PUT, Fault::LoseReply, lost);
    site.snapshot().await?;
    for part in [
        "packs/",
        "recipes/",
        "indexes/",
        "manifests/",
        "signatures/",
    ] {
        site.change().await?;
        site.proxy.forget();
        let lost = Lasting::Times(1);
        site.proxy
            .on_path(Some(Method::PUT), part, Fault::LoseReply, lost);
        site.snapshot().await?;
        let puts = site.proxy.seen().into_iter();
        let puts = puts.filter(|seen| seen.method == Method::PUT && seen.path.contains(part));
        assert!(puts.count() >= 2, "no reply for {part} was lost");
        site.verified("latest").await?;
    }
    assert_eq!(site.listed().await?.len(), 6);
    assert!(site.audit(0).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_are_two_restore_points() -> Result<()> {
    let site = ChainSite::new().await?;
    // The first pair claims the prefix together; the second finds it claimed.
    for restore_points in [2, 4] {
        let (one, other) = tokio::try_join!(site.snapshot(), site.snapshot())?;
        assert_ne!(one, other);
        let listed = site.listed().await?;
        assert_eq!(listed.len(), restore_points);
        for id in [one, other] {
            assert!(listed.contains(&id));
            let verify = site.restore_cli("verify").arg(&id);
            verify.ended_with(0).await?;
        }
        site.change().await?;
    }
    let worse = site.audit(0).await?.into_iter();
    let worse: Vec<_> = worse
        .filter(|finding| finding["severity"] != "info")
        .collect();
    assert!(worse.is_empty(), "{worse:?}");
    Ok(())
}
