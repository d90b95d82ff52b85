//! Simulation of a policy on the runs of a schedule.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{AcceptedLineages, RetentionDecision, RetentionPoint, RetentionPolicy, decide};
use crate::digest::Digest;
use crate::id::{ComponentName, RestorePointId};

/// Time between two applications of the policy.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Lineage of all simulated restore points.
const LINEAGE: &str = "simulation";

/// Restore points that a policy has left at the end of a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// Number of runs.
    pub runs: u64,
    /// Largest number of restore points at one time.
    pub most: u64,
    /// Number of restore points at the end.
    pub restore_points: u64,
    /// Restore points at the end, for each component.
    pub components: BTreeMap<ComponentName, SimulationComponent>,
}

/// Restore points with one component at the end of a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulationComponent {
    /// Number of restore points.
    pub restore_points: u64,
    /// Time of the oldest.
    pub oldest: Timestamp,
    /// Longest time between two restore points within the last day, week, month and year, and before.
    pub gaps: [Option<SignedDuration>; 5],
}

/// Ages, in days, at which the stretches of [`SimulationComponent::gaps`] end; the last has no end.
const AGES: [i64; 4] = [1, 7, 31, 366];

/// Plays `runs`, which are in order of time, and applies the policy once a day until `end`.
#[must_use]
pub fn simulate(
    policy: &RetentionPolicy,
    runs: impl IntoIterator<Item = (Timestamp, BTreeSet<ComponentName>)>,
    end: Timestamp,
) -> Simulation {
    let mut points: Vec<RetentionPoint> = Vec::new();
    let (mut count, mut most) = (0_u64, 0);
    let mut next: Option<Timestamp> = None;
    for (began, components) in runs {
        if began > end {
            break;
        }
        let due = *next.get_or_insert_with(|| began.checked_add(DAY).unwrap_or(end));
        if began >= due {
            most = most.max(points.len());
            apply(policy, &mut points, began);
            next = began.checked_add(DAY).ok();
        }
        count = count.saturating_add(1);
        let digest = Digest::of(&count.to_be_bytes());
        points.push(RetentionPoint {
            id: RestorePointId::new(began, digest),
            began,
            pinned: false,
            lineage: LINEAGE.to_owned(),
            whole: components,
            partial: BTreeSet::new(),
        });
    }
    most = most.max(points.len());
    apply(policy, &mut points, end);
    Simulation {
        runs: count,
        most: number(most),
        restore_points: number(points.len()),
        components: components(&points, end),
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn apply(policy: &RetentionPolicy, points: &mut Vec<RetentionPoint>, now: Timestamp) {
    let accepted = AcceptedLineages::of(points, []);
    let decisions = decide(policy, points, &accepted, now);
    let stay = decisions.into_iter().filter(RetentionDecision::stays);
    *points = stay.map(|decision| decision.point).collect();
}

fn components(
    points: &[RetentionPoint],
    end: Timestamp,
) -> BTreeMap<ComponentName, SimulationComponent> {
    let mut times: BTreeMap<&ComponentName, Vec<Timestamp>> = BTreeMap::new();
    for point in points {
        for name in &point.whole {
            times.entry(name).or_default().push(point.began);
        }
    }
    let of = |(name, times): (&ComponentName, Vec<Timestamp>)| {
        let oldest = times.iter().min().copied()?;
        let component = SimulationComponent {
            restore_points: number(times.len()),
            oldest,
            gaps: gaps(&times, end),
        };
        Some((name.clone(), component))
    };
    times.into_iter().filter_map(of).collect()
}

/// Returns the longest gap that ends in each stretch of ages.
fn gaps(times: &[Timestamp], end: Timestamp) -> [Option<SignedDuration>; 5] {
    let mut gaps = [None; 5];
    let later = times.iter().skip(1).copied().chain([end]);
    for (from, to) in times.iter().zip(later) {
        let age = end.duration_since(to);
        let stretch = AGES
            .iter()
            .position(|days| age < SignedDuration::from_hours(24 * days));
        if let Some(longest) = gaps.get_mut(stretch.unwrap_or(AGES.len())) {
            *longest = (*longest).max(Some(to.duration_since(*from)));
        }
    }
    gaps
}
