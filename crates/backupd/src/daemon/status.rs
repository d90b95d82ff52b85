//! Board with the state of every cluster, read by the status page, the metrics and the runs.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backup_cli::config::Config;
use backup_core::id::{ClusterName, ComponentName};
use jiff::Timestamp;
use serde::Serialize;

use super::lead::Lead;
use super::leftovers::LeftoversView;
use super::mirror::MirrorView;
use super::queue::Queue;
use super::run_handle::{RunHandle, RunState, RunStatus};
use super::shard::Shard;
use super::store_view::StoreFacts;

/// Number of runs for each cluster that the board still reports after their end.
const RECENT: usize = 20;

/// State of all clusters; see the module.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    pub(crate) started: Timestamp,
    pub(crate) shard: Shard,
    inner: Mutex<BoardState>,
}

#[derive(Debug, Default)]
struct BoardState {
    clusters: BTreeMap<ClusterName, ClusterEntry>,
    files: Vec<FileStatus>,
    lead: Lead,
    reloads: u64,
    broken_reloads: u64,
}

/// Configuration file.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileStatus {
    pub(crate) path: PathBuf,
    pub(crate) cluster: Option<ClusterName>,
    /// Whether another shard runs the cluster.
    pub(crate) elsewhere: bool,
    /// Problem of the file; its last good content still applies.
    pub(crate) error: Option<String>,
}

/// One cluster.
#[derive(Debug)]
pub(crate) struct ClusterEntry {
    pub(crate) queue: Arc<Queue>,
    pub(crate) config: Arc<Config>,
    pub(crate) view: ClusterView,
    pub(crate) handle: Option<Arc<RunHandle>>,
    /// Runs that wait, are at work, or ended not long ago.
    pub(crate) handles: VecDeque<Arc<RunHandle>>,
}

/// State of one cluster as it is reported.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterView {
    pub(crate) cluster: ClusterName,
    pub(crate) store: String,
    pub(crate) components: BTreeMap<ComponentName, ComponentView>,
    /// Facts from the last check of the store.
    pub(crate) restore_points: Option<StoreFacts>,
    /// End of this daemon's newest restore point whose objects were afterwards found in the store as they had
    /// been put; unknown for restore points from before the start.
    pub(crate) newest_checked: Option<Timestamp>,
    /// Error of the last check of the store.
    pub(crate) store_error: Option<String>,
    /// Difference between this machine's clock and the store's, in seconds.
    pub(crate) clock_skew_seconds: Option<i64>,
    /// Expiry of the talosconfig's client certificate.
    pub(crate) talosconfig_valid_until: Option<Timestamp>,
    pub(crate) totals: Totals,
    /// Watches, by kind.
    pub(crate) watches: BTreeMap<String, WatchView>,
    pub(crate) kept: CacheView,
    /// Git mirror, if there is one.
    pub(crate) mirror: Option<MirrorView>,
    /// Leftovers of runs that died, if they are removed.
    pub(crate) leftovers: Option<LeftoversView>,
    #[serde(skip)]
    pub(crate) queued: usize,
}

/// Objects that are kept for runs on change, so that those need not list them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheView {
    pub(crate) objects: u64,
    /// Size of the scratch file.
    pub(crate) bytes: u64,
    /// Number of lists that differed from what the watches had reported.
    pub(crate) drifted: u64,
}

/// Watch on one kind.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WatchView {
    /// Components that changes of the kind may concern.
    pub(crate) components: Vec<ComponentName>,
    pub(crate) state: WatchStatus,
    /// Begin of the present state.
    pub(crate) since: Timestamp,
    /// Time of the server's last message, which may also report that nothing happened.
    pub(crate) heard: Option<Timestamp>,
    /// Reason why the kind is not watched.
    pub(crate) problem: Option<String>,
}

/// State of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WatchStatus {
    /// The watch receives changes.
    Watching,
    /// The watch broke and is tried again.
    Broken,
    /// The watch is forbidden or impossible; the components follow their cron schedule.
    Refused,
}

