//! Tests of a worker under a clock that the test sets, with a real etcd behind the Talos stand-in and a store
//! in a folder.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use backup_core::clock::{Clock as _, SystemClock};
use backup_core::crypt::SigningKey;
use backup_core::id::ComponentName;
use backupd::testing::{ComponentState, TestWorker};
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::folder::set_mode;
use e2e::lab::control_plane;
use e2e::talos::{ClientSpec, Standin, StreamFault};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

/// Worker with the parts that it works on.
struct Site {
    worker: TestWorker,
    store: PathBuf,
    talos: Standin,
    _etcd: Etcd,
    _folder: Folder,
}

impl Site {
    /// Starts a worker that takes etcd at every full hour.
    async fn start() -> Result<Self> {
        Self::with("etcd: { cron: 0 * * * * }", "3s").await
    }

    /// Starts a worker with these components and this deadline for a run, and waits for its first run.
    async fn with(components: &str, deadline: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let etcd = Etcd::start(&folder, "etcd").await?;
        let talos = control_plane(&etcd).await?;
        let path = |name: &str| folder.path().join(name);
        let role = ClientSpec::of(&["os:etcd:backup"]);
        std::fs::write(path("talosconfig"), talos.talosconfig(&role)?)?;
        let key = SigningKey::generate()?.to_text()?;
        std::fs::write(path("signing.key"), key.expose_secret())?;
        set_mode(&path("signing.key"), 0o600)?;
        let store = path("store");
        let yaml = format!(
            "cluster: mgmt\nstore: file://{}\ntalos: {{ config: talosconfig }}\n\
             encryption: none\nsigning: {{ key: signing.key }}\n\
             runs: {{ deadline: {deadline} }}\ncomponents: {{ {components} }}\n",
            store.display()
        );
        std::fs::write(path("mgmt.yaml"), yaml)?;
        let worker = TestWorker::start(&path("mgmt.yaml"), folder.path(), before_the_hour()?)
            .map_err(|failure| anyhow::anyhow!("{}", failure.one_line()))?;
        let site = Self {
            worker,
            store,
            talos,
            _etcd: etcd,
            _folder: folder,
        };
        let first = |state: &backupd::testing::WorkerState| {
            state.committed + state.partial == 1 && !state.at_work
        };
        site.worker.until("the first run", first).await;
        Ok(site)
    }

    /// Returns the numbers of runs with everything, of failed runs, and of etcd's failures in a row.
    fn counts(&self) -> (u64, u64, u32) {
        let state = self.worker.state();
        let row = state.components[&ComponentName::etcd()].failures_in_a_row;
        (state.committed, state.failed, row)
    }

    fn component(&self, name: &ComponentName) -> Result<ComponentState> {
        let state = self.worker.state();
        state
            .components
            .get(name)
            .cloned()
            .context("not on the board")
    }

    fn metric(&self, name: &str) -> Result<String> {
        let value = self.worker.metric(name);
        value.with_context(|| format!("there is no {name}"))
    }
}

