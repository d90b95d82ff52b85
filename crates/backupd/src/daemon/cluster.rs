//! Worker for one cluster: it makes runs from the timetable and the queue, one at a time, and reports their
//! results.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backup_cli::config::Config;
use backup_cli::environment::Environment;
use backup_core::clock::Clock;
use backup_core::id::{ClusterName, ComponentName};
use cluster_client::kube::KeptObjects;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::isolation;
use super::lead::Lead;
use super::mirror::{self, MirrorOutcome};
use super::queue::{Queue, RunRequest};
use super::run_handle::{RunHandle, RunState};
use super::runner::{self, RunJob, RunOutcome};
use super::status::{self, CacheView, ComponentView, StatusBoard};
use super::store_view::StoreFacts;
use super::timetable::{DueComponent, DueReason, Timetable};
use super::watch_health;
use store_check::StoreCheck;
use sweep::Sweep;

/// Difference between the clock and elapsed time from which the clock counts as set.
const JUMP: SignedDuration = SignedDuration::from_secs(30);

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Fixed inputs of the worker.
#[derive(Debug, Clone)]
pub(crate) struct ClusterContext {
    pub(crate) name: ClusterName,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) environment: Environment,
    /// Objects that the watches and the runs keep of the cluster.
    pub(crate) kept: KeptObjects,
    /// Seed of the jitter.
    pub(crate) seed: u64,
    /// Longest sleep, after which the clock is checked again.
    pub(crate) slice: Duration,
    /// Time that a run may go on after the stop.
    pub(crate) grace: Duration,
}

/// Inputs that may change during the worker.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) lead: watch::Receiver<Lead>,
    /// Stop signal: no new run begins, and a run at work has the grace time.
    pub(crate) stop: CancellationToken,
}

struct Worker {
    context: ClusterContext,
    config: Arc<Config>,
    lead: watch::Receiver<Lead>,
    table: Timetable,
    run: Pending<RunOutcome>,
    /// Components of the run at work; empty for everything.
    at_work: Vec<ComponentName>,
    stop: CancellationToken,
    cancel: CancellationToken,
    mirror: Pending<MirrorOutcome>,
    /// Restore points that wait to be mirrored.
    mirrors: mirror::MirrorQueue,
    store_check: Pending<StoreCheck>,
    sweep: Sweep,
    next_store_check: Timestamp,
    next_count: Timestamp,
    /// Whether missed runs were read from the store.
    recalled: bool,
    facts: Option<StoreFacts>,
    /// Times when this daemon took each component. The store has no time for a component without anything to
    /// take.
    taken: BTreeMap<ComponentName, Timestamp>,
    /// Clock and elapsed time at the last check.
    seen: (Timestamp, Instant),
}