impl WatchStatus {
    pub(crate) const ALL: [Self; 3] = [Self::Watching, Self::Broken, Self::Refused];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Broken => "broken",
            Self::Refused => "refused",
        }
    }
}

/// Counters since the start of the daemon.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Totals {
    pub(crate) committed: u64,
    pub(crate) partial: u64,
    pub(crate) failed: u64,
    pub(crate) retries: u64,
    pub(crate) read_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) checked_objects: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) changes: u64,
    pub(crate) watch_breaks: u64,
    pub(crate) watches_lost: u64,
}

/// Schedule of a component and its outcomes.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ComponentView {
    pub(crate) cron: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) paused: bool,
    pub(crate) on_change: bool,
    pub(crate) next_run: Option<Timestamp>,
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) last_restore_point: Option<String>,
    pub(crate) last_failure: Option<FailureRecord>,
    /// Failed runs in a row. A run at work counts as soon as one of its tries has failed.
    pub(crate) failures_in_a_row: u32,
    /// Time since which a restore point of the component is due and missing, regardless of runs at work.
    pub(crate) overdue_since: Option<Timestamp>,
    /// Due runs that were skipped because a run was at work.
    pub(crate) skipped: u64,
}

/// Failed run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FailureRecord {
    pub(crate) at: Timestamp,
    pub(crate) cause: String,
}

/// Whole state as it is reported.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) version: &'static str,
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) lead: Lead,
    pub(crate) shard: String,
    pub(crate) files: Vec<FileStatus>,
    pub(crate) clusters: Vec<ClusterStatus>,
    #[serde(skip)]
    pub(crate) reloads: u64,
    #[serde(skip)]
    pub(crate) broken_reloads: u64,
}

/// Cluster with its run at work and its recent runs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClusterStatus {
    #[serde(flatten)]
    pub(crate) view: ClusterView,
    pub(crate) run: Option<RunStatus>,
    pub(crate) recent: Vec<RunStatus>,
}

