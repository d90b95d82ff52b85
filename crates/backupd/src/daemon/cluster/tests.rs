//! Tests of the work under a clock that the test sets, with a real etcd behind the Talos stand-in and a store
//! in a folder.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use backup_cli::config::ConfigFlags;
use backup_cli::flags::StoreFlags;
use backup_core::clock::FixedClock;
use backup_core::crypt::SigningKey;
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::lab::control_plane;
use e2e::talos::{ClientSpec, Standin};
use secrecy::ExposeSecret as _;
use std::os::unix::fs::PermissionsExt as _;
use tokio::task::JoinHandle;

use super::*;
use crate::daemon::isolation;
use crate::daemon::metrics::Metrics;
use crate::daemon::shard::Shard;
use cluster_client::kube::ObjectCache;

/// Time limit, long enough for a run on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Clock that can panic, as a library does that does not check its input.
#[derive(Debug)]
struct TestClock {
    fixed: FixedClock,
    panics: AtomicBool,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "on purpose");
        self.fixed.now()
    }
}

struct Bed {
    clock: Arc<TestClock>,
    board: Arc<StatusBoard>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    store: PathBuf,
    _leads: watch::Sender<Lead>,
    _config: watch::Sender<Arc<Config>>,
    talos: Standin,
    _etcd: Etcd,
    _folder: Folder,
}

fn name() -> ClusterName {
    "mgmt".parse().unwrap()
}

impl Bed {
    /// Starts the work at `now`; only the test moves the clock.
    async fn start(now: &str) -> Self {
        Self::with(now, "etcd: { cron: 0 * * * * }", "3s").await
    }

