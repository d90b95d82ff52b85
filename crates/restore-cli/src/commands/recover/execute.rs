//! Execution of a plan: consent, the journal beside the plan, the run and its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings;
use backup_cli::program::Frame;
use backup_core::format::manifest::{Finding, Parent, Severity};
use cluster_client::kube::target::KubeTarget;
use cluster_restore::guards::Guards;
use cluster_restore::journal::{Journal, Phase, Record};
use cluster_restore::orchestrate::plan_file;
use cluster_restore::plan::{Plan, Step, admit_answer};
use cluster_restore::spool::Spool;
use cluster_restore::{JournalReplica, Recovery, RecoveryReport, Timeouts};

use super::context::only_etcd;
use super::{
    JournalCopier, JournalFlags, RestoreContext, RestoreReport, RestoreTargets, TargetFlags, etcd,
    failed,
};
use crate::commands::verify_tenants;
use crate::flags::{ReadFlags, ScratchFlags};

/// Time limit for the Kubernetes API. An API server waits for etcd, and needs some seconds more; images may
/// have to be pulled.
const API_WITHIN: Duration = Duration::from_secs(600);
/// Largest number of differences that are listed one by one.
const TOLD: usize = 12;

/// Consent to a restore.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Consent")]
pub(crate) struct Consent {
    /// Continue without asking; needs --target
    #[arg(long, requires = "target")]
    yes: bool,
    /// The name of the cluster that is restored, to be sure that it is meant
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

impl Consent {
    /// Shows the connected clusters and nodes, and asks a person to type the cluster's name, or accepts the
    /// flags instead.
    pub(crate) fn ask(
        &self,
        plan: &Plan,
        targets: &RestoreTargets,
        frame: &Frame,
    ) -> Result<(), Failure> {
        let cluster = plan.cluster.as_str();
        if let Some(named) = &self.target
            && named != cluster
        {
            let told = format!("the plan is of cluster {cluster}, and --target names {named}");
            return Err(Failure::message(Exit::Refused, told)
                .hint("look at both again; nothing was changed"));
        }
        if self.yes {
            frame.terminal.status(&targets.describe(plan));
            return Ok(());
        }
        let question = format!(
            "This writes cluster {cluster}, as of {}.\n{}",
            plan.restore_point.id,
            targets.describe(plan)
        );
        frame
            .terminal
            .confirm_by_name(&question, cluster, "--yes --target NAME")
    }
}

/// Refuses a plan that does not fit the present state.
pub(crate) fn check_unchanged(plan: &Plan, now: &Plan) -> Result<(), Failure> {
    if let Some(answer) = &now.target {
        admit_answer(plan, answer).map_err(failed)?;
    }
    let differences = plan.differences(now, TOLD);
    if !differences.is_empty() {
        let told = format!(
            "the cluster changed since the plan was made: {}",
            differences.join("; ")
        );
        return Err(Failure::message(Exit::Refused, told).hint("plan again, and look at it again"));
    }
    check_blockers(now)
}

/// Refuses a plan that has blockers now.
pub(crate) fn check_blockers(now: &Plan) -> Result<(), Failure> {
    let blockers = now.blockers();
    if let Some(first) = blockers.first() {
        let told = format!(
            "the plan has {} blocker(s), the first: {}: {}",
            blockers.len(),
            first.object,
            first.cause
        );
        return Err(Failure::message(Exit::Refused, told).hint(first.remedy.clone()));
    }
    Ok(())
}

/// Settings for executing a plan.
pub(crate) struct ExecuteSettings<'a> {
    pub(crate) timeouts: Timeouts,
    pub(crate) talos: Option<&'a TargetFlags>,
    pub(crate) read: &'a ReadFlags,
    pub(crate) scratch: &'a ScratchFlags,
}

/// Objects to write.
pub(crate) struct ObjectSpools {
    pub(crate) spool: Spool,
    /// Objects as the restored etcd has them, with their restore point.
    pub(crate) base: Option<(Spool, Parent)>,
}

/// Begins a journal and runs `plan`.
pub(crate) async fn run(
    context: RestoreContext,
    plan: Plan,
    (target, objects): (Option<KubeTarget>, ObjectSpools),
    journals: &JournalFlags,
    settings: ExecuteSettings<'_>,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let now = frame.clock.now();
    let restore = format!("{}-{}", now.strftime("%Y%m%dt%H%M%Sz"), short(&plan));
    let folder = &journals.journals;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("make the folder {}", folder.display()))?;
    plan.write(&folder.join(format!("{restore}.plan.json")))
        .map_err(failed)?;
    let journal = Journal::begin(folder, &restore, plan.digest, now).map_err(failed)?;
    frame
        .terminal
        .status(&format!("journal: {}", journal.path().display()));
    continue_run(context, plan, (target, objects), journal, settings, frame).await
}

/// Continues `journal` from its end, and keeps its copy in the store up to date meanwhile.
pub(crate) async fn continue_run(
    context: RestoreContext,
    plan: Plan,
    written: (Option<KubeTarget>, ObjectSpools),
    journal: Journal,
    settings: ExecuteSettings<'_>,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let copy = JournalCopier::of(&context, &plan, &journal, frame).await?;
    let copied: Arc<dyn JournalReplica> = Arc::<JournalCopier>::clone(&copy);
    let work = run_phases(context, plan, written, (journal, copied), settings, frame);
    Box::pin(copy.run_alongside(Box::pin(work))).await
}