impl StatusBoard {
    pub(crate) fn new(started: Timestamp, shard: Shard) -> Arc<Self> {
        Arc::new(Self {
            started,
            shard,
            inner: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_lead(&self, lead: Lead) {
        self.lock().lead = lead;
    }

    /// Records the result of a reload of the configuration.
    pub(crate) fn set_files(&self, files: Vec<FileStatus>) {
        let mut inner = self.lock();
        inner.reloads = inner.reloads.saturating_add(1);
        if files.iter().any(|file| file.error.is_some()) {
            inner.broken_reloads = inner.broken_reloads.saturating_add(1);
        }
        inner.files = files;
    }

    /// Records that no configuration could be read at `path`.
    pub(crate) fn broken(&self, path: &Path, error: &str) {
        let mut inner = self.lock();
        inner.reloads = inner.reloads.saturating_add(1);
        inner.broken_reloads = inner.broken_reloads.saturating_add(1);
        inner
            .files
            .retain(|file| file.path != path || file.cluster.is_some());
        inner.files.push(FileStatus {
            path: path.to_owned(),
            cluster: None,
            elsewhere: false,
            error: Some(error.to_owned()),
        });
    }

    pub(crate) fn add(&self, cluster: ClusterName, queue: Arc<Queue>, config: Arc<Config>) {
        let store = config
            .store
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let view = ClusterView {
            cluster: cluster.clone(),
            store,
            components: BTreeMap::new(),
            restore_points: None,
            newest_checked: None,
            store_error: None,
            clock_skew_seconds: None,
            talosconfig_valid_until: None,
            totals: Totals::default(),
            watches: BTreeMap::new(),
            kept: CacheView::default(),
            mirror: config.git_mirror.as_ref().map(MirrorView::of),
            leftovers: config.leftovers.as_ref().map(LeftoversView::of),
            queued: 0,
        };
        let new = ClusterEntry {
            queue,
            config,
            view,
            handle: None,
            handles: VecDeque::new(),
        };
        self.lock().clusters.insert(cluster, new);
    }

    pub(crate) fn remove(&self, cluster: &ClusterName) {
        self.lock().clusters.remove(cluster);
    }

    /// Reads or changes one cluster; `None` if it is not here.
    pub(crate) fn with<T>(
        &self,
        cluster: &ClusterName,
        change: impl FnOnce(&mut ClusterEntry) -> T,
    ) -> Option<T> {
        self.lock().clusters.get_mut(cluster).map(change)
    }

    /// Returns the name of the only cluster, if there is exactly one.
    pub(crate) fn only(&self) -> Option<ClusterName> {
        let inner = self.lock();
        let mut names = inner.clusters.keys();
        let name = names.next()?;
        names.next().is_none().then(|| name.clone())
    }

    /// Finds a run by its id.
    pub(crate) fn find(&self, run: &str) -> Option<Arc<RunHandle>> {
        let inner = self.lock();
        let mut handles = inner.clusters.values().flat_map(|cluster| &cluster.handles);
        handles.find(|handle| handle.run() == run).cloned()
    }

    /// Returns the whole state at `now`.
    pub(crate) fn status(&self, now: Timestamp) -> Status {
        let inner = self.lock();
        let clusters = inner.clusters.values().map(|cluster| {
            let mut view = cluster.view.clone();
            view.queued = cluster.queue.len();
            if let Some(handle) = &cluster.handle {
                view.tried(&handle.status());
            }
            let ended = cluster.handles.iter().rev().map(|handle| handle.status());
            ClusterStatus {
                view,
                run: cluster.handle.as_ref().map(|handle| handle.status()),
                recent: ended.filter(|run| run.state.is_end()).collect(),
            }
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            now,
            lead: inner.lead.clone(),
            shard: self.shard.to_string(),
            files: inner.files.clone(),
            clusters: clusters.collect(),
            reloads: inner.reloads,
            broken_reloads: inner.broken_reloads,
        }
    }
}

impl ClusterView {
    /// Counts a run at work whose tries failed as a failed run, because it may go on trying for long.
    fn tried(&mut self, run: &RunStatus) {
        let Some(failed) = &run.failed_try else {
            return;
        };
        for (name, component) in &mut self.components {
            if run.components.is_empty() || run.components.contains(name) {
                component.failures_in_a_row = component.failures_in_a_row.saturating_add(1);
                component.last_failure = Some(FailureRecord {
                    at: failed.at,
                    cause: failed.cause.clone(),
                });
            }
        }
    }
}

impl ClusterEntry {
    /// Remembers a run, and forgets the oldest that has ended.
    pub(crate) fn watch(&mut self, handle: &Arc<RunHandle>) {
        if self.handles.iter().any(|known| Arc::ptr_eq(known, handle)) {
            return;
        }
        self.handles.push_back(Arc::clone(handle));
        while self.handles.len() > RECENT {
            let ended = |handle: &Arc<RunHandle>| handle.status().state.is_end();
            match self.handles.iter().position(ended) {
                Some(oldest) => drop(self.handles.remove(oldest)),
                None => break,
            }
        }
    }

    /// Applies a changed configuration.
    pub(crate) fn configured(&mut self, config: Arc<Config>) {
        self.view.store = config
            .store
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if self.config.git_mirror != config.git_mirror {
            self.view.mirror = config.git_mirror.as_ref().map(MirrorView::of);
        }
        if self.config.leftovers != config.leftovers {
            self.view.leftovers = config.leftovers.as_ref().map(|l| LeftoversView {
                grace_seconds: l.grace.as_secs(),
                ..self.view.leftovers.take().unwrap_or_default()
            });
        }
        self.config = config;
    }

    /// Counts a run that has ended.
    pub(crate) fn count(&mut self, status: &RunStatus) {
        let totals = &mut self.view.totals;
        let counter = match &status.state {
            RunState::Committed {
                missing, not_whole, ..
            } if missing.is_empty() && not_whole.is_empty() => &mut totals.committed,
            RunState::Committed { .. } => &mut totals.partial,
            _ => &mut totals.failed,
        };
        *counter = counter.saturating_add(1);
        totals.read_bytes = totals.read_bytes.saturating_add(status.read_bytes);
        totals.retries = totals
            .retries
            .saturating_add(u64::from(status.tries.saturating_sub(1)));
    }
}
