//! What the lines of a journal say, taken one after the other.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::etcd::Proof;
use super::super::fixed;
use super::super::quiesce::Parked;
use super::records::{Outcome, Phase, Record};
use crate::digest::Digest;
use crate::format::manifest::{Finding, Severity};

/// What the lines so far say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The restore's name.
    pub restore: String,
    /// Its plan.
    pub plan: Option<Digest>,
    /// When it began.
    pub began: Option<Timestamp>,
    /// Phases with their times.
    pub phases: BTreeMap<Phase, (Timestamp, Option<Timestamp>)>,
    /// Steps of the etcd phase.
    pub etcd: Vec<String>,
    /// What they show of whose work the etcd is that runs.
    pub proof: Option<Proof>,
    /// Objects that are done: what became of each, its UID, and why.
    pub written: BTreeMap<String, Done>,
    /// Objects that were begun and are not known to be done.
    pub open: BTreeSet<String>,
    /// Objects that were made or got other owners, and were not looked at again since.
    pub fresh: BTreeSet<String>,
    /// Objects whose late owners are named.
    pub linked: BTreeSet<String>,
    /// What is stopped and not yet put back, in the order it was stopped.
    pub parked: Vec<Parked>,
    /// What was put back, in that order.
    pub back: Vec<Parked>,
    /// What phases found that a person should know; a phase that is done again finds it again,
    /// but for losses.
    pub found: BTreeMap<Phase, Vec<Finding>>,
    /// How the last attempt ended, if it did.
    pub ended: Option<(String, Timestamp)>,
    /// Whether lines may be missing: it went on from a copy.
    pub copied: bool,
    /// How often it went on after an interruption.
    pub resumed: u64,
}

/// An object that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What became of it.
    pub outcome: Outcome,
    /// The UID that it has now.
    pub uid: Option<String>,
    /// Why.
    pub why: Option<String>,
}

impl State {
    /// Takes one more line.
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
                // What follows has to follow anew.
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
                let is = |parked: &mut Parked| parked.place() == place;
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
                self.written.insert(object, Done { outcome, uid, why });
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

    /// Whether a phase is done.
    #[must_use]
    pub fn is_done(&self, phase: Phase) -> bool {
        self.phases
            .get(&phase)
            .is_some_and(|(_, done)| done.is_some())
    }

    /// Whether every object was written and looked at again, and none has to be tried once more.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.is_done(Phase::Settle)
            && self.open.is_empty()
            && self.written.values().all(|d| d.outcome != Outcome::Failed)
    }

    /// Whether objects failed, and trying again can help none of them: fields cannot be changed.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let failed = self.written.values();
        let mut failed = failed
            .filter(|done| done.outcome == Outcome::Failed)
            .peekable();
        let clean = self.parked.is_empty()
            && self.open.is_empty()
            && self.findings().all(|f| f.severity != Severity::Error);
        clean && failed.peek().is_some() && failed.all(|done| fixed::is_told(done.why.as_deref()))
    }

    /// What all phases found, in their order.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.found.values().flatten()
    }

    /// How many objects ended as each outcome.
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
