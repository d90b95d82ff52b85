//! State that results from the lines of a journal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::etcd::Proof;
use super::super::immutable;
use super::super::quiesce::ParkedItem;
use super::records::{Outcome, Phase, Record};
use backup_core::digest::Digest;
use backup_core::format::manifest::{Finding, Severity};

/// State after the lines so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Name of the restore.
    pub restore: String,
    /// Digest of its plan.
    pub plan: Option<Digest>,
    /// Time when it began.
    pub began: Option<Timestamp>,
    /// Phases, with the times when each began and ended.
    pub phases: BTreeMap<Phase, (Timestamp, Option<Timestamp>)>,
    /// Steps of the etcd phase.
    pub etcd: Vec<String>,
    /// Proof from these steps of whose work the running etcd is.
    pub proof: Option<Proof>,
    /// Objects that are done, each with its result, UID and reason.
    pub written: BTreeMap<String, ObjectResult>,
    /// Objects whose write was begun and is not known to be done.
    pub open: BTreeSet<String>,
    /// Objects that were created or got other owners, and were not checked again since.
    pub fresh: BTreeSet<String>,
    /// Objects whose late owners are linked.
    pub linked: BTreeSet<String>,
    /// Objects that are stopped and not yet put back, in the order in which they were stopped.
    pub parked: Vec<ParkedItem>,
    /// Objects that were put back, in that order.
    pub back: Vec<ParkedItem>,
    /// Findings of the phases. A phase that runs again finds them again, except for losses.
    pub found: BTreeMap<Phase, Vec<Finding>>,
    /// Result and time of the end of the last attempt, if it ended.
    pub ended: Option<(String, Timestamp)>,
    /// Whether lines may be missing, because the restore continued from a copy.
    pub copied: bool,
    /// Number of times that it continued after an interruption.
    pub resumed: u64,
}

/// Object that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectResult {
    /// Result.
    pub outcome: Outcome,
    /// UID in the cluster.
    pub uid: Option<String>,
    /// Reason.
    pub why: Option<String>,
}

impl JournalState {
    /// Adds one line.
    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Begun {
                restore, plan, at, ..
            } => {
                self.restore = restore;
                self.plan = Some(plan);
                self.began = Some(at);
            }
            Record::Resumed { copied, .. } => {
                self.copied |= copied;
                self.ended = None;
                self.resumed = self.resumed.saturating_add(1);
            }
            Record::PhaseBegun { phase, at } => {
                // Losses are not found again.
                if phase != Phase::Settle {
                    self.found.remove(&phase);
                }
                // The later phases must run again.
                let later = self.phases.iter_mut().filter(|(p, _)| **p > phase);
                for (_, (_, done)) in later {
                    *done = None;
                }
                self.phases.entry(phase).or_insert((at, None)).1 = None;
            }
            Record::PhaseDone { phase, at } => {
                if phase == Phase::Settle {
                    self.fresh.clear();
                }
                self.phases.entry(phase).or_insert((at, None)).1 = Some(at);
            }
            Record::Etcd { reached, trace, .. } => {
                self.etcd.push(reached);
                if let Some(trace) = trace {
                    self.proof = trace.proof();
                }
            }
            Record::Parking { parked } => {
                self.back.retain(|p| p.place() != parked.place());
                if !self.parked.iter().any(|p| p.place() == parked.place()) {
                    self.parked.push(parked);
                }
            }
            Record::Unparked { place } => {
                let is = |parked: &mut ParkedItem| parked.place() == place;
                self.back.extend(self.parked.extract_if(.., is));
            }
            Record::Writing { object } => {
                self.open.insert(object);
            }
            Record::Written {
                object,
                outcome,
                uid,
                why,
            } => {
                self.open.remove(&object);
                if outcome == Outcome::Created {
                    self.fresh.insert(object.clone());
                }
                self.written
                    .insert(object, ObjectResult { outcome, uid, why });
            }
            Record::Linked { object } => {
                self.fresh.insert(object.clone());
                self.linked.insert(object);
            }
            Record::Found { phase, finding } => {
                let found = self.found.entry(phase).or_default();
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
            Record::Ended { how, at } => self.ended = Some((how, at)),
        }
    }

    /// Reports whether a phase is done.
    #[must_use]
    pub fn is_done(&self, phase: Phase) -> bool {
        self.phases
            .get(&phase)
            .is_some_and(|(_, done)| done.is_some())
    }

    /// Reports whether every object was written and checked, and none must be retried.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.is_done(Phase::Settle)
            && self.open.is_empty()
            && self.written.values().all(|d| d.outcome != Outcome::Failed)
    }

    /// Reports whether objects failed and a retry cannot help any of them, because fields cannot be
    /// changed.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let failed = self.written.values();
        let mut failed = failed
            .filter(|done| done.outcome == Outcome::Failed)
            .peekable();
        let clean = self.parked.is_empty()
            && self.open.is_empty()
            && self.findings().all(|f| f.severity != Severity::Error);
        clean
            && failed.peek().is_some()
            && failed.all(|done| immutable::is_final(done.why.as_deref()))
    }

    /// Returns the findings of all phases, in the order of the phases.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.found.values().flatten()
    }

    /// Counts the objects by outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        for done in self.written.values() {
            let count: &mut u64 = counts.entry(done.outcome).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }
}
