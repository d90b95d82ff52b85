//! Running a plan: phase by phase, each thing in the journal before and after it is done.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::guards::{Guard, Guards};
use super::journal::{Done, Journal, Outcome, Phase, Record};
use super::order::Rank;
use super::plan::{Plan, Step, admit};
use super::spool::Spool;
use super::{RecoverError, fixed, lock, quiesce};
use crate::archive::ObjectPath;
use crate::clock::Clock;
use crate::format::manifest::{Finding, Severity};
use crate::progress::Progress;
use crate::source::kube::target::KubeTarget;

mod definitions;
mod link;
mod objects;
mod prune;
mod resume;
mod settle;
mod stop;
mod volumes;

pub(super) use link::unread;

/// Objects written at the same time. An API server gives one client about as many seats; answers of
/// 429 are waited for.
const AT_ONCE: usize = 24;
/// Objects between two lines of the journal that are forced to disk.
const BATCH: usize = 96;

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After the last create, before losses are looked for: a garbage collector reads its kinds anew
    /// every 30 s.
    pub settle: Duration,
    /// For controllers to be ready again.
    pub ready: Duration,
    /// Whether what was stopped stays so when a restore in place ends before its time.
    pub keep_stopped: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(60),
            ready: Duration::from_secs(300),
            keep_stopped: false,
        }
    }
}

/// Keeps a copy of the journal elsewhere.
#[async_trait]
pub trait Copied: Send + Sync {
    /// Waits until the copy has what the journal has, or cannot be had; the restore goes on either
    /// way.
    async fn catch_up(&self);
}

/// No copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCopy;

#[async_trait]
impl Copied for NoCopy {
    async fn catch_up(&self) {}
}

/// A plan that is being run.
pub struct Recovery {
    /// The plan.
    pub plan: Plan,
    /// The cluster.
    pub target: KubeTarget,
    /// What is written.
    pub spool: Spool,
    /// What the restored etcd has.
    pub base: Option<Spool>,
    /// What was done.
    pub journal: Journal,
    /// Precautions.
    pub guards: Guards,
    /// Waiting times.
    pub patience: Patience,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Told how it goes.
    pub progress: Arc<dyn Progress>,
    /// Keeps a copy of the journal.
    pub copy: Arc<dyn Copied>,
    /// Ends it between two objects.
    pub cancel: CancellationToken,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// Objects by what became of them.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// What a person should know.
    pub findings: Vec<Finding>,
    /// What is still stopped.
    pub parked: Vec<quiesce::Parked>,
    /// Whether all that is missing is what trying again cannot help.
    pub stuck: bool,
}

impl Ended {
    /// Whether everything is as planned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parked.is_empty()
            && !self.outcomes.contains_key(&Outcome::Failed)
            && self.findings.iter().all(|f| f.severity != Severity::Error)
    }
}

impl Recovery {
    /// Runs the steps on objects, from wherever the journal ends. If one fails in place, what was
    /// stopped is put back. On a fresh cluster it stays stopped: half of the objects are not there
    /// yet, and controllers would make them anew.
    ///
    /// # Errors
    /// When the cluster, the journal or the scratch file fails; the same journal goes on from there.
    pub async fn run(&mut self) -> Result<Ended, RecoverError> {
        admit(&self.plan, &self.target)?;
        let restore = self.journal.state.restore.clone();
        lock::hold(&self.target, &restore, self.clock.now()).await?;
        let resources = self.plan.has(Step::Resources);
        // What was written and looked at again is not stopped once more.
        if !(resources && self.journal.state.is_written())
            && let Err(error) = self.write().await
        {
            self.let_go().await;
            return Err(error);
        }
        let state = &self.journal.state;
        if resources && !(state.is_done(Phase::Resume) && state.parked.is_empty()) {
            self.phase(Phase::Resume)?;
            let found = match self.resume().await {
                Ok(found) => found,
                Err(error) => {
                    self.let_go().await;
                    return Err(error);
                }
            };
            self.finished(Phase::Resume, found)?;
        }
        lock::release(&self.target, &restore).await?;
        let state = &self.journal.state;
        let mut ended = Ended {
            outcomes: state.outcomes(),
            findings: state.findings().cloned().collect(),
            parked: state.parked.clone(),
            stuck: state.is_stuck(),
        };
        ended.findings.extend(self.told());
        Ok(ended)
    }

    /// Stops what has to stand still, writes everything, and looks whether it stays.
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

    /// Writes down that a phase is done, together with what it found.
    fn finished(&mut self, phase: Phase, found: Vec<Finding>) -> Result<(), RecoverError> {
        let at = self.clock.now();
        let found = found
            .into_iter()
            .map(|finding| Record::Found { phase, finding });
        let mut records: Vec<Record> = found.collect();
        records.push(Record::PhaseDone { phase, at });
        self.journal.write(records)
    }

    /// Positions in order, of the ranks that are `wanted`.
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

    /// Objects that an attempt before this one may have made. What the plan does not make was there
    /// before.
    fn begun_before(&self) -> HashSet<String> {
        let state = &self.journal.state;
        let planned = self.plan.objects.iter();
        let made = planned.filter(|o| o.outcome == Outcome::Created);
        let begun = made.filter(|o| {
            let done = state.written.get(&o.object);
            let failed = done.is_some_and(|done| done.outcome == Outcome::Failed);
            // With lines missing, whatever the plan makes may have been made.
            let missing = done.is_none() && state.copied;
            failed || missing || state.open.contains(&o.object)
        });
        begun.map(|o| o.object.clone()).collect()
    }

    /// Those of a batch that are not done, each with whether it is among `ours`.
    fn open(&self, batch: &[usize], ours: &HashSet<String>) -> Vec<(usize, bool)> {
        let written = &self.journal.state.written;
        let open = batch.iter().filter_map(|position| {
            let place = self.spool.entry(*position)?.path.to_string();
            let done = written.get(&place);
            // What failed is tried again.
            let is_done = done.is_some_and(|done| done.outcome != Outcome::Failed);
            (!is_done).then(|| (*position, ours.contains(&place)))
        });
        open.collect()
    }

    /// The UIDs that written objects have.
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

    fn end(&mut self, done: Vec<(usize, Done)>) -> Result<(), RecoverError> {
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

    /// Objects that are not as planned, as findings.
    fn told(&self) -> Vec<Finding> {
        let written = self.journal.state.written.iter();
        let told = written.filter_map(|(object, done)| {
            let severity = match done.outcome {
                Outcome::Failed => Severity::Error,
                Outcome::Conflict => Severity::Warning,
                Outcome::Created if done.why.is_some() => Severity::Info,
                _ => return None,
            };
            let remedy = match done.outcome {
                Outcome::Failed if fixed::is_told(done.why.as_deref()) => {
                    "do what is said here; `restore-cli resume` alone ends in the same way"
                }
                Outcome::Failed => "see why, then go on with `restore-cli resume`",
                Outcome::Conflict => "compare it with `restore-cli resources get`",
                _ => "nothing has to be done unless it surprises you",
            };
            Some(Finding {
                severity,
                object: object.clone(),
                cause: done.why.clone().unwrap_or_default(),
                remedy: remedy.to_owned(),
            })
        });
        told.collect()
    }
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recovery({})", self.journal.state.restore)
    }
}
