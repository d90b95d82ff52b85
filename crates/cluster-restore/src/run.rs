//! Execution of a plan, phase by phase; each action is in the journal before and after it is done.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::guards::{Guard, Guards};
use super::journal::{Journal, ObjectResult, Outcome, Phase, Record};
use super::order::Rank;
use super::plan::{Plan, Step, admit};
use super::spool::ObjectSpool;
use super::{RecoverError, immutable, lock, quiesce};
use backup_core::archive::ObjectPath;
use backup_core::clock::Clock;
use backup_core::format::manifest::{Finding, Severity};
use backup_core::progress::Progress;
use cluster_client::kube::target::KubeTarget;

mod definitions;
mod link;
mod objects;
mod prune;
mod resume;
mod settle;
mod stop;
mod volumes;

pub(super) use link::unread;

/// Objects written at the same time. An API server gives one client about this many seats; after an answer of
/// 429 the client waits.
const AT_ONCE: usize = 24;
/// Objects between two journal lines that are forced to disk.
const BATCH: usize = 96;

/// Waiting times.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Time between the last create and the check for losses: a garbage collector refreshes its list of kinds
    /// every 30 s.
    pub settle: Duration,
    /// Time limit for controllers to become ready again.
    pub ready: Duration,
    /// Whether stopped controllers stay stopped when a restore in place ends early.
    pub keep_stopped: bool,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(60),
            ready: Duration::from_secs(300),
            keep_stopped: false,
        }
    }
}

/// Keeper of a copy of the journal elsewhere.
#[async_trait]
pub trait JournalReplica: Send + Sync {
    /// Waits until the copy is as new as the journal or cannot be written; the restore continues either way.
    async fn catch_up(&self);
}

/// Keeper that keeps no copy of the journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReplica;

#[async_trait]
impl JournalReplica for NoReplica {
    async fn catch_up(&self) {}
}

/// Plan that is being run.
pub struct Recovery {
    /// Plan.
    pub plan: Plan,
    /// Cluster that is written to.
    pub target: KubeTarget,
    /// Objects to write.
    pub spool: ObjectSpool,
    /// Objects of the restored etcd.
    pub base: Option<ObjectSpool>,
    /// Journal of the actions done so far.
    pub journal: Journal,
    /// Precautions that are active.
    pub guards: Guards,
    /// Waiting times.
    pub timeouts: Timeouts,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Receiver of progress messages.
    pub progress: Arc<dyn Progress>,
    /// Keeper of a copy of the journal.
    pub copy: Arc<dyn JournalReplica>,
    /// Token that stops the restore between two objects.
    pub cancel: CancellationToken,
}

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Number of objects with each outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Findings for the operator.
    pub findings: Vec<Finding>,
    /// Controllers, webhooks and objects that are still stopped.
    pub parked: Vec<quiesce::ParkedItem>,
    /// Whether objects failed and another attempt cannot help any of them.
    pub stuck: bool,
}

impl RecoveryReport {
    /// Whether everything is as planned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parked.is_empty()
            && !self.outcomes.contains_key(&Outcome::Failed)
            && self.findings.iter().all(|f| f.severity != Severity::Error)
    }
}

impl Recovery {
    /// Runs the steps on objects, starting where the journal ends. If a step fails in place, what was stopped
    /// is put back. On a fresh cluster it stays stopped: half of the objects do not exist yet, and
    /// controllers would create them again.
    ///
    /// # Errors
    /// When the cluster, the journal or the scratch file fails; a later run continues with the same journal.
    pub async fn run(&mut self) -> Result<RecoveryReport, RecoverError> {
        admit(&self.plan, &self.target)?;
        let restore = self.journal.state.restore.clone();
        lock::hold(&self.target, &restore, self.clock.now()).await?;
        let resources = self.plan.has(Step::Resources);
        // Objects that were written and checked do not need another stop.
        if !(resources && self.journal.state.is_written())
            && let Err(error) = self.write().await
        {
            self.put_back_parked().await;
            return Err(error);
        }
        let state = &self.journal.state;
        if resources && !(state.is_done(Phase::Resume) && state.parked.is_empty()) {
            self.phase(Phase::Resume)?;
            let found = match self.resume().await {
                Ok(found) => found,
                Err(error) => {
                    self.put_back_parked().await;
                    return Err(error);
                }
            };
            self.finished(Phase::Resume, found)?;
        }
        lock::release(&self.target, &restore).await?;
        let state = &self.journal.state;
        let mut ended = RecoveryReport {
            outcomes: state.outcomes(),
            findings: state.findings().cloned().collect(),
            parked: state.parked.clone(),
            stuck: state.is_stuck(),
        };
        ended.findings.extend(self.outcome_findings());
        Ok(ended)
    }