/// Continues `journal` from its end.
async fn run_phases(
    context: RestoreContext,
    plan: Plan,
    (target, objects): (Option<KubeTarget>, ObjectSpools),
    (mut journal, copy): (Journal, Arc<dyn JournalReplica>),
    settings: ExecuteSettings<'_>,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let path = journal.path().display().to_string();
    let on = |failure: Failure| failure.hint(format!("continue with: restore-cli resume {path}"));
    if let Some(etcd) = plan
        .etcd
        .as_ref()
        .filter(|_| !journal.state.is_done(Phase::Etcd))
    {
        let Some(talos) = settings.talos else {
            return Err(Failure::message(Exit::Usage, "the plan has a step on etcd"));
        };
        let at = frame.clock.now();
        let phase = Phase::Etcd;
        journal
            .write(vec![Record::PhaseBegun { phase, at }])
            .map_err(failed)?;
        let settings = (talos, settings.read, settings.scratch);
        let restored = etcd::restore(
            &context,
            (etcd, &plan.options.allow),
            settings,
            &mut journal,
            frame,
        )
        .await;
        let found = restored.map_err(on)?.into_iter();
        let mut records: Vec<Record> = found
            .map(|finding| Record::Found { phase, finding })
            .collect();
        let at = frame.clock.now();
        records.push(Record::PhaseDone { phase, at });
        journal.write(records).map_err(failed)?;
    }
    if only_etcd(&plan.steps) && !context.has_api() {
        return finish_etcd_only(&mut journal, path, frame);
    }
    let target = match target {
        Some(target) => target,
        None => context.target_within(API_WITHIN, frame).await.map_err(on)?,
    };
    let mut recovery = Recovery {
        plan,
        target,
        spool: objects.spool,
        base: objects.base.map(|(base, _)| base),
        journal,
        guards: Guards::default(),
        timeouts: settings.timeouts,
        clock: Arc::clone(&frame.clock),
        copy,
        progress: context.progress(),
        cancel: frame.cancel.clone(),
    };
    let ended = match recovery.run().await {
        Ok(ended) => ended,
        Err(error) => {
            let at = frame.clock.now();
            let how = "failed".to_owned();
            // If the journal itself fails, its last line says enough.
            recovery.journal.write(vec![Record::Ended { how, at }]).ok();
            return Err(on(failed(error)));
        }
    };
    let at = frame.clock.now();
    let began = recovery.journal.state.began.unwrap_or(at);
    let seconds = u64::try_from(at.duration_since(began).as_secs()).unwrap_or(0);
    let mut ran = RestoreReport::new(
        &recovery.journal.state.restore,
        path.clone(),
        &ended,
        seconds,
    );
    if recovery.plan.has(Step::Verify) {
        let phase = Phase::Verify;
        recovery
            .journal
            .write(vec![Record::PhaseBegun { phase, at }])
            .map_err(failed)?;
        let config = &context.opened.config;
        let verified = async {
            let baseline = context.baseline().await?;
            verify_tenants::verified(config, &baseline, frame).await
        };
        let verified = verified.await;
        let at = frame.clock.now();
        match verified {
            Ok(verified) => {
                ran.tenants = Some(verified);
                recovery
                    .journal
                    .write(vec![Record::PhaseDone { phase, at }])
                    .map_err(failed)?;
            }
            Err(failure) => {
                frame
                    .terminal
                    .warn(&format!("tenants were not asked: {}", failure.one_line()));
                ran.ended = "partial";
            }
        }
    }
    ran.lacks(findings::printed(&context.lacks(&recovery.plan).await));
    let at = frame.clock.now();
    let how = ran.ended.to_owned();
    recovery
        .journal
        .write(vec![Record::Ended { how, at }])
        .map_err(failed)?;
    frame.terminal.emit(&ran)?;
    Ok(ran.exit())
}

/// Ends a restore of etcd alone, where no access to the Kubernetes API is configured.
fn finish_etcd_only(journal: &mut Journal, path: String, frame: &Frame) -> Result<Exit, Failure> {
    let mut ended = RecoveryReport {
        findings: journal.state.findings().cloned().collect(),
        ..RecoveryReport::default()
    };
    ended.findings.push(Finding {
        severity: Severity::Info,
        object: "Kubernetes API".to_owned(),
        cause: "no way to it is configured, so it was not asked whether it is back".to_owned(),
        remedy: "look at it: kubectl get --raw '/readyz?verbose'".to_owned(),
    });
    let at = frame.clock.now();
    let began = journal.state.began.unwrap_or(at);
    let seconds = u64::try_from(at.duration_since(began).as_secs()).unwrap_or(0);
    let ran = RestoreReport::new(&journal.state.restore, path, &ended, seconds);
    let how = ran.ended.to_owned();
    journal
        .write(vec![Record::Ended { how, at }])
        .map_err(failed)?;
    frame.terminal.emit(&ran)?;
    Ok(ran.exit())
}

/// Reads the plan of `journal`, which must be the one that the journal began with.
pub(crate) fn plan_of(
    journal: &Path,
    digest: Option<backup_core::digest::Digest>,
) -> Result<Plan, Failure> {
    let plan = Plan::read(&plan_file(journal)).map_err(failed)?;
    if Some(plan.digest) != digest {
        let told = format!(
            "{} is not the plan that {} follows",
            plan_file(journal).display(),
            journal.display()
        );
        return Err(Failure::message(Exit::Refused, told));
    }
    Ok(plan)
}

fn short(plan: &Plan) -> String {
    plan.digest.to_string().chars().take(8).collect()
}
