//! Step on etcd as a part of a whole restore, with each phase in the journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use backup_core::clock::Clock;
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::progress::Progress;
use backup_core::read::{LocalSnapshot, unlock};
use cluster_client::talos::nodes::TalosNodes;

use super::context::only_etcd;
use super::{OrchestrateError, Reporter, RestoreContext};
use crate::etcd::{
    EtcdLog, EtcdPhase, EtcdPlan, EtcdRequest, LogError, Pace, Proof, SnapshotFacts, preflight,
    restarts, run, watch_others,
};
use crate::journal::{Journal, Record};
use crate::plan::Danger;

/// Status line before every node is checked.
pub(super) const CHECKING: &str =
    "looking at every node; an etcd that runs is read, which takes as long as a snapshot";

/// Checks the nodes onto which etcd is to be restored. Changes nothing.
pub(super) async fn look(
    context: &RestoreContext,
    allow: &BTreeSet<Danger>,
) -> Result<EtcdPlan, OrchestrateError> {
    let point = &context.point;
    let snapshot = SnapshotFacts::of(point).ok_or_else(|| OrchestrateError::NoSnapshot {
        id: point.entry.id.clone(),
    })?;
    let nodes = context.setup.nodes().await?;
    context.setup.reporter.status(CHECKING);
    let talos = context.setup.talos.as_ref();
    let target = talos.and_then(|talos| talos.node.clone());
    let wanted = EtcdRequest {
        target,
        snapshot,
        allow: allow.clone(),
        proof: None,
    };
    let mut plan = preflight(&nodes, wanted).await;
    if !context.has_api() {
        let what = if only_etcd(context.steps()) {
            "the Kubernetes API is not asked whether it is back"
        } else {
            "the steps after etcd cannot be done"
        };
        plan.warnings.push(Finding::warning(
            "Kubernetes API",
            format!("no way to it is configured: {what}"),
            "give --kubeconfig FILE to `restore`",
        ));
    }
    Ok(plan)
}

/// Checks the nodes of `plan` as they are now. Changes nothing.
pub(super) async fn now(
    context: &RestoreContext,
    plan: &EtcdPlan,
    allow: &BTreeSet<Danger>,
) -> Result<EtcdPlan, OrchestrateError> {
    let nodes = context.setup.nodes().await?;
    nodes_now(&nodes, plan, allow, None).await
}

async fn nodes_now(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    allow: &BTreeSet<Danger>,
    proof: Option<Proof>,
) -> Result<EtcdPlan, OrchestrateError> {
    let wanted = EtcdRequest {
        target: Some(plan.target.clone()),
        snapshot: plan.snapshot.clone(),
        allow: allow.clone(),
        proof,
    };
    let now = preflight(nodes, wanted).await;
    if let Some(difference) = plan.differs(&now) {
        return Err(OrchestrateError::OtherNodes { difference });
    }
    Ok(now)
}

/// Restores etcd as `plan` says, from the point where an earlier attempt ended.
pub(super) async fn restore(
    context: &RestoreContext,
    (plan, allow): (&EtcdPlan, &BTreeSet<Danger>),
    journal: &mut Journal,
) -> Result<Vec<Finding>, OrchestrateError> {
    let setup = &context.setup;
    let nodes = setup.or_cancelled(setup.nodes()).await?;
    // A copy's last lines may be missing. The work that this restore was going to do then counts as asked
    // for.
    let copied = journal.state.copied.then_some(Proof::Asked);
    let proof = journal.state.proof.or(copied);
    let now = setup
        .or_cancelled(nodes_now(&nodes, plan, allow, proof))
        .await?;
    let progress = setup.reporter.progress();
    if now.holds.is_none() || !now.can_run() {
        if let Some(blocker) = now.blockers.first() {
            return Err(OrchestrateError::EtcdBlocked {
                object: blocker.object.clone(),
                cause: blocker.cause.clone(),
                remedy: blocker.remedy.clone(),
            });
        }
        let held = Arc::new(hold(context, &progress).await?);
        let log = JournalLog::new(
            journal,
            Arc::clone(&setup.clock),
            Arc::clone(&setup.reporter),
        );
        let restoring = async {
            let (progress, pace) = (Arc::clone(&progress), Pace::default());
            Ok(run(&nodes, &now, held, &log, progress, pace).await?)
        };
        setup.or_cancelled(restoring).await?;
    } else {
        setup
            .reporter
            .status("etcd is up already with the data of this restore: there is nothing to do");
    }
    drop(progress);
    setup
        .reporter
        .status("waiting for the other control plane nodes to join");
    let joined = watch_others(&nodes, &now, Pace::default()).await;
    let late = joined
        .into_iter()
        .filter(|other| !other.joined)
        .map(|other| {
            Finding::warning(
                format!("node {}", other.node),
                "it has not joined the restored etcd",
                other.remedy.unwrap_or_default(),
            )
        });
    let restarts = restarts(&now).into_iter().map(|restart| {
        Finding::info(
            restart
                .node
                .map_or("cluster".to_owned(), |node| format!("node {node}")),
            "etcd went back in time, and what runs there has seen a later state",
            restart.command,
        )
    });
    Ok(late.chain(restarts).collect())
}

/// Fetches and verifies the whole snapshot before anything is uploaded.
async fn hold(
    context: &RestoreContext,
    progress: &Arc<dyn Progress>,
) -> Result<LocalSnapshot, OrchestrateError> {
    let (setup, point) = (&context.setup, &context.point);
    let store = &setup.points.store;
    let identities = setup.identities()?;
    let opening = async {
        let unlocked = unlock(store, point, &identities).await;
        unlocked.map_err(OrchestrateError::Unlock)
    };
    let unlocked = setup.or_cancelled(opening).await?;
    let component = ComponentName::etcd();
    let held = LocalSnapshot::fetch(
        Arc::clone(store),
        point,
        Arc::new(unlocked),
        &component,
        &setup.scratch,
        Arc::clone(progress),
        setup.cancel.clone(),
    );
    match held.await {
        Ok(held) => Ok(held),
        Err(error) => Err(setup.unreadable(error, (point, &identities)).await),
    }
}

/// Log that writes each phase to the journal before the next begins.
pub(super) struct JournalLog<'a> {
    journal: Mutex<&'a mut Journal>,
    clock: Arc<dyn Clock>,
    reporter: Arc<dyn Reporter>,
}

impl<'a> JournalLog<'a> {
    /// Creates a log that adds to `journal`, and reports each phase.
    pub(super) fn new(
        journal: &'a mut Journal,
        clock: Arc<dyn Clock>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        Self {
            journal: Mutex::new(journal),
            clock,
            reporter,
        }
    }
}

impl std::fmt::Debug for JournalLog<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalLog").finish_non_exhaustive()
    }
}

impl EtcdLog for JournalLog<'_> {
    fn reached(&self, phase: &EtcdPhase) -> Result<(), LogError> {
        self.reporter.status(&phase.to_string());
        let record = Record::Etcd {
            reached: phase.to_string(),
            trace: phase.trace(),
            at: self.clock.now(),
        };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(journal.write(vec![record])?)
    }
}
