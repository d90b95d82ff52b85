//! Timetable of one cluster: a pure table that computes from a given time which components are due.

use std::time::Duration;

use backup_cli::config::{Component, Config};
use backup_core::digest::Digest;
use backup_core::id::{ClusterName, ComponentName};
use backup_core::num::to_millis;
use jiff::{SignedDuration, Timestamp};

/// Delay from which a run counts as missed, because the machine slept or was down.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// Pause after the first run that failed with all its retries.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// Longest pause after a failed run. A store that was away is written to at most this long after its return.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Longest pause after a partial run; each one adds a restore point.
const LONGEST_AFTER_PARTIAL: SignedDuration = SignedDuration::from_hours(1);

/// Reason why a component is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DueReason {
    /// Its scheduled time came.
    Schedule,
    /// Its scheduled time was missed.
    CatchUp,
    /// Its last run failed.
    Retry,
}

/// Component that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueComponent {
    pub(crate) component: ComponentName,
    pub(crate) why: DueReason,
}

/// Timetable of a cluster; see the module.
#[derive(Debug)]
pub(crate) struct Timetable {
    cluster: ClusterName,
    /// Seed of the jitter, as an argument for tests.
    seed: u64,
    lines: Vec<TimetableEntry>,
}

/// One component.
#[derive(Debug)]
struct TimetableEntry {
    component: Component,
    /// Times up to here are handled.
    done: Timestamp,
    /// Times up to here do not count as missed: the schedule did not exist, or was paused.
    since: Timestamp,
    /// Run that must be made up for, and the time to try.
    owed: Option<(Timestamp, DueReason)>,
    failures: u32,
}

impl Timetable {
    /// Makes the table of a configuration. Nothing before `now` is due until [`Timetable::recall`].
    pub(crate) fn new(cluster: &ClusterName, config: &Config, seed: u64, now: Timestamp) -> Self {
        let lines = config.components.iter().map(|component| TimetableEntry {
            component: component.clone(),
            done: now,
            since: now,
            owed: None,
            failures: 0,
        });
        Self {
            cluster: cluster.clone(),
            seed,
            lines: lines.collect(),
        }
    }

    /// Applies a changed configuration; missed runs stay due.
    pub(crate) fn reload(&mut self, config: &Config, now: Timestamp) {
        let old = std::mem::take(&mut self.lines);
        let lines = config.components.iter().map(|component| {
            let before = old.iter().find(|l| l.component.name == component.name);
            let scheduled = before.filter(|l| !l.component.paused);
            TimetableEntry {
                component: component.clone(),
                // Times during a pause are not made up for.
                done: scheduled.map_or(now, |line| line.done.min(now)),
                since: scheduled.map_or(now, |line| line.since.min(now)),
                owed: scheduled.and_then(|line| line.owed),
                failures: before.map_or(0, |line| line.failures),
            }
        });
        self.lines = lines.collect();
    }

    /// Takes the time of each component's last backup from the store. Runs that were missed since then, and
    /// components that were never taken, are made up for once.
    pub(crate) fn recall(
        &mut self,
        last: impl Fn(&ComponentName) -> Option<Timestamp>,
        now: Timestamp,
    ) {
        for line in &mut self.lines {
            let Some(schedule) = &line.component.schedule else {
                continue;
            };
            let missed = match last(&line.component.name) {
                Some(last) => schedule.last(last, now).is_some(),
                None => true,
            };
            line.done = now;
            // Runs that were missed before the start still count as missed.
            line.since = last(&line.component.name).map_or(line.since, |last| last.min(line.since));
            if missed && line.component.catch_up && !line.component.paused && line.owed.is_none() {
                line.owed = Some((now, DueReason::CatchUp));
            } else if !missed {
                line.owed = None;
                line.failures = 0;
            }
        }
    }