    /// Starts the work with these components and this deadline for a run.
    async fn with(now: &str, components: &str, deadline: &str) -> Self {
        let folder = Folder::new().unwrap();
        let etcd = Etcd::start(&folder, "etcd").await.unwrap();
        let talos = control_plane(&etcd).await.unwrap();
        let path = |name: &str| folder.path().join(name);
        let role = ClientSpec::of(&["os:etcd:backup"]);
        std::fs::write(path("talosconfig"), talos.talosconfig(&role).unwrap()).unwrap();
        let key = SigningKey::generate().unwrap().to_text().unwrap();
        std::fs::write(path("signing.key"), key.expose_secret()).unwrap();
        let owners = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path("signing.key"), owners).unwrap();
        let store = path("store");
        let yaml = format!(
            "cluster: mgmt\nstore: file://{}\ntalos: {{ config: talosconfig }}\n\
             encryption: none\nsigning: {{ key: signing.key }}\n\
             runs: {{ deadline: {deadline} }}\ncomponents: {{ {components} }}\n",
            store.display()
        );
        std::fs::write(path("mgmt.yaml"), yaml).unwrap();
        // The certificates use this machine's time, so the clock begins near it.
        let now: Timestamp = now.parse().unwrap();
        let given = ConfigFlags {
            store: StoreFlags {
                config: Some(path("mgmt.yaml")),
                store: None,
            },
            ..ConfigFlags::default()
        };
        let config = Arc::new(Config::load(&given, now).unwrap());
        let clock = Arc::new(TestClock {
            fixed: FixedClock::new(now),
            panics: AtomicBool::new(false),
        });
        let board = StatusBoard::new(now, Shard::ALL);
        let queue = Arc::new(Queue::default());
        board.add(name(), Arc::clone(&queue), Arc::clone(&config));
        let (leads, lead) = watch::channel(Lead::Unelected);
        let (configs, config) = watch::channel(config);
        let stop = CancellationToken::new();
        let told = Arc::clone(&clock);
        let told: Arc<dyn Clock> = told;
        let context = ClusterContext {
            name: name(),
            board: Arc::clone(&board),
            queue,
            clock: told,
            environment: Environment::default(),
            kept: Arc::new(ObjectCache::new(folder.path().to_owned())),
            seed: 1,
            slice: Duration::from_millis(5),
            grace: Duration::ZERO,
        };
        let inputs = Inputs {
            config,
            lead,
            stop: stop.clone(),
        };
        let task = isolation::repeat("the work", Duration::ZERO, stop.clone(), move || {
            run_worker(context.clone(), inputs.clone())
        });
        let task = tokio::spawn(task);
        Self {
            clock,
            board,
            stop,
            task: Mutex::new(Some(task)),
            store,
            _leads: leads,
            _config: configs,
            talos,
            _etcd: etcd,
            _folder: folder,
        }
    }

    fn see<T>(&self, look: impl Fn(&status::ClusterEntry) -> T) -> T {
        self.board.with(&name(), |cluster| look(cluster)).unwrap()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&status::ClusterEntry) -> bool) {
        let end = Instant::now() + LIMIT;
        while !self.see(&wanted) {
            assert!(
                Instant::now() < end,
                "{what}: {:#?}",
                self.see(|c| c.view.clone())
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Moves the clock, and waits until the work that is due then is done.
    async fn pass(&self, seconds: i64) {
        self.clock.fixed.advance(SignedDuration::from_secs(seconds));
        // One turn starts a run for what is due; then the run ends. The first turn that ends may have begun
        // before the clock was moved.
        for _ in 0..2 {
            self.turn().await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.until("no run at work", |cluster| cluster.handle.is_none())
            .await;
    }

    /// Waits for the end of a turn, which removes a component that is not configured from the board.
    async fn turn(&self) {
        let mark: ComponentName = "mark".parse().unwrap();
        let add = |cluster: &mut status::ClusterEntry| {
            let components = &mut cluster.view.components;
            components.insert(mark.clone(), ComponentView::default());
        };
        self.board.with(&name(), add).unwrap();
        self.until("a turn", |cluster| {
            !cluster.view.components.contains_key(&mark)
        })
        .await;
    }

    fn committed(&self) -> u64 {
        self.see(|cluster| cluster.view.totals.committed)
    }

    fn failed(&self) -> u64 {
        self.see(|cluster| cluster.view.totals.failed)
    }

    fn row(&self) -> u32 {
        self.see(|c| c.view.components[&ComponentName::etcd()].failures_in_a_row)
    }

    /// Returns the value of a metric of this cluster, as Prometheus reads it.
    fn metric(&self, metric: &str) -> String {
        let value = self.metric_if(metric);
        value.unwrap_or_else(|| panic!("there is no {metric}"))
    }

    fn metric_if(&self, metric: &str) -> Option<String> {
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&self.clock);
        let text = Metrics::new(Arc::clone(&self.board), clock).text();
        let begin = format!("butler_backup_{metric}{{cluster=\"mgmt\"");
        let line = text.lines().find(|line| line.starts_with(&begin))?;
        Some(line.rsplit(' ').next()?.to_owned())
    }

    /// Returns a component as the status page shows it.
    fn told(&self, component: &ComponentName) -> ComponentView {
        let status = self.board.status(self.clock.now());
        status.clusters[0].view.components[component].clone()
    }

    async fn end(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap().take().unwrap();
        task.await.unwrap();
    }
}

/// Returns a time just before the next hour, at which the stand-in's certificates are valid.
fn before_the_hour() -> String {
    let now = backup_core::clock::SystemClock.now().as_second();
    let hour = now - now.rem_euclid(3600) + 3600 - 10;
    Timestamp::from_second(hour).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_an_hour_is_made_up_for_once() {
    let bed = Bed::start(&before_the_hour()).await;
    bed.until("the first", |cluster| cluster.view.totals.committed == 1)
        .await;
    let checked = || bed.see(|cluster| cluster.view.newest_checked);
    let first = checked();
    assert!(first.is_some());
    // The volume is gone and something else is in its place.
    let aside = bed.store.with_extension("away");
    std::fs::rename(&bed.store, &aside).unwrap();
    std::fs::write(&bed.store, "no folder").unwrap();
    bed.pass(15).await;
    assert_eq!((bed.committed(), bed.failed(), bed.row()), (1, 1, 1));
    for _ in 0..60 {
        bed.pass(60).await;
    }
    // At once, after 1, 2, 4 and 8 minutes, then every 10, and at the full hour.
    let failed = bed.failed();
    assert!((7..=12).contains(&failed), "{failed}");
    assert!(u64::from(bed.row()) == failed && bed.committed() == 1);
    assert!(bed.see(|cluster| cluster.view.store_error.is_some()));
    assert_eq!(checked(), first, "nothing newer");
    // Metrics that the alerts use.
    assert_eq!(bed.metric("store_reachable"), "0.0");
    assert_eq!(
        bed.metric("component_failures_in_a_row"),
        format!("{failed}.0")
    );

    std::fs::remove_file(&bed.store).unwrap();
    std::fs::rename(&aside, &bed.store).unwrap();
    for _ in 0..20 {
        bed.pass(60).await;
    }
    assert_eq!((bed.committed(), bed.failed(), bed.row()), (2, failed, 0));
    assert!(bed.see(|cluster| cluster.view.store_error.is_none()));
    assert!(checked() > first);
    assert_eq!(bed.metric("store_reachable"), "1.0");
    assert_eq!(bed.metric("component_failures_in_a_row"), "0.0");
    // The next run follows the schedule.
    for _ in 0..42 {
        bed.pass(60).await;
    }
    assert_eq!((bed.committed(), bed.row()), (3, 0));
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_is_noticed_and_costs_one_run_at_most() {
    let bed = Bed::start(&before_the_hour()).await;
    bed.until("the first", |cluster| cluster.view.totals.committed == 1)
        .await;
    let jumps = || bed.see(|cluster| cluster.view.totals.clock_jumps);
    assert_eq!(jumps(), 0);
    bed.pass(5 * 3600).await;
    assert_eq!(
        (bed.committed(), jumps()),
        (2, 1),
        "five hours that were slept through"
    );
    bed.pass(-5 * 3600).await;
    assert_eq!((bed.committed(), jumps()), (2, 2), "put back");
    // The schedule follows the new clock.
    bed.pass(20).await;
    assert_eq!((bed.committed(), jumps()), (3, 2));
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_the_role_does_not_allow_costs_itself_alone() {
    let components = "etcd: { cron: 0 * * * * }, machine-config: { cron: 0 * * * * }";
    let bed = Bed::with(&before_the_hour(), components, "20s").await;
    bed.until("the first", |cluster| cluster.view.totals.partial == 1)
        .await;
    bed.until("no run at work", |cluster| cluster.handle.is_none())
        .await;
    let etcd = bed.told(&ComponentName::etcd());
    assert!(etcd.last_success.is_some());
    assert_eq!(etcd.failures_in_a_row, 0);
    let config = bed.told(&ComponentName::machine_config());
    assert_eq!(config.last_success, None);
    assert_eq!(config.failures_in_a_row, 1);
    let failure = config.last_failure.unwrap();
    assert!(failure.cause.contains("only os:admin"), "{failure:?}");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_tries_again_and_again_is_a_failure_and_what_is_due_is_overdue() {
    let bed = Bed::with(&before_the_hour(), "etcd: { cron: 0 * * * * }", "120s").await;
    bed.until("the first", |cluster| cluster.view.totals.committed == 1)
        .await;
    bed.until("no run at work", |cluster| cluster.handle.is_none())
        .await;
    let name = ComponentName::etcd();
    assert_eq!(bed.told(&name).overdue_since, None);
    let metric = "component_overdue_since_timestamp_seconds";
    assert_eq!(bed.metric_if(metric), None);
    let refuse = |on: bool| {
        for node in bed.talos.nodes() {
            // A stopped etcd.
            let fault = e2e::talos::StreamFault::CutAfter(0);
            node.fault(|faults| faults.snapshot = on.then_some(fault));
        }
    };
    refuse(true);
    bed.clock.fixed.advance(SignedDuration::from_secs(15));
    // The run is still at work, and its failures are reported before its end.
    bed.until("a try that failed", |cluster| {
        let run = cluster.handle.as_ref().map(|handle| handle.status());
        run.is_some_and(|run| run.failed_try.is_some())
    })
    .await;
    let told = bed.told(&name);
    assert_eq!(told.failures_in_a_row, 1);
    let cause = told.last_failure.unwrap().cause;
    assert!(cause.contains("without a single byte"), "{cause}");
    assert_eq!(bed.metric("component_failures_in_a_row"), "1.0");
    let due = told.overdue_since.expect("it is overdue");
    assert!(due <= bed.clock.now() && due > told.last_success.unwrap());
    assert!(bed.metric_if(metric).is_some());
    // The same run succeeds.
    refuse(false);
    bed.until("the second", |cluster| cluster.view.totals.committed == 2)
        .await;
    bed.until("no run at work", |cluster| cluster.handle.is_none())
        .await;
    let told = bed.told(&name);
    assert_eq!((told.overdue_since, told.failures_in_a_row), (None, 0));
    assert_eq!(bed.metric_if(metric), None);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_work_is_a_failed_run_and_the_work_goes_on() {
    let bed = Bed::start(&before_the_hour()).await;
    bed.until("the first", |cluster| cluster.view.totals.committed == 1)
        .await;
    bed.until("no run at work", |cluster| cluster.handle.is_none())
        .await;
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&bed.clock);
    let handle = RunHandle::new(
        &name(),
        Vec::new(),
        super::super::run_handle::RunCause::Demand,
        &clock,
    );
    let at_work = |cluster: &mut status::ClusterEntry| cluster.handle = Some(Arc::clone(&handle));
    bed.board.with(&name(), at_work).unwrap();
    bed.clock.panics.store(true, Ordering::SeqCst);
    bed.until("the failed run", |cluster| cluster.view.totals.failed == 1)
        .await;
    let RunState::Failed { cause } = handle.status().state else {
        panic!("{:?}", handle.status());
    };
    assert!(cause.contains("a panic"), "{cause}");
    assert!(bed.see(|cluster| cluster.handle.is_none()));
    bed.pass(15).await;
    assert_eq!((bed.committed(), bed.failed(), bed.row()), (2, 1, 0));
    bed.end().await;
}