    /// Stops controllers, writes everything, and checks that it stays.
    async fn write(&mut self) -> Result<(), RecoverError> {
        let resources = self.plan.has(Step::Resources);
        let ours = self.begun_before();
        if resources && self.guards.has(Guard::Quiesce) {
            self.phase(Phase::Quiesce)?;
            let found = self.quiesce().await?;
            self.finished(Phase::Quiesce, found)?;
        }
        if self.plan.has(Step::Crds) {
            self.phase(Phase::Crds)?;
            self.definitions(&ours).await?;
            self.finished(Phase::Crds, Vec::new())?;
        }
        if resources {
            let without = self.left_out()?;
            self.phase(Phase::Objects)?;
            let (relinked, found) = self.owners_first(&without, &ours).await?;
            let named = self.objects(&without, &ours, &relinked).await?;
            self.prune().await?;
            self.finished(Phase::Objects, found)?;
            self.phase(Phase::Link)?;
            let found = self.link(&without, &named).await?;
            self.finished(Phase::Link, found)?;
            self.phase(Phase::Settle)?;
            let mut found = self.settle().await?;
            found.extend(self.volumes().await?);
            self.finished(Phase::Settle, found)?;
        }
        Ok(())
    }

    fn phase(&mut self, phase: Phase) -> Result<(), RecoverError> {
        if self.cancel.is_cancelled() {
            return Err(RecoverError::Cancelled);
        }
        let at = self.clock.now();
        self.journal.write(vec![Record::PhaseBegun { phase, at }])
    }

    /// Records that a phase is done, together with its findings.
    fn finished(&mut self, phase: Phase, found: Vec<Finding>) -> Result<(), RecoverError> {
        let at = self.clock.now();
        let found = found
            .into_iter()
            .map(|finding| Record::Found { phase, finding });
        let mut records: Vec<Record> = found.collect();
        records.push(Record::PhaseDone { phase, at });
        self.journal.write(records)
    }

    /// Returns the positions of all objects whose rank is `wanted`, in order.
    fn positions(&self, wanted: impl Fn(Rank) -> bool) -> Vec<Vec<usize>> {
        let mut order = self.spool.order();
        if !self.guards.has(Guard::Order) {
            order.reverse();
        }
        let is = |position: &usize| self.spool.entry(*position).is_some_and(|e| wanted(e.rank));
        for turn in &mut order {
            turn.retain(is);
        }
        order.retain(|turn| !turn.is_empty());
        order
    }

    /// Returns objects that an earlier attempt may have created. Objects that the plan does not create
    /// existed before.
    fn begun_before(&self) -> HashSet<String> {
        let state = &self.journal.state;
        let planned = self.plan.objects.iter();
        let made = planned.filter(|o| o.outcome == Outcome::Created);
        let begun = made.filter(|o| {
            let done = state.written.get(&o.object);
            let failed = done.is_some_and(|done| done.outcome == Outcome::Failed);
            // If journal lines are missing, every object that the plan creates may have been created.
            let missing = done.is_none() && state.copied;
            failed || missing || state.open.contains(&o.object)
        });
        begun.map(|o| o.object.clone()).collect()
    }

    /// Returns the objects of a batch that are not done, each with whether it is among `ours`.
    fn open(&self, batch: &[usize], ours: &HashSet<String>) -> Vec<(usize, bool)> {
        let written = &self.journal.state.written;
        let open = batch.iter().filter_map(|position| {
            let place = self.spool.entry(*position)?.path.to_string();
            let done = written.get(&place);
            // A failed object is tried again.
            let is_done = done.is_some_and(|done| done.outcome != Outcome::Failed);
            (!is_done).then(|| (*position, ours.contains(&place)))
        });
        open.collect()
    }

    /// Returns the UIDs of written objects, by position.
    fn uids(&self) -> HashMap<usize, String> {
        let written = self.journal.state.written.iter();
        let known = written.filter_map(|(place, done)| {
            let path: ObjectPath = place.parse().ok()?;
            Some((self.spool.by_path(&path)?, done.uid.clone()?))
        });
        known.collect()
    }

    fn begin(&mut self, batch: &[(usize, bool)]) -> Result<(), RecoverError> {
        let records = batch.iter().filter_map(|(position, _)| {
            let object = self.spool.entry(*position)?.path.to_string();
            Some(Record::Writing { object })
        });
        let records = records.collect();
        self.journal.write(records)
    }

    fn end(&mut self, done: Vec<(usize, ObjectResult)>) -> Result<(), RecoverError> {
        let records = done.into_iter().filter_map(|(position, done)| {
            let object = self.spool.entry(position)?.path.to_string();
            Some(Record::Written {
                object,
                outcome: done.outcome,
                uid: done.uid,
                why: done.why,
            })
        });
        let records = records.collect();
        self.journal.write(records)
    }

    /// Returns a finding for each object that is not as planned.
    fn outcome_findings(&self) -> Vec<Finding> {
        let written = self.journal.state.written.iter();
        let told = written.filter_map(|(object, done)| {
            let severity = match done.outcome {
                Outcome::Failed => Severity::Error,
                Outcome::Conflict => Severity::Warning,
                Outcome::Created if done.why.is_some() => Severity::Info,
                _ => return None,
            };
            let remedy = match done.outcome {
                Outcome::Failed if immutable::is_final(done.why.as_deref()) => {
                    "do what is said here; `restore-cli resume` alone ends in the same way"
                }
                Outcome::Failed => "see why, then continue with `restore-cli resume`",
                Outcome::Conflict => "compare it with `restore-cli resources get`",
                _ => "nothing has to be done unless it surprises you",
            };
            Some(Finding::new(
                severity,
                object.clone(),
                done.why.clone().unwrap_or_default(),
                remedy,
            ))
        });
        told.collect()
    }
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recovery({})", self.journal.state.restore)
    }
}
