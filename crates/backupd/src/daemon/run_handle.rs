//! Handle of one run: a state that only goes forward, and events for subscribers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backup_core::clock::Clock;
use backup_core::id::{ClusterName, ComponentName};
use backup_core::progress::{Phase, Progress};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

/// Number of events kept for a slow subscriber; missed events are reported as a number.
const EVENTS: usize = 64;

/// Cause of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunCause {
    /// Its scheduled time came.
    Schedule,
    /// Its scheduled time was missed.
    CatchUp,
    /// The last run failed.
    Retry,
    /// Something changed.
    Change,
    /// Somebody asked for it.
    Demand,
}

impl RunCause {
    /// Returns the reason as it is written in the restore point.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::CatchUp => "schedule, missed and made up for",
            Self::Retry => "schedule, after a run that failed",
            Self::Change => "change",
            Self::Demand => "on demand",
        }
    }
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub(crate) enum RunState {
    /// The run is in the queue, or checks what there is.
    Selected,
    /// The run reads its sources, and puts new data.
    Reading,
    /// The run puts the objects that make it a restore point.
    Storing,
    /// The run checks every object that it put.
    Verifying,
    /// The restore point is committed.
    #[serde(rename_all = "camelCase")]
    Committed {
        restore_point: String,
        /// Components that were asked for and are missing.
        missing: Vec<ComponentName>,
        /// Components that lack kinds or objects.
        not_whole: Vec<ComponentName>,
    },
    /// There is no restore point.
    Failed {
        #[serde(rename = "error")]
        cause: String,
    },
}

impl RunState {
    /// Reports whether the state is final.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Failed { .. })
    }

    /// Returns the name of the state in metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Reading => "reading",
            Self::Storing => "storing",
            Self::Verifying => "verifying",
            Self::Committed { .. } => "committed",
            Self::Failed { .. } => "failed",
        }
    }

    /// Reports whether `next` may follow: forward, back to the start for another try, and never from a final
    /// state.
    fn leads_to(&self, next: &Self) -> bool {
        let rank = |state: &Self| match state {
            Self::Selected => 0,
            Self::Reading => 1,
            Self::Storing => 2,
            Self::Verifying => 3,
            Self::Committed { .. } => 4,
            Self::Failed { .. } => 5,
        };
        !self.is_end()
            && match next {
                Self::Selected | Self::Failed { .. } => true,
                Self::Committed { .. } => *self == Self::Verifying,
                _ => rank(self) < rank(next),
            }
    }
}

/// Event of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunEvent {
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) state: RunState,
    pub(crate) read_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Run as it is reported.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunStatus {
    pub(crate) run: String,
    pub(crate) cluster: ClusterName,
    pub(crate) cause: RunCause,
    /// Components of the run; empty for everything.
    pub(crate) components: Vec<ComponentName>,
    pub(crate) asked: Timestamp,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) tries: u32,
    /// Last failed try, though another one may follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_try: Option<FailedTry>,
    pub(crate) read_bytes: u64,
    #[serde(flatten)]
    pub(crate) state: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    /// Result, as `backupd snapshot --output json` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<serde_json::Value>,
}

/// Failed try of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedTry {
    pub(crate) at: Timestamp,
    pub(crate) cause: String,
}

/// Handle of one run; see the module.
pub(crate) struct RunHandle {
    clock: Arc<dyn Clock>,
    status: Mutex<RunStatus>,
    bytes: AtomicU64,
    events: broadcast::Sender<RunEvent>,
}

impl fmt::Debug for RunHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunHandle({})", self.lock().run)
    }
}