    /// Returns the due components; each time is returned once.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<DueComponent> {
        let (cluster, seed) = (&self.cluster, self.seed);
        let due = self.lines.iter_mut().filter_map(|line| {
            let why = line.due(cluster, seed, now)?;
            Some(DueComponent {
                component: line.component.name.clone(),
                why,
            })
        });
        due.collect()
    }

    /// Returns the time of the next due component; `None` if nothing will be due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.lines.iter().filter_map(|l| self.next_of_line(l)).min()
    }

    /// Returns the next time when `component` is due.
    pub(crate) fn next_of(&self, component: &ComponentName) -> Option<Timestamp> {
        let line = self.lines.iter().find(|l| l.component.name == *component);
        self.next_of_line(line?)
    }

    fn next_of_line(&self, line: &TimetableEntry) -> Option<Timestamp> {
        let planned = line.planned(&self.cluster, self.seed).map(|(_, at)| at);
        planned.into_iter().chain(line.owed.map(|(at, _)| at)).min()
    }

    /// Notes that a component was taken.
    pub(crate) fn taken(&mut self, component: &ComponentName) {
        if let Some(line) = self.line(component) {
            line.owed = None;
            line.failures = 0;
        }
    }

    /// Notes that a component could not be taken: it is tried again, later each time.
    pub(crate) fn failed(&mut self, component: &ComponentName, now: Timestamp) {
        self.owe(component, now, LONGEST_PAUSE);
    }

    /// Notes that a component was taken partially: a failure, which is tried again less often.
    pub(crate) fn partial(&mut self, component: &ComponentName, now: Timestamp) {
        self.owe(component, now, LONGEST_AFTER_PARTIAL);
    }

    fn owe(&mut self, component: &ComponentName, now: Timestamp, longest: SignedDuration) {
        let Some(line) = self.line(component) else {
            return;
        };
        let doublings = line.failures.min(10);
        line.failures = line.failures.saturating_add(1);
        let planned = line.component.schedule.is_some() || line.component.on_change;
        if !planned || !line.component.catch_up {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1_i32 << doublings).min(longest);
        line.owed = now.checked_add(pause).ok().map(|at| (at, DueReason::Retry));
    }

    /// Returns the number of failures of `component` in a row.
    pub(crate) fn failures(&self, component: &ComponentName) -> u32 {
        let line = self.lines.iter().find(|l| l.component.name == *component);
        line.map_or(0, |line| line.failures)
    }

    /// Returns the time since which a restore point with `component` is overdue, if it was last taken at
    /// `last`: the first scheduled time after that, with its jitter, if it has passed. Times during a pause
    /// do not count.
    pub(crate) fn overdue(
        &self,
        component: &ComponentName,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let line = self.lines.iter().find(|l| l.component.name == *component)?;
        let schedule = line.component.schedule.as_ref();
        let schedule = schedule.filter(|_| !line.component.paused)?;
        let since = last.map_or(line.since, |last| last.max(line.since));
        let due = schedule.next(since)?;
        let due = due.checked_add(signed(line.component.jitter)).ok()?;
        (due <= now).then_some(due)
    }

    /// Adapts the table to a clock that was put back: earlier times may come again.
    pub(crate) fn put_back(&mut self, now: Timestamp) {
        for line in &mut self.lines {
            line.done = line.done.min(now);
            if let Some((at, _)) = &mut line.owed {
                *at = (*at).min(now.saturating_add(LONGEST_PAUSE).unwrap_or(now));
            }
        }
    }

    fn line(&mut self, component: &ComponentName) -> Option<&mut TimetableEntry> {
        self.lines
            .iter_mut()
            .find(|l| l.component.name == *component)
    }
}

impl TimetableEntry {
    /// Returns the next time that is not handled, and the time when its run begins.
    fn planned(&self, cluster: &ClusterName, seed: u64) -> Option<(Timestamp, Timestamp)> {
        let schedule = self.component.schedule.as_ref();
        let schedule = schedule.filter(|_| !self.component.paused)?;
        let time = schedule.next(self.done)?;
        let most = match schedule.next(time) {
            Some(after) => self
                .component
                .jitter
                .min(after.duration_since(time).unsigned_abs()),
            None => self.component.jitter,
        };
        // The jitter does not depend on the component: components that are due together form one restore
        // point.
        let late = jitter(&format!("{seed} {cluster} {time}"), most);
        Some((time, time.checked_add(late).ok()?))
    }

    fn due(&mut self, cluster: &ClusterName, seed: u64, now: Timestamp) -> Option<DueReason> {
        if self.component.paused {
            return None;
        }
        let mut why = None;
        if let Some((time, at)) = self.planned(cluster, seed)
            && at <= now
        {
            let schedule = self.component.schedule.as_ref()?;
            // All missed times become one run.
            let last = schedule.last(self.done, now).unwrap_or(time);
            self.done = last.max(time);
            let late = now.duration_since(self.done) > LATE.max(signed(self.component.jitter));
            why = match (late, self.component.catch_up) {
                (false, _) => Some(DueReason::Schedule),
                (true, true) => Some(DueReason::CatchUp),
                (true, false) => None,
            };
        }
        if let Some((at, owed)) = self.owed
            && (at <= now || why.is_some())
        {
            self.owed = None;
            why = why.or(Some(owed));
        }
        why
    }
}

/// Returns a value from zero to `most`, the same for the same `what`.
fn jitter(what: &str, most: Duration) -> SignedDuration {
    let most = to_millis(most);
    let digest = Digest::of(what.as_bytes());
    let drawn = digest
        .as_bytes()
        .first_chunk()
        .map_or(0, |b| u64::from_be_bytes(*b));
    let millis = drawn.checked_rem(most).unwrap_or(0);
    SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
