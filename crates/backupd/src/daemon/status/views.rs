//! State of the clusters as the status page and `GET /v1/status` show it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use backup_core::id::{ClusterName, ComponentName};
use jiff::Timestamp;
use serde::Serialize;

use crate::daemon::lead::Lead;
use crate::daemon::leftovers::LeftoversView;
use crate::daemon::mirror::MirrorView;
use crate::daemon::run_handle::RunStatus;
use crate::daemon::store_view::StoreFacts;

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

impl ClusterView {
    /// Counts a run at work whose tries failed as a failed run, because it may go on trying for long.
    pub(super) fn tried(&mut self, run: &RunStatus) {
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