impl RunHandle {
    pub(crate) fn new(
        cluster: &ClusterName,
        components: Vec<ComponentName>,
        cause: RunCause,
        clock: &Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            status: Mutex::new(RunStatus {
                run: uuid::Uuid::new_v4().to_string(),
                cluster: cluster.clone(),
                cause,
                components,
                asked: clock.now(),
                began: None,
                ended: None,
                tries: 0,
                failed_try: None,
                read_bytes: 0,
                state: RunState::Selected,
                step: None,
                result: None,
            }),
            bytes: AtomicU64::new(0),
            events: broadcast::Sender::new(EVENTS),
        })
    }

    fn lock(&self) -> MutexGuard<'_, RunStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> RunStatus {
        RunStatus {
            read_bytes: self.bytes.load(Ordering::Relaxed),
            ..self.lock().clone()
        }
    }

    pub(crate) fn run(&self) -> String {
        self.lock().run.clone()
    }

    /// Subscribes to events from here on. A late subscriber reads [`RunHandle::status`].
    pub(crate) fn listen(&self) -> broadcast::Receiver<RunEvent> {
        self.events.subscribe()
    }

    /// Notes that another try begins.
    pub(crate) fn begin(&self) {
        let now = self.clock.now();
        self.bytes.store(0, Ordering::Relaxed);
        let mut status = self.lock();
        status.began.get_or_insert(now);
        status.tries = status.tries.saturating_add(1);
        drop(status);
        self.go(RunState::Selected);
    }

    /// Notes that a try failed; the run goes on.
    pub(crate) fn try_failed(&self, cause: String) {
        let at = self.clock.now();
        self.lock().failed_try = Some(FailedTry { at, cause });
    }

    /// Keeps the result for the end.
    pub(crate) fn keep(&self, result: serde_json::Value) {
        self.lock().result = Some(result);
    }

    /// Goes to `state`, if it may follow.
    pub(crate) fn go(&self, state: RunState) {
        let mut status = self.lock();
        if !status.state.leads_to(&state) {
            tracing::debug!(from = status.state.word(), to = state.word(), "not gone");
            return;
        }
        if state.is_end() {
            status.ended = Some(self.clock.now());
        }
        status.state = state;
        status.step = None;
        tracing::debug!(state = status.state.word(), "run");
        drop(status);
        self.send_event(None);
    }

    fn send_event(&self, note: Option<String>) {
        let status = self.status();
        let event = RunEvent {
            at: self.clock.now(),
            state: status.state,
            read_bytes: status.read_bytes,
            step: status.step,
            note,
        };
        // Most runs have no subscriber.
        drop(self.events.send(event));
    }
}

impl Progress for RunHandle {
    fn step(&self, title: &str, _: Option<u64>) {
        tracing::info!(step = title, "run");
        self.lock().step = Some(title.to_owned());
        self.send_event(None);
    }

    fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        tracing::warn!(note = text, "run");
        self.send_event(Some(text.to_owned()));
    }

    fn phase(&self, phase: Phase) {
        self.go(match phase {
            Phase::Reading => RunState::Reading,
            Phase::Storing => RunState::Storing,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_core::clock::SystemClock;

    fn handle() -> Arc<RunHandle> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        RunHandle::new(
            &"mgmt".parse().unwrap(),
            Vec::new(),
            RunCause::Demand,
            &clock,
        )
    }

    fn committed() -> RunState {
        RunState::Committed {
            restore_point: "x".to_owned(),
            missing: Vec::new(),
            not_whole: Vec::new(),
        }
    }

    #[test]
    fn states_go_forward_and_ends_are_ends() {
        let handle = handle();
        handle.go(committed());
        assert_eq!(
            handle.status().state,
            RunState::Selected,
            "nothing was verified"
        );
        handle.phase(Phase::Reading);
        handle.phase(Phase::Storing);
        handle.phase(Phase::Reading);
        assert_eq!(handle.status().state, RunState::Storing);
        handle.begin();
        assert_eq!(handle.status().state, RunState::Selected, "another try");
        for state in [
            RunState::Reading,
            RunState::Storing,
            RunState::Verifying,
            committed(),
        ] {
            handle.go(state.clone());
            assert_eq!(handle.status().state, state);
        }
        let cause = "too late".to_owned();
        handle.go(RunState::Failed { cause });
        assert_eq!(handle.status().state, committed());
    }

    #[tokio::test]
    async fn a_listener_that_sleeps_costs_nothing_and_is_told() {
        let handle = handle();
        let mut listener = handle.listen();
        for _ in 0..10_000 {
            handle.step("reading", None);
        }
        let missed = listener.recv().await.unwrap_err();
        assert!(matches!(missed, broadcast::error::RecvError::Lagged(n) if n >= 9_000));
        assert!(listener.recv().await.is_ok());
    }
}
