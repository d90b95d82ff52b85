//! Tests of programs that end in the middle: killed as by a power cut, or interrupted by Ctrl-C.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::proxy::{Fault, Lasting};
use e2e::run::tells;
use e2e::talos::CallFault;
use e2e::wait;
use http::Method;
use tokio::time::{Instant, timeout};

use super::site::ChainSite;

/// Time limit. A program does what is awaited within seconds, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Checks the state after a kill: listed restore points are whole, at most one more than `before`; the next
/// run works; leftovers of the killed run are reported and do no harm.
async fn survived(site: &ChainSite, before: usize, at: &str) -> Result<()> {
    let listed = site.listed().await.with_context(|| at.to_owned())?;
    ensure!(
        (before..=before + 1).contains(&listed.len()),
        "{at}: {listed:?}"
    );
    if let Some(newest) = listed.first().filter(|_| listed.len() > before) {
        site.verified(newest).await.with_context(|| at.to_owned())?;
    }
    let id = site.snapshot().await.with_context(|| at.to_owned())?;
    ensure!(
        site.listed().await?.first() == Some(&id),
        "{at}: not listed"
    );
    site.verified(&id).await.with_context(|| at.to_owned())?;
    let findings = site.audit(0).await.with_context(|| at.to_owned())?;
    ensure!(
        findings.iter().all(|finding| finding["severity"] == "info"),
        "{at}: {findings:?}"
    );
    Ok(())
}

/// Starts a run, kills it when its request number `n` is held, and returns whether it got that far.
async fn kill_at(site: &ChainSite, n: u32, fault: Fault) -> Result<bool> {
    site.proxy.forget();
    site.proxy.on_path(None, "", fault, Lasting::After(n));
    let run = site.backupd("snapshot").start()?;
    let held = timeout(LIMIT, site.proxy.holding()).await;
    run.kill().await?;
    site.proxy.forget();
    Ok(held.is_ok())
}

/// Returns the number of requests that a run on this site makes.
async fn requests(site: &ChainSite) -> Result<u32> {
    site.proxy.forget();
    site.snapshot().await?;
    let count = site.proxy.seen().len();
    site.proxy.forget();
    Ok(u32::try_from(count)?)
}

/// Number of kills in a series. With both sides of each request, of a first run and of a later one, and ten
/// points in time, there are fifty kills.
const ENOUGH: u32 = 10;

