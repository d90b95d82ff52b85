//! Execution of a plan from the point where its journal ends: the step on etcd, the objects, the tenants.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backup_core::format::manifest::Finding;
use cluster_client::kube::target::KubeTarget;

use super::context::{ObjectSpools, only_etcd};
use super::copier::JournalCopier;
use super::outcome::TenantsOutcome;
use super::{OrchestrateError, PARTIAL, RestoreContext, RestoreOutcome, check_tenants, etcd};
use crate::guards::Guards;
use crate::journal::{Journal, Phase, Record};
use crate::plan::{Plan, Step};
use crate::{JournalReplica, Recovery, RecoveryReport, Timeouts};

/// Time limit for the Kubernetes API. An API server waits for etcd, and needs some seconds more; images may
/// have to be pulled.
const API_WITHIN: Duration = Duration::from_secs(600);

/// Plan that is about to run, with the cluster and the objects to write.
pub(super) struct Execution {
    pub(super) context: RestoreContext,
    pub(super) plan: Plan,
    /// Cluster that is written to; `None` before its etcd is back.
    pub(super) target: Option<KubeTarget>,
    pub(super) objects: ObjectSpools,
    pub(super) timeouts: Timeouts,
}

impl Execution {
    /// Begins a journal in `folder`, with the plan beside it, and runs the plan.
    pub(super) async fn begin(self, folder: &Path) -> Result<RestoreOutcome, OrchestrateError> {
        let (plan, setup) = (&self.plan, &self.context.setup);
        let now = setup.clock.now();
        let restore = format!("{}-{}", now.strftime("%Y%m%dt%H%M%Sz"), short(plan));
        std::fs::create_dir_all(folder).map_err(|source| OrchestrateError::Folder {
            folder: folder.display().to_string(),
            source,
        })?;
        plan.write(&folder.join(format!("{restore}.plan.json")))?;
        let journal = Journal::begin(folder, &restore, plan.digest, now)?;
        let path = journal.path().display();
        setup.reporter.status(&format!("journal: {path}"));
        self.run(journal).await
    }

    /// Continues `journal` from its end, and keeps its copy in the store up to date meanwhile.
    pub(super) async fn run(self, journal: Journal) -> Result<RestoreOutcome, OrchestrateError> {
        let copy = JournalCopier::of(&self.context, &self.plan, &journal).await?;
        let copied: Arc<dyn JournalReplica> = Arc::<JournalCopier>::clone(&copy);
        let work = Box::pin(self.run_phases(journal, copied));
        Box::pin(copy.run_alongside(work)).await
    }

    async fn run_phases(
        self,
        mut journal: Journal,
        copy: Arc<dyn JournalReplica>,
    ) -> Result<RestoreOutcome, OrchestrateError> {
        let Self {
            context,
            plan,
            target,
            objects,
            timeouts,
        } = self;
        let path = journal.path().to_owned();
        restore_etcd(&context, &plan, &mut journal).await?;
        if only_etcd(&plan.steps) && !context.has_api() {
            return finish_etcd_only(&mut journal, &context);
        }
        let target = match target {
            Some(target) => target,
            None => {
                let target = context.target_within(API_WITHIN).await;
                target.map_err(|error| error.unfinished(&path))?
            }
        };
        let clock = Arc::clone(&context.setup.clock);
        let mut recovery = Recovery {
            plan,
            target,
            spool: objects.spool,
            base: objects.base.map(|(base, _)| base),
            journal,
            guards: Guards::default(),
            timeouts,
            clock: Arc::clone(&clock),
            copy,
            progress: Arc::clone(&context.progress),
            cancel: context.setup.cancel.clone(),
        };
        let report = match recovery.run().await {
            Ok(report) => report,
            Err(error) => {
                let at = clock.now();
                let how = "failed".to_owned();
                // If the journal itself fails, its last line says enough.
                recovery.journal.write(vec![Record::Ended { how, at }]).ok();
                return Err(OrchestrateError::from(error).unfinished(&path));
            }
        };
        let mut outcome = outcome(&recovery.journal, report, &context);
        if recovery.plan.has(Step::Verify) {
            verify(&mut outcome, &mut recovery.journal, &context).await?;
        }
        outcome.lacks(context.lacks(&recovery.plan).await);
        end(&mut recovery.journal, &outcome, &context)?;
        Ok(outcome)
    }
}

