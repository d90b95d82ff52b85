//! Tests of programs that end in the middle: killed as by a power cut, or interrupted by Ctrl-C.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::proxy::{Fault, Lasting};
use e2e::talos::CallFault;
use e2e::wait;
use http::Method;
use tokio::time::{Instant, timeout};

use super::bed::{Bed, tells};

/// Time limit. A program does what is awaited within seconds, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Checks the state after a kill: listed restore points are whole, at most one more than `before`; the next
/// run works; leftovers of the killed run are reported and do no harm.
async fn survived(bed: &Bed, before: usize, at: &str) -> Result<()> {
    let listed = bed.listed().await.with_context(|| at.to_owned())?;
    ensure!(
        (before..=before + 1).contains(&listed.len()),
        "{at}: {listed:?}"
    );
    if let Some(newest) = listed.first().filter(|_| listed.len() > before) {
        bed.verified(newest).await.with_context(|| at.to_owned())?;
    }
    let id = bed.snapshot().await.with_context(|| at.to_owned())?;
    ensure!(bed.listed().await?.first() == Some(&id), "{at}: not listed");
    bed.verified(&id).await.with_context(|| at.to_owned())?;
    let findings = bed.audit(0).await.with_context(|| at.to_owned())?;
    ensure!(
        findings.iter().all(|finding| finding["severity"] == "info"),
        "{at}: {findings:?}"
    );
    Ok(())
}

/// Starts a run, kills it when its request number `n` is held, and returns whether it got that far.
async fn kill_at(bed: &Bed, n: u32, fault: Fault) -> Result<bool> {
    bed.proxy.forget();
    bed.proxy.on_path(None, "", fault, Lasting::After(n));
    let run = bed.backupd("snapshot").start()?;
    let held = timeout(LIMIT, bed.proxy.holding()).await;
    run.kill().await?;
    bed.proxy.forget();
    Ok(held.is_ok())
}

/// Returns the number of requests that a run on this bed makes.
async fn requests(bed: &Bed) -> Result<u32> {
    bed.proxy.forget();
    bed.snapshot().await?;
    let count = bed.proxy.seen().len();
    bed.proxy.forget();
    Ok(u32::try_from(count)?)
}

/// Number of kills in a series. With both sides of each request, of a first run and of a later one, and ten
/// points in time, there are fifty kills.
const ENOUGH: u32 = 10;

