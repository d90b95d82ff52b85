//! What runs that died left: looked for after a run, removed while none is at work, and told.
//!
//! A look only reads, so it may go on beside a run. A removal makes room for one that is due.

use std::fmt;
use std::sync::Arc;

use backup_cli::config::{Config, Leftovers};
use backup_cli::environment::Environment;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::open::{self, Access};
use backup_core::clock::Clock;
use backup_core::id::ClusterName;
use backup_core::leftovers::{self, Plan, Removed, Rules};
use backup_core::progress::Silent;
use backup_core::store::Store;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::board::Failed;
use crate::sweep;

/// Between two sweeps: a listing of everything and a look at all manifests.
const SELDOM: SignedDuration = SignedDuration::from_hours(1);
/// Where the grace time is short, leftovers should not lie about for a multiple of it.
const OFTEN: SignedDuration = SignedDuration::from_mins(1);

/// Leftovers as they are told.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftoversView {
    pub(crate) grace_seconds: u64,
    /// When a sweep last went through, since the start of the daemon.
    pub(crate) last_sweep: Option<Timestamp>,
    /// What no restore point leads to, however young; some of it may be a run's at work elsewhere.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// What was removed since the start of the daemon.
    pub(crate) removed_objects: u64,
    pub(crate) removed_bytes: u64,
    /// Why the last sweep did not remove what it should.
    pub(crate) problem: Option<Failed>,
    pub(crate) findings: Vec<Finding>,
}

impl LeftoversView {
    pub(crate) fn of(leftovers: &Leftovers) -> Self {
        Self {
            grace_seconds: leftovers.grace.as_secs(),
            ..Self::default()
        }
    }
}

/// How long to wait after a sweep.
pub(crate) fn pause(leftovers: &Leftovers) -> SignedDuration {
    let grace = SignedDuration::try_from(leftovers.grace).unwrap_or(SignedDuration::MAX);
    (grace / 5).clamp(OFTEN, SELDOM)
}

/// What was looked at, ready to be removed.
pub(crate) struct Looked {
    store: Arc<dyn Store>,
    rules: Rules,
    plan: Plan,
}

impl fmt::Debug for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Looked").field(&self.plan).finish()
    }
}

/// What became of a sweep, so far.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is something to remove.
    Removable(Box<Looked>),
    /// It is over; with what is told.
    Over(Box<Swept>),
}

/// A sweep that is over.
#[derive(Debug)]
pub(crate) struct Swept {
    result: Result<(Plan, Removed), String>,
}

/// Looks for leftovers; `None` where the configuration has them left alone.
pub(crate) async fn look(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    environment: Environment,
    wanted: Leftovers,
) -> Step {
    let looked = async {
        let rules = sweep::rules(&config, wanted.grace, &clock)?;
        let store = open::store(config.need_store()?, Access::Read, &environment).await?;
        let plan = leftovers::look(&store, &rules, &Silent).await?;
        Ok::<_, Failure>(Looked { store, rules, plan })
    };
    match looked.await {
        Ok(looked) if looked.plan.removes() => Step::Removable(Box::new(looked)),
        Ok(looked) => over(Ok((looked.plan, Removed::default()))),
        Err(failure) => over(Err(failure.one_line())),
    }
}

/// Removes what was found, until it is told to stop.
pub(crate) async fn remove(looked: Box<Looked>, cancel: CancellationToken) -> Step {
    let Looked { store, rules, plan } = *looked;
    let removed = leftovers::remove(&store, &rules, &plan, &cancel).await;
    let removed = removed.map_err(|error| Failure::from(anyhow::Error::new(error)).one_line());
    over(removed.map(|removed| (plan, removed)))
}

/// A sweep that came to nothing.
pub(crate) fn lost(cause: String) -> Step {
    over(Err(cause))
}

fn over(result: Result<(Plan, Removed), String>) -> Step {
    Step::Over(Box::new(Swept { result }))
}

impl Swept {
    /// Whether it was made to stop for something else, and has more to do.
    pub(crate) fn was_stopped(&self) -> bool {
        match &self.result {
            Ok((plan, removed)) => {
                plan.removes()
                    && !removed.complete
                    && removed.errors == 0
                    && removed.findings.is_empty()
            }
            Err(_) => false,
        }
    }

    /// Tells it, on the board and in the log.
    pub(crate) fn tell(self, cluster: &ClusterName, view: &mut LeftoversView, now: Timestamp) {
        let stopped = self.was_stopped();
        let problem = match self.result {
            Ok((plan, removed)) => {
                let gone = removed.removed;
                view.objects = plan.left.objects.saturating_sub(gone.objects);
                view.bytes = plan.left.bytes.saturating_sub(gone.bytes);
                view.removed_objects = view.removed_objects.saturating_add(gone.objects);
                view.removed_bytes = view.removed_bytes.saturating_add(gone.bytes);
                view.findings = findings::printed(&plan.findings);
                view.findings.extend(findings::printed(&removed.findings));
                let (objects, bytes, left) = (gone.objects, gone.bytes, view.objects);
                if objects > 0 {
                    tracing::info!(%cluster, objects, bytes, left, "leftovers of runs that died were removed");
                }
                let unsolved =
                    plan.held || (plan.removes() && !removed.complete) || removed.errors > 0;
                let worst = view.findings.iter().filter(|f| f.severity > Severity::Info);
                let worst = worst.max_by_key(|f| f.severity);
                worst
                    .filter(|_| unsolved)
                    .map(|f| format!("{}: {}; {}", f.object, f.cause, f.remedy))
            }
            Err(error) => Some(error),
        };
        match problem {
            Some(cause) => {
                tracing::warn!(%cluster, error = cause, "leftovers of runs that died were not removed");
                view.problem = Some(Failed { at: now, cause });
            }
            // One that was made to stop has not gone through, and tells of no problem either.
            None if stopped => {}
            None => {
                view.problem = None;
                view.last_sweep = Some(now);
            }
        }
    }
}