/// Restores etcd if the plan has that step and it is not done.
async fn restore_etcd(
    context: &RestoreContext,
    plan: &Plan,
    journal: &mut Journal,
) -> Result<(), OrchestrateError> {
    let phase = Phase::Etcd;
    let Some(etcd) = plan.etcd.as_ref().filter(|_| !journal.state.is_done(phase)) else {
        return Ok(());
    };
    if context.setup.talos.is_none() {
        return Err(OrchestrateError::NoTalos);
    }
    let at = context.setup.clock.now();
    journal.write(vec![Record::PhaseBegun { phase, at }])?;
    let restored = etcd::restore(context, (etcd, &plan.options.allow), journal).await;
    let found = restored.map_err(|error| error.unfinished(journal.path()))?;
    let found = found.into_iter();
    let mut records: Vec<Record> = found
        .map(|finding| Record::Found { phase, finding })
        .collect();
    let at = context.setup.clock.now();
    records.push(Record::PhaseDone { phase, at });
    journal.write(records)?;
    Ok(())
}

/// Queries the tenants, and adds the result to `outcome`. A restore whose tenants cannot be queried is partial.
async fn verify(
    outcome: &mut RestoreOutcome,
    journal: &mut Journal,
    context: &RestoreContext,
) -> Result<(), OrchestrateError> {
    let setup = &context.setup;
    let (phase, at) = (Phase::Verify, setup.clock.now());
    journal.write(vec![Record::PhaseBegun { phase, at }])?;
    let checked = async {
        let baseline = context.baseline().await?;
        let (kube, reporter) = (setup.kube.as_ref(), setup.reporter.as_ref());
        let checks = check_tenants(&baseline, kube, &setup.clock, reporter).await?;
        Ok::<_, OrchestrateError>(TenantsOutcome {
            restore_point: baseline.entry.id,
            checks,
        })
    };
    let checked = checked.await;
    let at = setup.clock.now();
    match checked {
        Ok(tenants) => {
            outcome.tenants = Some(tenants);
            journal.write(vec![Record::PhaseDone { phase, at }])?;
        }
        Err(error) => {
            let why = error.line();
            let warning = format!("tenants were not asked: {why}");
            setup.reporter.warn(&warning);
            outcome.ended = PARTIAL;
        }
    }
    Ok(())
}

/// Ends a restore of etcd alone, where no access to the Kubernetes API is configured.
fn finish_etcd_only(
    journal: &mut Journal,
    context: &RestoreContext,
) -> Result<RestoreOutcome, OrchestrateError> {
    let mut report = RecoveryReport {
        findings: journal.state.findings().cloned().collect(),
        ..RecoveryReport::default()
    };
    report.findings.push(Finding::info(
        "Kubernetes API",
        "no way to it is configured, so it was not asked whether it is back",
        "look at it: kubectl get --raw '/readyz?verbose'",
    ));
    let outcome = outcome(journal, report, context);
    end(journal, &outcome, context)?;
    Ok(outcome)
}

/// Returns the outcome of the restore of `journal`, which ends now.
fn outcome(journal: &Journal, report: RecoveryReport, context: &RestoreContext) -> RestoreOutcome {
    let at = context.setup.clock.now();
    let began = journal.state.began.unwrap_or(at);
    let seconds = u64::try_from(at.duration_since(began).as_secs()).unwrap_or(0);
    let path = journal.path().to_owned();
    RestoreOutcome::new(&journal.state.restore, path, report, seconds)
}

fn end(
    journal: &mut Journal,
    outcome: &RestoreOutcome,
    context: &RestoreContext,
) -> Result<(), OrchestrateError> {
    let at = context.setup.clock.now();
    let how = outcome.ended.to_owned();
    Ok(journal.write(vec![Record::Ended { how, at }])?)
}

fn short(plan: &Plan) -> String {
    plan.digest.to_string().chars().take(8).collect()
}
