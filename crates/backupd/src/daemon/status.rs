//! Board with the state of every cluster, read by the status page, the metrics and the runs.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backup_cli::config::Config;
use backup_core::id::ClusterName;
use jiff::Timestamp;

use super::lead::Lead;
use super::leftovers::LeftoversView;
use super::mirror::MirrorView;
use super::queue::Queue;
use super::run_handle::{RunHandle, RunState, RunStatus};
use super::shard::Shard;

mod views;

pub(crate) use views::{
    CacheView, ClusterStatus, ClusterView, ComponentView, FailureRecord, FileStatus, Status,
    Totals, WatchStatus, WatchView,
};

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
