//! Step on etcd as a part of a whole restore, with each phase in the journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::clock::Clock;
use backup_core::format::manifest::{Finding, Severity};
use backup_core::id::ComponentName;
use backup_core::read::{LocalSnapshot, unlock};
use cluster_client::talos::nodes::TalosNodes;
use cluster_restore::etcd::{
    EtcdLog, EtcdPhase, EtcdPlan, EtcdRequest, LogError, Pace, Proof, SnapshotFacts, preflight,
    restarts, run, watch_others,
};
use cluster_restore::journal::{Journal, Record};
use cluster_restore::plan::Danger;

use super::context::only_etcd;
use super::{RestoreContext, TargetFlags};
use crate::flags::{ReadFlags, ScratchFlags};

/// Checks the nodes onto which etcd is to be restored. Changes nothing.
pub(crate) async fn look_at_etcd(
    context: &RestoreContext,
    (talos, allow): (&TargetFlags, &BTreeSet<Danger>),
    read: &ReadFlags,
    frame: &Frame,
) -> Result<EtcdPlan, Failure> {
    let point = &context.point;
    let snapshot = SnapshotFacts::of(point).ok_or_else(|| {
        let told = format!("restore point {} has no component `etcd`", point.entry.id);
        Failure::message(Exit::NotFound, told)
            .hint("choose one from `restore-cli list`, or plan with --only crds,resources,verify")
    })?;
    let nodes = talos.nodes(read, frame).await?;
    frame.terminal.status(
        "looking at every node; an etcd that runs is read, which takes as long as a snapshot",
    );
    let target = talos.node.clone();
    let wanted = EtcdRequest {
        target,
        snapshot,
        allow: allow.clone(),
        proof: None,
    };
    let mut plan = preflight(&nodes, wanted).await;
    if !context.has_api() {
        let what = if only_etcd(&context.steps) {
            "the Kubernetes API is not asked whether it is back"
        } else {
            "the steps after etcd cannot be done"
        };
        plan.warnings.push(Finding {
            severity: Severity::Warning,
            object: "Kubernetes API".to_owned(),
            cause: format!("no way to it is configured: {what}"),
            remedy: "give --kubeconfig FILE to `restore`".to_owned(),
        });
    }
    Ok(plan)
}

/// Checks the nodes of `plan` as they are now. Changes nothing.
pub(super) async fn now(
    plan: &EtcdPlan,
    allow: &BTreeSet<Danger>,
    (talos, read): (&TargetFlags, &ReadFlags),
    frame: &Frame,
) -> Result<EtcdPlan, Failure> {
    let nodes = talos.nodes(read, frame).await?;
    nodes_now(&nodes, plan, allow, None).await
}

async fn nodes_now(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    allow: &BTreeSet<Danger>,
    proof: Option<Proof>,
) -> Result<EtcdPlan, Failure> {
    let wanted = EtcdRequest {
        target: Some(plan.target.clone()),
        snapshot: plan.snapshot.clone(),
        allow: allow.clone(),
        proof,
    };
    let now = preflight(nodes, wanted).await;
    if let Some(difference) = plan.differs(&now) {
        let told = format!("the nodes are not those of the plan: {difference}");
        return Err(Failure::message(Exit::Refused, told).hint("plan again"));
    }
    Ok(now)
}

/// Restores etcd as `plan` says, from the point where an earlier attempt ended.
pub(super) async fn restore(
    context: &RestoreContext,
    (plan, allow): (&EtcdPlan, &BTreeSet<Danger>),
    settings: (&TargetFlags, &ReadFlags, &ScratchFlags),
    journal: &mut Journal,
    frame: &Frame,
) -> Result<Vec<Finding>, Failure> {
    let (talos, read, scratch) = settings;
    let nodes = frame.or_cancelled(talos.nodes(read, frame)).await?;
    // A copy's last lines may be missing. The work that this restore was going to do then counts as asked
    // for.
    let copied = journal.state.copied.then_some(Proof::Asked);
    let proof = journal.state.proof.or(copied);
    let now = frame
        .or_cancelled(nodes_now(&nodes, plan, allow, proof))
        .await?;
    let progress = frame.terminal.progress();
    if now.holds.is_none() || !now.can_run() {
        if let Some(blocker) = now.blockers.first() {
            let told = format!(
                "etcd must not be restored now: {}: {}",
                blocker.object, blocker.cause
            );
            return Err(Failure::message(Exit::Refused, told).hint(blocker.remedy.clone()));
        }
        let identities = context
            .opened
            .config
            .identities(|text| frame.terminal.warn(text))?;
        let opening =
            async { Ok(unlock(&context.opened.store, &context.point, &identities).await?) };
        let unlocked = frame.or_cancelled(opening).await?;
        let (component, folder) = (ComponentName::etcd(), scratch.folder(frame));
        let held = LocalSnapshot::fetch(
            Arc::clone(&context.opened.store),
            &context.point,
            Arc::new(unlocked),
            &component,
            &folder,
            Arc::clone(&progress),
            frame.cancel.clone(),
        );
        let held = match held.await {
            Ok(held) => held,
            Err(error) => {
                let of = (&context.point, &identities);
                let again = "restore-cli plan";
                return Err(context
                    .opened
                    .read_failure(error, of, &folder, again, frame)
                    .await);
            }
        };
        let log = JournalLog::new(journal, frame);
        let restoring = async {
            let pace = Pace::default();
            Ok(run(
                &nodes,
                &now,
                Arc::new(held),
                &log,
                Arc::clone(&progress),
                pace,
            )
            .await?)
        };
        frame.or_cancelled(restoring).await?;
    } else {
        frame
            .terminal
            .status("etcd is up already with the data of this restore: there is nothing to do");
    }
    drop(progress);
    frame
        .terminal
        .status("waiting for the other control plane nodes to join");
    let joined = watch_others(&nodes, &now, Pace::default()).await;
    let late = joined
        .into_iter()
        .filter(|other| !other.joined)
        .map(|other| Finding {
            severity: Severity::Warning,
            object: format!("node {}", other.node),
            cause: "it has not joined the restored etcd".to_owned(),
            remedy: other.remedy.unwrap_or_default(),
        });
    let restarts = restarts(&now).into_iter().map(|restart| Finding {
        severity: Severity::Info,
        object: restart
            .node
            .map_or("cluster".to_owned(), |node| format!("node {node}")),
        cause: "etcd went back in time, and what runs there has seen a later state".to_owned(),
        remedy: restart.command,
    });
    Ok(late.chain(restarts).collect())
}

/// Log that writes each phase to the journal before the next begins.
pub(crate) struct JournalLog<'a> {
    journal: Mutex<&'a mut Journal>,
    clock: Arc<dyn Clock>,
    frame: Frame,
}

impl<'a> JournalLog<'a> {
    pub(crate) fn new(journal: &'a mut Journal, frame: &Frame) -> Self {
        Self {
            journal: Mutex::new(journal),
            clock: Arc::clone(&frame.clock),
            frame: frame.clone(),
        }
    }
}

impl std::fmt::Debug for JournalLog<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journalled").finish_non_exhaustive()
    }
}

impl EtcdLog for JournalLog<'_> {
    fn reached(&self, phase: &EtcdPhase) -> Result<(), LogError> {
        self.frame.terminal.status(&phase.to_string());
        let record = Record::Etcd {
            reached: phase.to_string(),
            trace: phase.trace(),
            at: self.clock.now(),
        };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(journal.write(vec![record])?)
    }
}
