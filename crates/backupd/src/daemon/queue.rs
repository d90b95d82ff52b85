//! Queue of a cluster's next runs, bounded, and merged where nothing is lost.
//!
//! Scheduled components and changes are sets, so they cannot pile up; runs on demand wait in a short line.
//! Anything that notices a change, a watch for example, calls [`Queue::changed`].
//!
//! Changes are gathered until it is quiet. Where they go on and on, each run for them waits for twice the
//! quiet time of the previous one, up to the longest wait. A cluster that is never quiet gets one restore
//! point in each longest wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_cli::config::OnChange;
use backup_core::id::ComponentName;
use backup_core::shortlist::and_more;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::run_handle::{RunCause, RunHandle};
use super::timetable::DueReason;
use crate::run_builder::Note;

/// Largest number of runs on demand that wait. More would be the same restore point again.
const DEMANDS: usize = 4;
/// Quiet time of sealing keys. A sealing key is lost for good if the cluster is lost before the key is
/// stored, so it waits only for a second key that comes with it.
const KEY_QUIET: Duration = Duration::from_secs(1);
/// Longest wait of sealing keys. With a run of some seconds, a key is in the store within ten seconds of its
/// creation.
const KEY_LONGEST: Duration = Duration::from_secs(5);

/// Run to be made.
#[derive(Debug, Clone)]
pub(crate) struct RunRequest {
    /// Components of the run; empty for everything.
    pub(crate) components: Vec<ComponentName>,
    pub(crate) cause: RunCause,
    pub(crate) note: Note,
    /// Handle of the run, if it is followed already.
    pub(crate) handle: Option<Arc<RunHandle>>,
}

/// Error for a full queue.
#[derive(Debug, thiserror::Error)]
#[error("{DEMANDS} runs that were asked for wait already; come back when one of them has ended")]
pub(crate) struct QueueFull;

/// Queue of one cluster; see the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<QueueState>,
    news: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    demands: VecDeque<RunRequest>,
    scheduled: BTreeMap<ComponentName, RunCause>,
    changes: BTreeMap<ComponentName, PendingChange>,
    /// Number of changes noted since the last run for changes began.
    noted: u64,
    /// Begin of the last run for changes, and the number of such runs in quick succession.
    last: Option<(Timestamp, u32)>,
}

/// Changes of a component since its last run.
#[derive(Debug)]
struct PendingChange {
    first: Timestamp,
    last: Timestamp,
    reason: String,
}

impl PendingChange {
    fn ready(&self, component: &ComponentName, debounce: OnChange, row: u32) -> Timestamp {
        let debounce = if *component == ComponentName::sealed_secrets() {
            OnChange {
                quiet: debounce.quiet.min(KEY_QUIET),
                longest: debounce.longest.min(KEY_LONGEST),
            }
        } else {
            OnChange {
                quiet: debounce.quiet.saturating_mul(1 << row.min(16)),
                ..debounce
            }
        };
        let after = |time: Timestamp, by| {
            let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
            time.checked_add(by).unwrap_or(Timestamp::MAX)
        };
        after(self.last, debounce.quiet).min(after(self.first, debounce.longest))
    }
}

impl QueueState {
    /// Returns the times at which changes are ready.
    fn ready(&self, debounce: OnChange, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let row = self.row(debounce, now);
        let changes = self.changes.iter();
        changes.map(move |(component, change)| change.ready(component, debounce, row))
    }