/// Returns a time just before the next hour, at which the stand-in's certificates are valid.
fn before_the_hour() -> Result<Timestamp> {
    let now = SystemClock.now().as_second();
    let hour = now - now.rem_euclid(3600) + 3600 - 10;
    Ok(Timestamp::from_second(hour)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_an_hour_is_made_up_for_once() -> Result<()> {
    let site = Site::start().await?;
    let worker = &site.worker;
    let first = worker.state().newest_checked;
    assert!(first.is_some());
    // The volume is gone and something else is in its place.
    let aside = site.store.with_extension("away");
    std::fs::rename(&site.store, &aside)?;
    std::fs::write(&site.store, "no folder")?;
    worker.pass(15).await;
    assert_eq!(site.counts(), (1, 1, 1));
    for _ in 0..60 {
        worker.pass(60).await;
    }
    // At once, after 1, 2, 4 and 8 minutes, then every 10, and at the full hour.
    let (committed, failed, row) = site.counts();
    assert!((7..=12).contains(&failed), "{failed}");
    assert!(u64::from(row) == failed && committed == 1);
    assert!(worker.state().store_error.is_some());
    assert_eq!(worker.state().newest_checked, first, "nothing newer");
    // Metrics that the alerts use.
    assert_eq!(site.metric("store_reachable")?, "0.0");
    let row = site.metric("component_failures_in_a_row")?;
    assert_eq!(row, format!("{failed}.0"));

    std::fs::remove_file(&site.store)?;
    std::fs::rename(&aside, &site.store)?;
    for _ in 0..20 {
        worker.pass(60).await;
    }
    assert_eq!(site.counts(), (2, failed, 0));
    assert!(worker.state().store_error.is_none());
    assert!(worker.state().newest_checked > first);
    assert_eq!(site.metric("store_reachable")?, "1.0");
    assert_eq!(site.metric("component_failures_in_a_row")?, "0.0");
    // The next run follows the schedule.
    for _ in 0..42 {
        worker.pass(60).await;
    }
    assert_eq!(site.counts(), (3, failed, 0));
    worker.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_is_noticed_and_costs_one_run_at_most() -> Result<()> {
    let site = Site::start().await?;
    let worker = &site.worker;
    let counts = || (worker.state().committed, worker.state().clock_jumps);
    assert_eq!(counts(), (1, 0));
    worker.pass(5 * 3600).await;
    assert_eq!(counts(), (2, 1), "five hours that were slept through");
    worker.pass(-5 * 3600).await;
    assert_eq!(counts(), (2, 2), "put back");
    // The schedule follows the new clock.
    worker.pass(20).await;
    assert_eq!(counts(), (3, 2));
    worker.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_the_role_does_not_allow_costs_itself_alone() -> Result<()> {
    let components = "etcd: { cron: 0 * * * * }, machine-config: { cron: 0 * * * * }";
    let site = Site::with(components, "20s").await?;
    assert_eq!(site.worker.state().partial, 1);
    let etcd = site.component(&ComponentName::etcd())?;
    assert!(etcd.last_success.is_some());
    assert_eq!(etcd.failures_in_a_row, 0);
    let config = site.component(&ComponentName::machine_config())?;
    assert_eq!(config.last_success, None);
    assert_eq!(config.failures_in_a_row, 1);
    let cause = config.last_failure.context("no failure")?;
    assert!(cause.contains("only os:admin"), "{cause}");
    site.worker.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_tries_again_and_again_is_a_failure_and_what_is_due_is_overdue() -> Result<()> {
    let site = Site::with("etcd: { cron: 0 * * * * }", "120s").await?;
    let worker = &site.worker;
    let name = ComponentName::etcd();
    assert_eq!(site.component(&name)?.overdue_since, None);
    let metric = "component_overdue_since_timestamp_seconds";
    assert_eq!(worker.metric(metric), None);
    let refuse = |on: bool| {
        for node in site.talos.nodes() {
            // A stopped etcd.
            let fault = StreamFault::CutAfter(0);
            node.fault(|faults| faults.snapshot = on.then_some(fault));
        }
    };
    refuse(true);
    worker.advance(15);
    // The run is still at work, and its failures are reported before its end.
    worker.failed_try().await;
    let etcd = site.component(&name)?;
    assert_eq!(etcd.failures_in_a_row, 1);
    let cause = etcd.last_failure.context("no failure")?;
    assert!(cause.contains("without a single byte"), "{cause}");
    assert_eq!(site.metric("component_failures_in_a_row")?, "1.0");
    let due = etcd.overdue_since.context("it is overdue")?;
    assert!(due <= worker.now() && Some(due) > etcd.last_success);
    assert!(worker.metric(metric).is_some());
    // The same run succeeds.
    refuse(false);
    let second = |state: &backupd::testing::WorkerState| state.committed == 2 && !state.at_work;
    worker.until("the second", second).await;
    let etcd = site.component(&name)?;
    assert_eq!((etcd.overdue_since, etcd.failures_in_a_row), (None, 0));
    assert_eq!(worker.metric(metric), None);
    worker.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_work_is_a_failed_run_and_the_work_goes_on() -> Result<()> {
    let site = Site::start().await?;
    let cause = site.worker.panic_in_run().await;
    assert!(cause.contains("a panic"), "{cause}");
    assert!(!site.worker.state().at_work);
    site.worker.pass(15).await;
    assert_eq!(site.counts(), (2, 1, 0));
    site.worker.end().await;
    Ok(())
}