/// Both sides of each request: the store has not received it, or has executed it already.
const SIDES: [Fault; 2] = [Fault::Hold, Fault::HoldReply];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_killed_at_any_request_leaves_all_or_nothing() -> Result<()> {
    let bed = Bed::new().await?;
    let requests = requests(&bed).await?;
    ensure!(requests >= ENOUGH, "only {requests} requests");
    for n in 0..requests {
        for fault in SIDES {
            let at = format!("killed at request {n} of {requests}, {fault:?}");
            bed.configure(&bed.bucket, &format!("first/{n}-{fault:?}"))?;
            ensure!(kill_at(&bed, n, fault).await?, "never {at}");
            survived(&bed, 0, &at).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_killed_at_any_request_leaves_all_or_nothing() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    bed.change().await?;
    let requests = requests(&bed).await?;
    ensure!(requests >= ENOUGH, "only {requests} requests");
    for n in 0..requests {
        for fault in SIDES {
            let at = format!("killed at request {n} of {requests}, {fault:?}");
            bed.change().await?;
            let before = bed.listed().await?.len();
            ensure!(kill_at(&bed, n, fault).await?, "never {at}");
            survived(&bed, before, &at).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_any_time_leaves_all_or_nothing() -> Result<()> {
    const POINTS: u32 = 10;
    let bed = Bed::new().await?;
    let began = Instant::now();
    bed.snapshot().await?;
    let step = began.elapsed() / POINTS;
    for n in 0..POINTS {
        bed.configure(&bed.bucket, &format!("time/{n}"))?;
        let run = bed.backupd("snapshot").start()?;
        // The sleep spreads the kills over a run; it does not wait for a condition.
        tokio::time::sleep(step * n).await;
        run.kill().await?;
        survived(&bed, 0, &format!("killed after {:?}", step * n)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_run_without_a_restore_point() -> Result<()> {
    let bed = Bed::new().await?;
    // While the store does not answer.
    let put = Some(Method::PUT);
    bed.proxy
        .on_path(put, "/packs/", Fault::Hold, Lasting::After(0));
    let run = bed.backupd("snapshot").start()?;
    timeout(LIMIT, bed.proxy.holding())
        .await
        .context("no pack came")?;
    // The first Ctrl-C waits for requests in flight, which a silent store never ends.
    let output = run.interrupted_until_it_ends().await?.ended_with(130)?;
    tells(
        &output,
        &["Ctrl-C", "once more stops at once", "interrupted"],
    );
    bed.proxy.forget();
    assert!(bed.listed().await?.is_empty());

    // While a node does not answer.
    bed.fault(|faults| {
        faults.calls.insert("EtcdSnapshot", CallFault::Hang);
    });
    let asked = bed.talos.seen().len();
    let run = bed.backupd("snapshot").start()?;
    wait::until("a call of EtcdSnapshot", LIMIT, async || {
        let seen = bed.talos.seen().split_off(asked);
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
    bed.fault(|faults| faults.calls.clear());
    assert!(bed.listed().await?.is_empty());
    survived(&bed, 0, "interrupted").await
}

/// Prepares a restore point of two packs, and starts a fetch of which one pack has arrived.
async fn half_fetched(bed: &Bed) -> Result<e2e::run::Running> {
    bed.snapshot().await?;
    bed.change().await?;
    bed.snapshot().await?;
    bed.proxy.forget();
    let get = Some(Method::GET);
    bed.proxy
        .on_path(get, "/packs/", Fault::Hold, Lasting::After(1));
    let run = bed.fetch("latest").start()?;
    timeout(LIMIT, bed.proxy.holding())
        .await
        .context("no second pack")?;
    let packs: Vec<_> = bed.gets("/packs/");
    let parts = bed.folder.join("etcd.db.parts");
    wait::until("the first pack", LIMIT, async || {
        ensure!(
            packs.iter().any(|pack| parts.join(name(pack)).exists()),
            "not yet"
        );
        Ok(())
    })
    .await?;
    bed.proxy.forget();
    Ok(run)
}

/// Fetches the rest; packs that have arrived are not requested again.
async fn fetched_on(bed: &Bed) -> Result<()> {
    let parts = bed.folder.join("etcd.db.parts");
    let there: Vec<_> = std::fs::read_dir(&parts)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    assert!(
        there.iter().filter(|name| name.len() == 64).count() >= 2,
        "a recipe and a pack should be in {there:?}"
    );
    bed.fetch("latest").output().await?.ended_with(0)?;
    let gets = [bed.gets("/packs/"), bed.gets("/recipes/")].concat();
    assert!(!gets.is_empty(), "nothing was left to fetch");
    for path in gets {
        assert!(!there.contains(&name(&path)), "{path} was fetched twice");
    }
    assert!(!parts.exists());
    assert_eq!(bed.half_files()?, Vec::<String>::new());
    e2e::etcdutl::status(&bed.folder.join("etcd.db")).await?;
    Ok(())
}

fn name(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_fetch_which_goes_on_from_there() -> Result<()> {
    let bed = Bed::new().await?;
    let run = half_fetched(&bed).await?;
    run.interrupt().await?;
    let output = run.ended().await?.ended_with(130)?;
    tells(&output, &["Ctrl-C", "interrupted", "continues from there"]);
    assert!(!bed.folder.join("etcd.db").exists());
    assert_eq!(bed.half_files()?, Vec::<String>::new());
    fetched_on(&bed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fetch_goes_on_from_there() -> Result<()> {
    let bed = Bed::new().await?;
    half_fetched(&bed).await?.kill().await?;
    assert!(!bed.folder.join("etcd.db").exists());
    // A file with half of all Secrets would stay for good.
    assert_eq!(bed.half_files()?, Vec::<String>::new());
    fetched_on(&bed).await
}