    /// Returns the number of runs for changes in quick succession, if the last is not long ago.
    fn row(&self, debounce: OnChange, now: Timestamp) -> u32 {
        let longest = SignedDuration::try_from(debounce.longest).unwrap_or(SignedDuration::MAX);
        let soon = |(last, _): &(Timestamp, u32)| now.duration_since(*last) < longest;
        self.last.filter(soon).map_or(0, |(_, row)| row)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is added.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Adds a run on demand.
    pub(crate) fn demand(&self, wanted: RunRequest) -> Result<(), QueueFull> {
        let mut waiting = self.lock();
        if waiting.demands.len() >= DEMANDS {
            return Err(QueueFull);
        }
        waiting.demands.push_back(wanted);
        self.news.notify_one();
        Ok(())
    }

    /// Notes that the objects of `components` changed, with the reason.
    pub(crate) fn changed(&self, components: &[ComponentName], reason: &str, now: Timestamp) {
        let mut waiting = self.lock();
        waiting.noted = waiting.noted.saturating_add(1);
        for component in components {
            let change = waiting.changes.entry(component.clone());
            let change = change.or_insert_with(|| PendingChange {
                first: now,
                last: now,
                reason: reason.to_owned(),
            });
            change.last = now;
        }
        self.news.notify_one();
    }

    /// Adds a component that is due; returns false if it waits already.
    pub(crate) fn due(&self, component: ComponentName, why: DueReason) -> bool {
        let cause = match why {
            DueReason::Schedule => RunCause::Schedule,
            DueReason::CatchUp => RunCause::CatchUp,
            DueReason::Retry => RunCause::Retry,
        };
        self.lock().scheduled.insert(component, cause).is_none()
    }

    /// Returns the time when something will be ready, if it is not ready yet.
    pub(crate) fn ready_at(&self, debounce: OnChange, now: Timestamp) -> Option<Timestamp> {
        self.lock().ready(debounce, now).min()
    }

    /// Returns the number of waiting runs: those on demand, one for the schedule, one for changes.
    pub(crate) fn len(&self) -> usize {
        let waiting = self.lock();
        let sets =
            usize::from(!waiting.scheduled.is_empty()) + usize::from(!waiting.changes.is_empty());
        waiting.demands.len().saturating_add(sets)
    }

    /// Takes the next run out: first runs on demand, then due components, then changes.
    pub(crate) fn next(&self, debounce: OnChange, now: Timestamp) -> Option<RunRequest> {
        let mut waiting = self.lock();
        if let Some(demand) = waiting.demands.pop_front() {
            return Some(demand);
        }
        if !waiting.scheduled.is_empty() {
            let scheduled = std::mem::take(&mut waiting.scheduled);
            let cause = scheduled
                .values()
                .min()
                .copied()
                .unwrap_or(RunCause::Schedule);
            // A component that is taken anyway needs no run for its changes.
            waiting
                .changes
                .retain(|component, _| !scheduled.contains_key(component));
            if waiting.changes.is_empty() {
                waiting.noted = 0;
            }
            return Some(wanted(
                scheduled.into_keys().collect(),
                cause,
                cause.reason().to_owned(),
            ));
        }
        if !waiting.ready(debounce, now).any(|ready| ready <= now) {
            return None;
        }
        waiting.last = Some((now, waiting.row(debounce, now).saturating_add(1)));
        let changes = std::mem::take(&mut waiting.changes);
        let noted = std::mem::take(&mut waiting.noted);
        let first = changes.values().min_by_key(|change| change.first);
        let first = first.map_or("", |change| change.reason.as_str());
        let reason = format!("change: {first}{}", and_more(noted.saturating_sub(1)));
        Some(wanted(
            changes.into_keys().collect(),
            RunCause::Change,
            reason,
        ))
    }

    /// Takes out all runs on demand and drops the rest, for a daemon that cannot make them.
    pub(crate) fn refuse(&self) -> Vec<RunRequest> {
        let mut waiting = self.lock();
        waiting.scheduled.clear();
        waiting.changes.clear();
        waiting.noted = 0;
        waiting.demands.drain(..).collect()
    }
}

fn wanted(components: Vec<ComponentName>, cause: RunCause, reason: String) -> RunRequest {
    let note = Note {
        reason: Some(reason),
        pin: false,
    };
    RunRequest {
        components,
        cause,
        note,
        handle: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: OnChange = OnChange {
        quiet: Duration::from_secs(2),
        longest: Duration::from_secs(8),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_storm_of_changes_is_a_bounded_number_of_runs() {
        let queue = Queue::default();
        let mut runs = Vec::new();
        // 10 000 changes in a minute, without a quiet moment.
        for n in 0..10_000_i64 {
            let now = at(n * 60 / 10_000);
            queue.changed(&[ComponentName::resources()], "one changed", now);
            runs.extend(queue.next(DEBOUNCE, now));
        }
        // One run every eight seconds, the longest wait.
        assert_eq!(runs.len(), 7);
        assert!(runs.iter().all(|run| run.cause == RunCause::Change));
        let reason = runs
            .first()
            .and_then(|run| run.note.reason.clone())
            .unwrap();
        assert!(reason.starts_with("change: one changed and "), "{reason}");
    }

    #[test]
    fn one_change_waits_for_quiet() {
        let queue = Queue::default();
        queue.changed(&[ComponentName::crds()], "a kind was made", at(0));
        assert_eq!(queue.ready_at(DEBOUNCE, at(0)), Some(at(2)));
        assert!(queue.next(DEBOUNCE, at(1)).is_none());
        let run = queue.next(DEBOUNCE, at(2)).unwrap();
        assert_eq!(run.note.reason.as_deref(), Some("change: a kind was made"));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_sealing_key_does_not_wait_for_a_storm_of_others() {
        let queue = Queue::default();
        let keys = [ComponentName::sealed_secrets()];
        let resources = [ComponentName::resources()];
        queue.changed(&resources, "one changed", at(3));
        queue.changed(&keys, "a key was born", at(4));
        queue.changed(&resources, "one changed", at(4));
        assert_eq!(queue.ready_at(DEBOUNCE, at(4)), Some(at(5)));
        // Keys that keep coming do not wait longer either.
        for second in 5..9 {
            queue.changed(&keys, "a key was born", at(second));
            queue.changed(&resources, "one changed", at(second));
        }
        assert_eq!(queue.ready_at(DEBOUNCE, at(8)), Some(at(9)));
        let run = queue.next(DEBOUNCE, at(9)).unwrap();
        assert_eq!(
            run.components,
            [ComponentName::resources(), ComponentName::sealed_secrets()]
        );
        let reason = run.note.reason.unwrap();
        assert_eq!(reason, "change: one changed and 10 more");
    }

    #[test]
    fn what_changes_all_the_time_is_taken_less_often() {
        let queue = Queue::default();
        let mut runs = Vec::new();
        // A heartbeat every five seconds for an hour, with quiet between.
        for second in 0..3600 {
            if second % 5 == 0 {
                queue.changed(&[ComponentName::resources()], "a heartbeat", at(second));
            }
            if queue.next(DEBOUNCE, at(second)).is_some() {
                runs.push(second);
            }
        }
        assert_eq!(runs.first(), Some(&2));
        // Not 720 runs, one for each heartbeat, but one for each longest wait.
        assert!((440..=490).contains(&runs.len()), "{}", runs.len());
        assert!(queue.next(DEBOUNCE, at(3700)).is_some());
        // After a quiet time, the next change is taken soon again.
        queue.changed(&[ComponentName::resources()], "one changed", at(4000));
        assert_eq!(queue.ready_at(DEBOUNCE, at(4000)), Some(at(4002)));
    }

    #[test]
    fn what_is_due_takes_changes_along() {
        let queue = Queue::default();
        let resources = ComponentName::resources();
        assert!(queue.due(resources.clone(), DueReason::Schedule));
        assert!(
            !queue.due(resources.clone(), DueReason::Schedule),
            "it waits already"
        );
        assert!(queue.due(ComponentName::etcd(), DueReason::CatchUp));
        queue.changed(std::slice::from_ref(&resources), "one changed", at(0));
        let run = queue.next(DEBOUNCE, at(0)).unwrap();
        assert_eq!(run.components, [ComponentName::etcd(), resources]);
        assert!(queue.next(DEBOUNCE, at(100)).is_none());
    }

    #[test]
    fn people_are_refused_rather_than_queued_without_end() {
        let queue = Queue::default();
        let demand = || wanted(Vec::new(), RunCause::Demand, String::new());
        for _ in 0..DEMANDS {
            queue.demand(demand()).unwrap();
        }
        assert!(queue.demand(demand()).is_err());
        assert!(queue.next(DEBOUNCE, at(0)).is_some());
        queue.demand(demand()).unwrap();
        assert_eq!(queue.refuse().len(), DEMANDS);
    }
}
