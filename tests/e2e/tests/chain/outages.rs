//! Tests of a busy store, a lost reply, and two runs at once.

use std::time::Duration;

use anyhow::Result;
use e2e::proxy::{Fault, Lasting};
use http::Method;

use super::bed::Bed;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_slow_down_for_a_while_is_waited_for() -> Result<()> {
    let bed = Bed::new().await?;
    // The store's own tests try thirty seconds of it; the budget is the same here.
    let outage = Lasting::For(Duration::from_secs(6), None);
    let busy = Fault::Answer(503, "SlowDown");
    bed.proxy.on_path(None, "", busy, outage);
    bed.snapshot().await?;
    assert!(
        bed.proxy.seen().len() > bed.keys().await?.len(),
        "nothing was refused"
    );
    bed.verified("latest").await?;

    bed.proxy.forget();
    let outage = Lasting::For(Duration::from_secs(3), None);
    bed.proxy.on_path(None, "", busy, outage);
    bed.fetch("latest").output().await?.ended_with(0)?;
    assert!(bed.audit(0).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_whose_replies_are_lost_are_done_once() -> Result<()> {
    let bed = Bed::new().await?;
    let lost = Lasting::Times(4);
    bed.proxy.on(Method::PUT, Fault::LoseReply, lost);
    bed.snapshot().await?;
    for part in [
        "packs/",
        "recipes/",
        "indexes/",
        "manifests/",
        "signatures/",
    ] {
        bed.change().await?;
        bed.proxy.forget();
        let lost = Lasting::Times(1);
        bed.proxy
            .on_path(Some(Method::PUT), part, Fault::LoseReply, lost);
        bed.snapshot().await?;
        let puts = bed.proxy.seen().into_iter();
        let puts = puts.filter(|seen| seen.method == Method::PUT && seen.path.contains(part));
        assert!(puts.count() >= 2, "no reply for {part} was lost");
        bed.verified("latest").await?;
    }
    assert_eq!(bed.listed().await?.len(), 6);
    assert!(bed.audit(0).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_are_two_restore_points() -> Result<()> {
    let bed = Bed::new().await?;
    // The first pair claims the prefix together; the second finds it claimed.
    for restore_points in [2, 4] {
        let (one, other) = tokio::try_join!(bed.snapshot(), bed.snapshot())?;
        assert_ne!(one, other);
        let listed = bed.listed().await?;
        assert_eq!(listed.len(), restore_points);
        for id in [one, other] {
            assert!(listed.contains(&id));
            let verify = bed.restore_cli("verify").arg(&id);
            verify.output().await?.ended_with(0)?;
        }
        bed.change().await?;
    }
    let worse = bed.audit(0).await?.into_iter();
    let worse: Vec<_> = worse
        .filter(|finding| finding["severity"] != "info")
        .collect();
    assert!(worse.is_empty(), "{worse:?}");
    Ok(())
}