/// Both sides of each request: the store has not received it, or has executed it already.
const SIDES: [Fault; 2] = [Fault::Hold, Fault::HoldReply];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_killed_at_any_request_leaves_all_or_nothing() -> Result<()> {
    let site = ChainSite::new().await?;
    let requests = requests(&site).await?;
    ensure!(requests >= ENOUGH, "only {requests} requests");
    for n in 0..requests {
        for fault in SIDES {
            let at = format!("killed at request {n} of {requests}, {fault:?}");
            site.configure(&site.bucket, &format!("first/{n}-{fault:?}"))?;
            ensure!(kill_at(&site, n, fault).await?, "never {at}");
            survived(&site, 0, &at).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_killed_at_any_request_leaves_all_or_nothing() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    site.change().await?;
    let requests = requests(&site).await?;
    ensure!(requests >= ENOUGH, "only {requests} requests");
    for n in 0..requests {
        for fault in SIDES {
            let at = format!("killed at request {n} of {requests}, {fault:?}");
            site.change().await?;
            let before = site.listed().await?.len();
            ensure!(kill_at(&site, n, fault).await?, "never {at}");
            survived(&site, before, &at).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_any_time_leaves_all_or_nothing() -> Result<()> {
    const POINTS: u32 = 10;
    let site = ChainSite::new().await?;
    let began = Instant::now();
    site.snapshot().await?;
    let step = began.elapsed() / POINTS;
    for n in 0..POINTS {
        site.configure(&site.bucket, &format!("time/{n}"))?;
        let run = site.backupd("snapshot").start()?;
        // The sleep spreads the kills over a run; it does not wait for a condition.
        tokio::time::sleep(step * n).await;
        run.kill().await?;
        survived(&site, 0, &format!("killed after {:?}", step * n)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_run_without_a_restore_point() -> Result<()> {
    let site = ChainSite::new().await?;
    // While the store does not answer.
    let put = Some(Method::PUT);
    site.proxy
        .on_path(put, "/packs/", Fault::Hold, Lasting::After(0));
    let run = site.backupd("snapshot").start()?;
    timeout(LIMIT, site.proxy.holding())
        .await
        .context("no pack came")?;
    // The first Ctrl-C waits for requests in flight, which a silent store never ends.
    let output = run.interrupted_until_it_ends().await?.ended_with(130)?;
    tells(
        &output,
        &["Ctrl-C", "once more stops at once", "interrupted"],
    );
    site.proxy.forget();
    assert!(site.listed().await?.is_empty());

    // While a node does not answer.
    site.fault(|faults| {
        faults.calls.insert("EtcdSnapshot", CallFault::Hang);
    });
    let asked = site.talos.seen().len();
    let run = site.backupd("snapshot").start()?;
    wait::until("a call of EtcdSnapshot", LIMIT, async || {
        let seen = site.talos.seen().split_off(asked);
        ensure!(
            seen.iter().any(|call| call.method == "EtcdSnapshot"),
            "not yet"
        );
        Ok(())
    })
    .await?;
    run.interrupt().await?;
    let output = run.ended().await?.ended_with(130)?;
    tells(&output, &["Ctrl-C", "interrupted"]);
    site.fault(|faults| faults.calls.clear());
    assert!(site.listed().await?.is_empty());
    survived(&site, 0, "interrupted").await
}

/// Prepares a restore point of two packs, and starts a fetch of which one pack has arrived.
async fn half_fetched(site: &ChainSite) -> Result<e2e::run::Running> {
    site.snapshot().await?;
    site.change().await?;
    site.snapshot().await?;
    site.proxy.forget();
    let get = Some(Method::GET);
    site.proxy
        .on_path(get, "/packs/", Fault::Hold, Lasting::After(1));
    let run = site.fetch("latest").start()?;
    timeout(LIMIT, site.proxy.holding())
        .await
        .context("no second pack")?;
    let packs: Vec<_> = site.gets("/packs/");
    let parts = site.folder.join("etcd.db.parts");
    wait::until("the first pack", LIMIT, async || {
        ensure!(
            packs.iter().any(|pack| parts.join(name(pack)).exists()),
            "not yet"
        );
        Ok(())
    })
    .await?;
    site.proxy.forget();
    Ok(run)
}

/// Fetches the rest; packs that have arrived are not requested again.
async fn fetched_on(site: &ChainSite) -> Result<()> {
    let parts = site.folder.join("etcd.db.parts");
    let there: Vec<_> = std::fs::read_dir(&parts)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    assert!(
        there.iter().filter(|name| name.len() == 64).count() >= 2,
        "a recipe and a pack should be in {there:?}"
    );
    site.fetch("latest").ended_with(0).await?;
    let gets = [site.gets("/packs/"), site.gets("/recipes/")].concat();
    assert!(!gets.is_empty(), "nothing was left to fetch");
    for path in gets {
        assert!(!there.contains(&name(&path)), "{path} was fetched twice");
    }
    assert!(!parts.exists());
    assert_eq!(site.half_files()?, Vec::<String>::new());
    e2e::etcdutl::status(&site.folder.join("etcd.db")).await?;
    Ok(())
}

fn name(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_fetch_which_goes_on_from_there() -> Result<()> {
    let site = ChainSite::new().await?;
    let run = half_fetched(&site).await?;
    run.interrupt().await?;
    let output = run.ended().await?.ended_with(130)?;
    tells(&output, &["Ctrl-C", "interrupted", "continues from there"]);
    assert!(!site.folder.join("etcd.db").exists());
    assert_eq!(site.half_files()?, Vec::<String>::new());
    fetched_on(&site).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fetch_goes_on_from_there() -> Result<()> {
    let site = ChainSite::new().await?;
    half_fetched(&site).await?.kill().await?;
    assert!(!site.folder.join("etcd.db").exists());
    // A file with half of all Secrets would stay for good.
    assert_eq!(site.half_files()?, Vec::<String>::new());
    fetched_on(&site).await
}
