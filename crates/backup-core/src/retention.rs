//! Retention policy that decides which restore points stay, and for which reasons.
//!
//! The decision is a pure function: it reads no store, and deletes nothing. Each rule counts for each
//! component of each lineage by itself, so a run for one changed Secret never replaces the daily etcd. A
//! restore point goes only if no component of it has a reason to stay.
//!
//! Whatever the policy says, these stay: pinned restore points, the newest whole copy of each component of
//! each lineage, everything that is newer than the clock, and every restore point while a lineage is not
//! accepted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::catalog::RestorePoint;
use crate::id::{ComponentName, RestorePointId};

mod policy;
mod simulation;
mod slots;

pub use policy::{Cadence, PolicyError, RetentionPolicy};
pub use simulation::{Simulation, SimulationComponent, simulate};

/// Restore point as the policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPoint {
    /// Its id.
    pub id: RestorePointId,
    /// Begin of its run.
    pub began: Timestamp,
    /// Whether a person pinned it.
    pub pinned: bool,
    /// Id of its lineage.
    pub lineage: String,
    /// Components that its run took whole. Components that it only names again are not among them.
    pub whole: BTreeSet<ComponentName>,
    /// Components that its run took in part.
    pub partial: BTreeSet<ComponentName>,
}

impl RetentionPoint {
    /// Returns what the policy needs of a restore point.
    #[must_use]
    pub fn of(point: &RestorePoint) -> Self {
        let manifest = &point.manifest;
        let taken = manifest.components.iter();
        let taken = taken.filter(|component| component.carried_from.is_none());
        let (whole, partial) = taken
            .map(|component| component.name.clone())
            .partition(|name| manifest.is_whole(name));
        Self {
            id: point.entry.id.clone(),
            began: manifest.began,
            pinned: manifest.pinned,
            lineage: manifest.lineage.id.clone(),
            whole,
            partial,
        }
    }

    fn components(&self) -> impl Iterator<Item = &ComponentName> {
        self.whole.union(&self.partial)
    }
}

/// Reason why a restore point stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepReason {
    /// A person pinned it.
    Pinned,
    /// It has the newest whole copy of the component in its lineage.
    NewestWhole(ComponentName),
    /// It is one of the newest with the component.
    Last(ComponentName),
    /// It is younger than the policy's duration.
    Within,
    /// It is the newest with the component in its hour, day, week, month or year.
    Newest(Cadence, ComponentName),
    /// Its time is ahead of the clock, so its age is not known.
    Future,
    /// Its cluster's lineage changed, and nobody has accepted the newest one.
    LineageOpen,
    /// It has no component that a rule could count.
    NoComponent,
}

impl std::fmt::Display for KeepReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pinned => write!(f, "pinned"),
            Self::NewestWhole(name) => write!(f, "newest whole {name}"),
            Self::Last(name) => write!(f, "last {name}"),
            Self::Within => write!(f, "within"),
            Self::Newest(cadence, name) => write!(f, "{cadence} {name}"),
            Self::Future => write!(f, "newer than the clock"),
            Self::LineageOpen => write!(f, "a lineage is not accepted"),
            Self::NoComponent => write!(f, "no component"),
        }
    }
}

/// Decision about one restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionDecision {
    /// The restore point.
    pub point: RetentionPoint,
    /// Reasons why it stays; it goes if there is none.
    pub keep: BTreeSet<KeepReason>,
}

impl RetentionDecision {
    /// Reports whether the restore point stays.
    #[must_use]
    pub fn stays(&self) -> bool {
        !self.keep.is_empty()
    }
}

/// Lineages that a person, or the beginning of the prefix, accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedLineages(BTreeSet<String>);

impl AcceptedLineages {
    /// Accepts the lineage of the oldest restore point, and those in `more`.
    #[must_use]
    pub fn of(points: &[RetentionPoint], more: impl IntoIterator<Item = String>) -> Self {
        let oldest = points.iter().min_by_key(|point| (point.began, &point.id));
        let oldest = oldest.map(|point| point.lineage.clone());
        Self(oldest.into_iter().chain(more).collect())
    }

    fn all(&self, points: &[RetentionPoint]) -> bool {
        points.iter().all(|point| self.0.contains(&point.lineage))
    }
}

/// Decides about each of `points` at `now`; returns the decisions in the order of `points`.
#[must_use]
pub fn decide(
    policy: &RetentionPolicy,
    points: &[RetentionPoint],
    accepted: &AcceptedLineages,
    now: Timestamp,
) -> Vec<RetentionDecision> {
    let open = !accepted.all(points);
    let mut decisions: Vec<RetentionDecision> = points
        .iter()
        .map(|point| RetentionDecision {
            point: point.clone(),
            keep: always(policy, point, open, now),
        })
        .collect();
    // Newest first, and the id decides between equal times, so that the order of the listing does not count.
    let mut order: Vec<usize> = (0..decisions.len()).collect();
    order.sort_by_key(|at| {
        let point = points.get(*at);
        std::cmp::Reverse(point.map(|point| (point.began, point.id.clone())))
    });
    let mut groups: BTreeMap<(&str, &ComponentName), Vec<usize>> = BTreeMap::new();
    for at in order {
        let Some(point) = points.get(at).filter(|point| point.began <= now) else {
            continue;
        };
        for name in point.components() {
            let group = groups.entry((point.lineage.as_str(), name)).or_default();
            group.push(at);
        }
    }
    for ((_, name), group) in groups {
        let times: Vec<Timestamp> = group
            .iter()
            .filter_map(|at| points.get(*at).map(|point| point.began))
            .collect();
        let whole = |at: &&usize| {
            let point = points.get(**at);
            point.is_some_and(|point| point.whole.contains(name))
        };
        let newest_whole = group.iter().find(whole).copied();
        let reasons = slots::reasons(policy, &times, name);
        let newest_whole = newest_whole.map(|at| (at, KeepReason::NewestWhole(name.clone())));
        let chosen = reasons
            .into_iter()
            .filter_map(|(place, reason)| Some((*group.get(place)?, reason)));
        for (at, reason) in chosen.chain(newest_whole) {
            if let Some(decision) = decisions.get_mut(at) {
                decision.keep.insert(reason);
            }
        }
    }
    decisions
}

/// Returns the reasons that depend on the restore point alone.
fn always(
    policy: &RetentionPolicy,
    point: &RetentionPoint,
    open: bool,
    now: Timestamp,
) -> BTreeSet<KeepReason> {
    let age = now.duration_since(point.began);
    let young = policy.within.is_some_and(|within| age <= within);
    let reasons = [
        (point.pinned, KeepReason::Pinned),
        (age < SignedDuration::ZERO, KeepReason::Future),
        (young, KeepReason::Within),
        (open, KeepReason::LineageOpen),
        (point.components().next().is_none(), KeepReason::NoComponent),
    ];
    let reasons = reasons.into_iter().filter(|(holds, _)| *holds);
    reasons.map(|(_, reason)| reason).collect()
}

#[cfg(test)]
mod tests;
