//! Sweep for leftovers of runs that died: searched after a run, removed while no run is at work, and
//! reported.
//!
//! A search only reads, so it may go on beside a run. A removal makes room for a run that is due.

use std::fmt;
use std::sync::Arc;

use backup_cli::config::{Config, Leftovers};
use backup_cli::environment::Environment;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::open::{self, StoreAccess};
use backup_core::clock::Clock;
use backup_core::gc::{self, RemovalPlan, RemovalReport, RemovalRules};
use backup_core::id::ClusterName;
use backup_core::progress::SilentProgress;
use backup_core::store::Store;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::status::FailureRecord;
use crate::sweep;

/// Longest pause between two sweeps, each of which lists everything and reads all manifests.
const SELDOM: SignedDuration = SignedDuration::from_hours(1);
/// Shortest pause: where the grace time is short, leftovers should not stay for a multiple of it.
const OFTEN: SignedDuration = SignedDuration::from_mins(1);

/// Leftovers as they are reported.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftoversView {
    pub(crate) grace_seconds: u64,
    /// Time of the last complete sweep since the start of the daemon.
    pub(crate) last_sweep: Option<Timestamp>,
    /// Objects that no restore point needs, however young; some may belong to a run at work elsewhere.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Objects removed since the start of the daemon.
    pub(crate) removed_objects: u64,
    pub(crate) removed_bytes: u64,
    /// Reason why the last sweep did not remove what it should.
    pub(crate) problem: Option<FailureRecord>,
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

/// Returns the pause after a sweep.
pub(crate) fn pause(leftovers: &Leftovers) -> SignedDuration {
    let grace = SignedDuration::try_from(leftovers.grace).unwrap_or(SignedDuration::MAX);
    (grace / 5).clamp(OFTEN, SELDOM)
}

/// Leftovers that were found, ready to be removed.
pub(crate) struct Removal {
    store: Arc<dyn Store>,
    rules: RemovalRules,
    plan: RemovalPlan,
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Removal").field(&self.plan).finish()
    }
}

/// Outcome of one step of a sweep.
#[derive(Debug)]
pub(crate) enum SweepStep {
    /// There are leftovers to remove.
    Removable(Box<Removal>),
    /// The sweep is over; contains its report.
    Over(Box<SweepResult>),
}

/// Sweep that is over.
#[derive(Debug)]
pub(crate) struct SweepResult {
    result: Result<(RemovalPlan, RemovalReport), String>,
}

/// Searches for leftovers under the rules of the configuration.
pub(crate) async fn search(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    environment: Environment,
    wanted: Leftovers,
) -> SweepStep {
    let looked = async {
        let rules = sweep::rules(&config, wanted.grace, &clock)?;
        let store = open::store(config.need_store()?, StoreAccess::Read, &environment).await?;
        let plan = gc::plan_removal(&store, &rules, &SilentProgress).await?;
        Ok::<_, Failure>(Removal { store, rules, plan })
    };
    match looked.await {
        Ok(looked) if looked.plan.removes() => SweepStep::Removable(Box::new(looked)),
        Ok(looked) => finish(Ok((looked.plan, RemovalReport::default()))),
        Err(failure) => finish(Err(failure.one_line())),
    }
}

/// Removes the leftovers that were found, until `cancel` stops it.
pub(crate) async fn remove(looked: Box<Removal>, cancel: CancellationToken) -> SweepStep {
    let Removal { store, rules, plan } = *looked;
    let removed = gc::remove(&store, &rules, &plan, &cancel).await;
    let removed = removed.map_err(|error| Failure::from(anyhow::Error::new(error)).one_line());
    finish(removed.map(|removed| (plan, removed)))
}

/// Makes the result of a sweep that failed.
pub(crate) fn failed(cause: String) -> SweepStep {
    finish(Err(cause))
}

fn finish(result: Result<(RemovalPlan, RemovalReport), String>) -> SweepStep {
    SweepStep::Over(Box::new(SweepResult { result }))
}

impl SweepResult {
    /// Reports whether the sweep was stopped for something else and has more to do.
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

    /// Reports the sweep on the board and in the log.
    pub(crate) fn report(self, cluster: &ClusterName, view: &mut LeftoversView, now: Timestamp) {
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
                view.problem = Some(FailureRecord { at: now, cause });
            }
            // A sweep that was stopped is not complete, and has no problem to report either.
            None if stopped => {}
            None => {
                view.problem = None;
                view.last_sweep = Some(now);
            }
        }
    }
}