/// Works until the stop.
pub(crate) async fn run_worker(context: ClusterContext, mut inputs: Inputs) {
    let config = Arc::clone(&inputs.config.borrow_and_update());
    let now = context.clock.now();
    let mut worker = Worker {
        table: Timetable::new(&context.name, &config, context.seed, now),
        config,
        lead: inputs.lead.clone(),
        stop: inputs.stop.clone(),
        run: None,
        at_work: Vec::new(),
        cancel: CancellationToken::new(),
        mirror: None,
        mirrors: mirror::MirrorQueue::default(),
        store_check: None,
        sweep: Sweep::new(now),
        next_store_check: now,
        next_count: now,
        recalled: false,
        facts: None,
        taken: BTreeMap::new(),
        seen: (now, Instant::now()),
        context,
    };
    worker.end_lost_run();
    let mut kill_at: Option<Instant> = None;
    loop {
        let stopping = kill_at.is_some();
        let mirrors = worker.mirror.is_some() && !worker.cancel.is_cancelled();
        if stopping && worker.run.is_none() && !mirrors && !worker.sweep.removes() {
            // The next run mirrors again what a mirror dropped here did not finish.
            return;
        }
        if !stopping {
            worker.turn();
        }
        let sleep = worker.sleep();
        let queue = Arc::clone(&worker.context.queue);
        tokio::select! {
            outcome = ready(&mut worker.run) => worker.finish_run(outcome),
            outcome = ready(&mut worker.mirror) => worker.finish_mirror(outcome),
            check = ready(&mut worker.store_check) => worker.finish_store_check(check),
            step = ready(&mut worker.sweep.work) => worker.finish_sweep_step(step),
            () = queue.news() => {}
            changed = inputs.config.changed(), if !stopping => {
                if changed.is_ok() {
                    worker.config = Arc::clone(&inputs.config.borrow_and_update());
                    worker.table.reload(&worker.config, worker.context.clock.now());
                    let config = Arc::clone(&worker.config);
                    worker.board(|cluster| cluster.configured(config));
                }
            }
            changed = inputs.lead.changed(), if !stopping => {
                if changed.is_ok() {
                    inputs.lead.mark_unchanged();
                    // Another daemon may have made runs meanwhile.
                    worker.recalled = false;
                    worker.next_store_check = worker.context.clock.now();
                }
            }
            () = inputs.stop.cancelled(), if !stopping => {
                kill_at = Some(Instant::now() + worker.context.grace);
                worker.refuse("the daemon is stopping");
            }
            () = until(kill_at), if stopping && !worker.cancel.is_cancelled() => worker.cancel.cancel(),
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Waits for a future that may be absent.
async fn ready<T>(pending: &mut Pending<T>) -> T {
    let value = match pending {
        Some(future) => future.await,
        None => std::future::pending().await,
    };
    *pending = None;
    value
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Ends the run that was at work when the previous work panicked.
    fn end_lost_run(&self) {
        self.board(|cluster| {
            if let Some(handle) = cluster.handle.take() {
                let cause = isolation::LOST.to_owned();
                handle.go(RunState::Failed { cause });
                cluster.count(&handle.status());
            }
        });
    }

    /// Does everything that is due now.
    fn turn(&mut self) {
        let now = self.context.clock.now();
        self.watch_clock(now);
        for due in self.table.due(now) {
            self.admit(due);
        }
        if self.store_check.is_none() && self.run.is_none() && now >= self.next_store_check {
            self.begin_store_check(now);
        }
        // Missed runs must be known first, or the first run would be made twice.
        let first_look = !self.recalled && self.store_check.is_some();
        if self.run.is_none() && !first_look && !self.sweep.makes_room(self.context.queue.len()) {
            self.begin_run(now);
        }
        self.begin_sweep(now);
        self.update_board();
    }

    /// Returns the time for which nothing has to be done.
    fn sleep(&self) -> Duration {
        let now = self.context.clock.now();
        let looks = self.store_check.is_none().then_some(self.next_store_check);
        let ready = self.context.queue.ready_at(self.config.runs.on_change, now);
        let times = self.table.next().into_iter().chain(looks).chain(ready);
        let next = times.map(|time| time.duration_since(now)).min();
        let next = next
            .unwrap_or(SignedDuration::MAX)
            .max(SignedDuration::from_millis(1));
        next.unsigned_abs().min(self.context.slice)
    }

    fn watch_clock(&mut self, now: Timestamp) {
        let (then, since) = std::mem::replace(&mut self.seen, (now, Instant::now()));
        let passed = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
        let jump = now.duration_since(then).saturating_sub(passed);
        if jump.abs() < JUMP {
            return;
        }
        let seconds = jump.as_secs();
        tracing::warn!(cluster = %self.context.name, seconds, "this machine's clock was set");
        if jump.is_negative() {
            self.table.put_back(now);
            self.next_count = self.next_count.min(now);
        }
        self.next_store_check = self.next_store_check.min(now);
        self.board(|cluster| {
            let jumps = &mut cluster.view.totals.clock_jumps;
            *jumps = jumps.saturating_add(1);
        });
    }

    /// Puts a due component into the queue, unless it is being taken.
    fn admit(&mut self, due: DueComponent) {
        if !self.lead.borrow().admits(&due.component) {
            return;
        }
        let running = self.run.is_some();
        let taken_now =
            running && (self.at_work.is_empty() || self.at_work.contains(&due.component));
        let component = due.component.clone();
        if !taken_now && self.context.queue.due(due.component, due.why) {
            return;
        }
        if due.why == DueReason::Retry {
            return;
        }
        let cluster = &self.context.name;
        tracing::warn!(%cluster, %component, "skipped: the run before it has not ended");
        self.board(|cluster| {
            let view = cluster.view.components.entry(component).or_default();
            view.skipped = view.skipped.saturating_add(1);
        });
    }

    fn begin_run(&mut self, now: Timestamp) {
        let lead = self.lead.borrow().clone();
        let Some(wanted) = self.context.queue.next(self.config.runs.on_change, now) else {
            return;
        };
        if !lead.allows(&wanted) {
            if let Some(handle) = wanted.handle {
                let cause = "this daemon does not lead any more".to_owned();
                handle.go(RunState::Failed { cause });
            }
            return;
        }
        let handle = wanted.handle.clone().unwrap_or_else(|| {
            let components = wanted.components.clone();
            RunHandle::new(
                &self.context.name,
                components,
                wanted.cause,
                &self.context.clock,
            )
        });
        self.cancel = CancellationToken::new();
        self.at_work.clone_from(&wanted.components);
        let mut findings = Vec::new();
        self.board(|cluster| {
            cluster.watch(&handle);
            cluster.handle = Some(Arc::clone(&handle));
            findings = watch_health::findings(&cluster.view, &wanted.components);
        });
        self.run = Some(Box::pin(runner::run(RunJob {
            config: Arc::clone(&self.config),
            wanted,
            handle,
            findings,
            clock: Arc::clone(&self.context.clock),
            environment: self.context.environment.clone(),
            kept: self.context.kept.clone(),
            lead: self.lead.clone(),
            stop: self.stop.clone(),
            cancel: self.cancel.clone(),
        })));
    }

    /// Brings the board up to date.
    fn update_board(&self) {
        let kept = self.context.kept.stats();
        self.board(|cluster| {
            cluster.view.kept = CacheView {
                objects: kept.objects,
                bytes: kept.bytes,
                drifted: kept.drifted,
            };
            let old = std::mem::take(&mut cluster.view.components);
            for component in &self.config.components {
                let name = &component.name;
                let before = old.get(name).cloned().unwrap_or_default();
                let facts = self.facts.as_ref();
                let newest = facts.and_then(|facts| facts.components.get(name));
                let last_success = facts
                    .and_then(|facts| facts.last(name))
                    .max(self.taken.get(name).copied());
                let now = self.context.clock.now();
                let view = ComponentView {
                    overdue_since: self.table.overdue(name, last_success, now),
                    cron: component.schedule.as_ref().map(|s| s.cron().to_owned()),
                    time_zone: component
                        .schedule
                        .as_ref()
                        .map(|s| s.zone_name().to_owned()),
                    paused: component.paused,
                    on_change: component.on_change,
                    next_run: self.table.next_of(name),
                    last_success,
                    last_restore_point: newest.map(|newest| newest.restore_point.clone()),
                    failures_in_a_row: self.table.failures(name),
                    ..before
                };
                cluster.view.components.insert(name.clone(), view);
            }
        });
    }

    /// Ends all runs on demand that wait, with `cause` as their failure.
    fn refuse(&self, cause: &str) {
        for wanted in self.context.queue.refuse() {
            let RunRequest { handle, .. } = wanted;
            if let Some(handle) = handle {
                let cause = cause.to_owned();
                handle.go(RunState::Failed { cause });
            }
        }
    }

    fn board(&self, change: impl FnOnce(&mut status::ClusterEntry)) {
        self.context.board.with(&self.context.name, change);
    }
}

mod follow_up;
mod store_check;
mod sweep;
