//! Worker of one cluster under a clock that the test sets.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_cli::config::{Config, ConfigFlags};
use backup_cli::environment::Environment;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::StoreFlags;
use backup_core::clock::{Clock, FixedClock};
use backup_core::id::{ClusterName, ComponentName};
use cluster_client::kube::ObjectCache;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::daemon::cluster::{ClusterContext, Inputs, run_worker};
use crate::daemon::isolation;
use crate::daemon::lead::Lead;
use crate::daemon::metrics::Metrics;
use crate::daemon::queue::Queue;
use crate::daemon::run_handle::{RunCause, RunHandle, RunState};
use crate::daemon::shard::Shard;
use crate::daemon::status::{ClusterEntry, ComponentView, StatusBoard};

/// Time limit of each wait, long enough for a run on a busy machine.
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

/// State of the worker's cluster, as the status page shows it.
#[derive(Debug, Clone)]
pub struct WorkerState {
    /// Number of runs with a restore point that has everything.
    pub committed: u64,
    /// Number of runs with a restore point that lacks a component.
    pub partial: u64,
    /// Number of runs without a restore point.
    pub failed: u64,
    /// Number of times that the clock was set.
    pub clock_jumps: u64,
    /// Whether a run is at work.
    pub at_work: bool,
    /// End of the newest restore point whose objects were found in the store afterwards.
    pub newest_checked: Option<Timestamp>,
    /// Error of the last check of the store.
    pub store_error: Option<String>,
    /// State of each component.
    pub components: BTreeMap<ComponentName, ComponentState>,
}

/// State of one component, as the status page shows it.
#[derive(Debug, Clone)]
pub struct ComponentState {
    /// End of the newest run that has the component.
    pub last_success: Option<Timestamp>,
    /// Cause of the last failure.
    pub last_failure: Option<String>,
    /// Failed runs in a row.
    pub failures_in_a_row: u32,
    /// Time since which a restore point of the component is due and missing.
    pub overdue_since: Option<Timestamp>,
}

/// Worker of one cluster, under a clock that only the test moves.
#[derive(Debug)]
pub struct TestWorker {
    name: ClusterName,
    clock: Arc<TestClock>,
    board: Arc<StatusBoard>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    _leads: watch::Sender<Lead>,
    _config: watch::Sender<Arc<Config>>,
}

impl TestWorker {
    /// Starts the worker for the configuration in `file`. Objects that it keeps lie in `folder`.
    ///
    /// # Errors
    /// The configuration is wrong, or names no cluster.
    pub fn start(file: &Path, folder: &Path, now: Timestamp) -> Result<Self, Failure> {
        let given = ConfigFlags {
            store: StoreFlags {
                config: Some(file.to_owned()),
                store: None,
            },
            ..ConfigFlags::default()
        };
        let config = Arc::new(Config::load(&given, now)?);
        let name = config.cluster.clone();
        let unnamed = || Failure::message(Exit::Usage, "the file names no cluster");
        let name = name.ok_or_else(unnamed)?;
        let clock = Arc::new(TestClock {
            fixed: FixedClock::new(now),
            panics: AtomicBool::new(false),
        });
        let board = StatusBoard::new(now, Shard::ALL);
        let queue = Arc::new(Queue::default());
        board.add(name.clone(), Arc::clone(&queue), Arc::clone(&config));
        let (leads, lead) = watch::channel(Lead::Unelected);
        let (configs, config) = watch::channel(config);
        let stop = CancellationToken::new();
        let context = ClusterContext {
            name: name.clone(),
            board: Arc::clone(&board),
            queue,
            clock: Arc::<TestClock>::clone(&clock),
            environment: Environment::default(),
            kept: ObjectCache::new(folder.to_owned()).into(),
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
        Ok(Self {
            name,
            clock,
            board,
            stop,
            task: Mutex::new(Some(tokio::spawn(task))),
            _leads: leads,
            _config: configs,
        })
    }

    /// Returns the time of the worker's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.fixed.now()
    }

    /// Moves the clock, and waits for nothing.
    pub fn advance(&self, seconds: i64) {
        self.clock.fixed.advance(SignedDuration::from_secs(seconds));
    }

