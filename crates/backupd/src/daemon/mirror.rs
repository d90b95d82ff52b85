//! Git mirror of a cluster: runs feed it, the board reports it, and it never delays a run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backup_cli::config::{Config, GitMirror};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_core::backup::NewRestorePoint;
use backup_core::clock::Clock;
use backup_core::format::manifest::Manifest;
use backup_core::id::RestorePointId;
use backup_core::proxy::Proxies;
use backup_core::source::ObjectTap;
use cluster_restore::mirror::{Access, MirrorError, PublishReport, StagedObjects, StagingArea};
use jiff::Timestamp;
use serde::Serialize;

use super::isolation::isolate;
use super::status::{ClusterView, FailureRecord};
use crate::run_builder::sources::Sources;

/// Largest number of restore points that wait to be mirrored, each with its notes on the disk. Older ones are
/// left out, because the newest contains everything.
const WAITING: usize = 4;
/// Time limit for mirroring one restore point, with all requests to the remote; each call of `git` has its
/// own limit.
const LIMIT: Duration = Duration::from_secs(600);

/// Mirror as it is reported.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MirrorView {
    pub(crate) repository: String,
    pub(crate) branch: String,
    pub(crate) path: String,
    /// Last commit; `restore_point` is its restore point.
    pub(crate) commit: Option<String>,
    pub(crate) restore_point: Option<String>,
    /// Time when the remote last had everything that was to be mirrored.
    pub(crate) last_success: Option<Timestamp>,
    /// Reason why the remote does not have it now.
    pub(crate) problem: Option<FailureRecord>,
    /// Commits that the remote does not have yet.
    pub(crate) unpushed: u64,
    /// Fields that the last commit left out because they may be secret.
    pub(crate) left_out_fields: u64,
    /// Commits since the start of the daemon.
    pub(crate) commits: u64,
    /// Commits since then that were given up because others had changed the same lines.
    pub(crate) given_up: u64,
    /// Restore points since then that were not mirrored because too many waited.
    pub(crate) skipped: u64,
}

impl MirrorView {
    pub(crate) fn of(mirror: &GitMirror) -> Self {
        Self {
            repository: mirror.mirror.repository.clone(),
            branch: mirror.mirror.branch.clone(),
            path: mirror.mirror.path.clone(),
            ..Self::default()
        }
    }
}

/// Notes of a run for the mirror, or the error that prevented them.
pub(crate) type StagedNotes = Result<StagedObjects, MirrorError>;

/// Recorder of the objects that a run reads, if they are to be mirrored.
#[derive(Debug)]
pub(crate) struct NoteRecorder(Option<Result<Arc<StagingArea>, MirrorError>>);

impl NoteRecorder {
    /// Begins to record what `sources` read.
    pub(crate) fn begin(config: &Config, sources: &mut Sources) -> Self {
        let begun = config.git_mirror.as_ref().zip(sources.mirrored());
        let begun = begun.map(|(git, kinds)| {
            let stage = StagingArea::begin(&git.mirror.folder, kinds)?;
            let tap: Arc<dyn ObjectTap> = Arc::<StagingArea>::clone(&stage);
            sources.show_to(&tap);
            Ok(stage)
        });
        Self(begun)
    }

    /// Returns the recorded notes.
    pub(crate) fn end(self) -> Option<StagedNotes> {
        Some(self.0?.and_then(|stage| stage.take()))
    }
}

/// Restore point to be mirrored.
#[derive(Debug)]
pub(crate) struct MirrorJob {
    config: Arc<Config>,
    noted: StagedNotes,
    id: RestorePointId,
    manifest: Arc<Manifest>,
    proxies: Proxies,
}

/// Outcome of mirroring one restore point.
#[derive(Debug)]
pub(crate) struct MirrorOutcome {
    id: RestorePointId,
    result: Result<PublishReport, String>,
}

impl MirrorJob {
    pub(crate) fn new(
        config: &Arc<Config>,
        proxies: &Proxies,
        noted: StagedNotes,
        committed: &NewRestorePoint,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            noted,
            id: committed.id.clone(),
            manifest: Arc::new(committed.manifest.clone()),
            proxies: proxies.clone(),
        }
    }

    pub(crate) async fn run(self) -> MirrorOutcome {
        let id = self.id.clone();
        let published = isolate(self.publish(), |cause| {
            Err(Failure::message(Exit::Failed, cause))
        });
        let result = match tokio::time::timeout(LIMIT, published).await {
            Ok(published) => published.map_err(|failure| failure.one_line()),
            Err(_) => Err(format!("not done within {} s", LIMIT.as_secs())),
        };
        MirrorOutcome { id, result }
    }

    async fn publish(self) -> Result<PublishReport, Failure> {
        let failed = |error: MirrorError| Failure::from(anyhow::Error::new(error));
        let Some(git) = &self.config.git_mirror else {
            return Ok(PublishReport::default());
        };
        let access = Access {
            proxies: self.proxies,
            ..git.access()?
        };
        let staged = self.noted.map_err(failed)?;
        let selection = &self.config.kubernetes.selection;
        let published = git
            .mirror
            .publish(&access, staged, &self.id, &self.manifest, selection);
        published.await.map_err(failed)
    }
}

/// Restore points that wait to be mirrored.
#[derive(Debug, Default)]
pub(crate) struct MirrorQueue(VecDeque<MirrorJob>);

impl MirrorQueue {
    /// Adds a restore point; returns true if the oldest was dropped.
    pub(crate) fn push(&mut self, job: MirrorJob) -> bool {
        self.0.push_back(job);
        let full = self.0.len() > WAITING;
        if full {
            self.0.pop_front();
        }
        full
    }

    pub(crate) fn next(&mut self) -> Option<MirrorJob> {
        self.0.pop_front()
    }
}

impl MirrorOutcome {
    /// Reports the outcome on the board and in the log.
    pub(crate) fn report(self, view: &mut ClusterView, clock: &dyn Clock) {
        let (cluster, now) = (view.cluster.clone(), clock.now());
        let Some(view) = &mut view.mirror else {
            return;
        };
        let restore_point = self.id.to_string();
        let problem = match self.result {
            Ok(published) => {
                view.left_out_fields = published.left_out;
                view.unpushed = published.unpushed;
                view.given_up = view.given_up.saturating_add(published.given_up);
                if published.given_up > 0 {
                    let commits = published.given_up;
                    tracing::warn!(%cluster, commits, "others had changed the same files of the mirror; its state was written on top of theirs");
                }
                if let Some(commit) = published.commit {
                    let (written, removed) = (published.written, published.removed);
                    tracing::info!(%cluster, restore_point, commit, written, removed, "mirrored");
                    view.commits = view.commits.saturating_add(1);
                    view.commit = Some(commit);
                    view.restore_point = Some(restore_point.clone());
                }
                let problem = published
                    .problem
                    .map(|e| Failure::from(anyhow::Error::new(e)));
                problem.map(|failure| failure.one_line())
            }
            Err(error) => Some(error),
        };
        match problem {
            None => {
                view.problem = None;
                view.last_success = Some(now);
            }
            Some(cause) => {
                tracing::error!(%cluster, restore_point, error = cause, "not mirrored");
                view.problem = Some(FailureRecord { at: now, cause });
            }
        }
    }
}