    /// Lets the next look at the clock panic.
    pub fn panic_once(&self) {
        self.clock.panics.store(true, Ordering::SeqCst);
    }

    /// Moves the clock, and waits until the work that is due then is done.
    pub async fn pass(&self, seconds: i64) {
        self.advance(seconds);
        // One turn starts a run for what is due; then the run ends. The first turn that ends may have begun
        // before the clock was moved.
        for _ in 0..2 {
            self.turn().await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.until("no run at work", |state| !state.at_work).await;
    }

    /// Waits for the end of a turn, which removes a component that is not configured from the board.
    #[expect(clippy::missing_panics_doc, reason = "the name is right")]
    pub async fn turn(&self) {
        let mark: ComponentName = "mark".parse().expect("a name");
        self.change(|cluster| {
            let components = &mut cluster.view.components;
            components.insert(mark.clone(), ComponentView::default());
        });
        self.until("a turn", |state| !state.components.contains_key(&mark))
            .await;
    }

    /// Waits for a state.
    ///
    /// # Panics
    /// The state does not come within a minute.
    pub async fn until(&self, state: &str, reached: impl Fn(&WorkerState) -> bool) {
        let end = Instant::now() + LIMIT;
        while !reached(&self.state()) {
            assert!(Instant::now() < end, "{state}: {:#?}", self.state());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the state of the cluster.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        let status = self.board.status(self.now());
        let cluster = status.clusters.into_iter().next().expect("one cluster");
        let view = cluster.view;
        let components = view.components.into_iter().map(|(name, view)| {
            let state = ComponentState {
                last_success: view.last_success,
                last_failure: view.last_failure.map(|failure| failure.cause),
                failures_in_a_row: view.failures_in_a_row,
                overdue_since: view.overdue_since,
            };
            (name, state)
        });
        WorkerState {
            committed: view.totals.committed,
            partial: view.totals.partial,
            failed: view.totals.failed,
            clock_jumps: view.totals.clock_jumps,
            at_work: cluster.run.is_some(),
            newest_checked: view.newest_checked,
            store_error: view.store_error,
            components: components.collect(),
        }
    }

    /// Returns the value of a metric of the cluster, as Prometheus reads it.
    #[must_use]
    pub fn metric(&self, metric: &str) -> Option<String> {
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&self.clock);
        let text = Metrics::new(Arc::clone(&self.board), clock).text();
        let begin = format!("butler_backup_{metric}{{cluster=\"{}\"", self.name);
        let line = text.lines().find(|line| line.starts_with(&begin))?;
        Some(line.rsplit(' ').next()?.to_owned())
    }

    /// Waits until the run at work has failed once and tries again.
    ///
    /// # Panics
    /// No try fails within a minute.
    pub async fn failed_try(&self) {
        let end = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < end, "no try failed: {:#?}", self.state());
            let tried = |cluster: &mut ClusterEntry| {
                let run = cluster.handle.as_ref().map(|handle| handle.status());
                run.is_some_and(|run| run.failed_try.is_some())
            };
            if self.board.with(&self.name, tried) == Some(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts a run at work that nobody does, lets the worker panic, and returns the cause that the run ends
    /// with.
    ///
    /// # Panics
    /// The run does not fail.
    pub async fn panic_in_run(&self) -> String {
        let failed = self.state().failed;
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&self.clock);
        let handle = RunHandle::new(&self.name, Vec::new(), RunCause::Demand, &clock);
        self.change(|cluster| cluster.handle = Some(Arc::clone(&handle)));
        self.panic_once();
        self.until("the failed run", |state| state.failed == failed + 1)
            .await;
        match handle.status().state {
            RunState::Failed { cause } => cause,
            state => panic!("{state:?}"),
        }
    }

    /// Stops the worker, and waits for its end.
    ///
    /// # Panics
    /// The worker has ended already, or by a panic.
    pub async fn end(&self) {
        self.stop.cancel();
        let task = self.task.lock().expect("no panic").take();
        task.expect("it runs").await.expect("no panic");
    }

    fn change(&self, change: impl FnOnce(&mut ClusterEntry)) {
        self.board.with(&self.name, change).expect("one cluster");
    }
}
