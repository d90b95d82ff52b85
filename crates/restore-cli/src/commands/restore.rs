//! Command `restore-cli restore`, which runs a plan, or one step with a plan of its own.

use std::path::{Path, PathBuf};

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::program::Frame;
use clap::Subcommand;
use cluster_restore::plan::{Mode, Plan, Step};

mod datastore;
mod etcd;

use super::plan::ModeFlag;
use super::recover::{
    Consent, ExecuteSettings, JournalFlags, ObjectFlags, PlanReport, PlanRequest, PointSelection,
    RestoreContext, RestoreTargets, RunFlags, SourceFlags, WaitFlags, check_blockers,
    check_unchanged, failed, run as execute, same,
};
use crate::flags::{PointArg, ReadFlags, ScratchFlags};

/// Run a plan that `restore-cli plan` made, or one step with a plan of its own
///
/// The plan is held against the cluster first: on another one, or one that changed since, it is
/// refused and the difference named. Each object is in a journal before and after it is written, so
/// that `restore-cli resume` continues after any interruption. Controllers and webhooks are stopped
/// and put back. Nothing is deleted as roll-back. Ends with code 7 if something could not be
/// restored.
#[derive(Debug, clap::Args)]
#[command(
    after_help = backup_cli::exit::HELP,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Option<StepCommand>,
    /// Run this plan
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Debug, Subcommand)]
enum StepCommand {
    Etcd(etcd::Args),
    Datastore(datastore::Args),
    /// Restore CustomResourceDefinitions and nothing else
    Crds(StepArgs),
    /// Restore objects and nothing else; their definitions must be there
    Resources(StepArgs),
    /// Compare tenants with a restore point, as `restore-cli verify-tenants` does
    Verify(super::verify_tenants::Args),
}

#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
struct StepArgs {
    #[command(flatten)]
    point: PointArg,
    /// Restore in this way
    #[arg(long, value_enum, value_name = "MODE", default_value = "in-place")]
    mode: ModeFlag,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    journals: JournalFlags,
    #[command(flatten)]
    waits: WaitFlags,
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    objects: ObjectFlags,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    kube: KubeFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    match (&args.step, &args.plan) {
        (Some(StepCommand::Etcd(args)), _) => Box::pin(etcd::run(args, frame)).await,
        (Some(StepCommand::Datastore(args)), _) => Box::pin(datastore::run(args, frame)).await,
        (Some(StepCommand::Crds(args)), _) => Box::pin(one(args, Step::Crds, frame)).await,
        (Some(StepCommand::Resources(args)), _) => {
            Box::pin(one(args, Step::Resources, frame)).await
        }
        (Some(StepCommand::Verify(args)), _) => {
            let verification = Box::pin(super::verify_tenants::run(args, frame));
            frame.or_cancelled(verification).await
        }
        (None, Some(plan)) => Box::pin(whole(plan, args, frame)).await,
        (None, None) => Err(Failure::message(Exit::Usage, "no plan is named")
            .hint("make one with `restore-cli plan`, and name it with --plan FILE")),
    }
}

async fn whole(plan: &Path, args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let plan = Plan::read(plan).map_err(failed)?;
    let context = RestoreContext::of_plan(&plan, args.flags.context_flags(), frame).await?;
    context.admit_steps(&plan.steps)?;
    let plan_request = PlanRequest::of(&plan);
    // The objects of etcd's snapshot exist only after its restore.
    let (target, material) = if plan.has(Step::Etcd) {
        if let Some(blocker) = plan.blockers().first() {
            return Err(
                Failure::message(Exit::Refused, blocker.cause.clone()).hint(blocker.remedy.clone())
            );
        }
        let material = context.material(&plan_request, None, frame).await?;
        same(&plan.origin, &material.origin)?;
        // Tenants' data may be gone since the plan. The outcome of objects was only forecast, and is
        // determined later.
        let now = context
            .predict(&plan_request, &material, None, frame)
            .await?;
        check_blockers(&now)?;
        (None, material)
    } else {
        let target = frame.or_cancelled(context.target()).await?;
        let material = context
            .material(&plan_request, Some(&target), frame)
            .await?;
        same(&plan.origin, &material.origin)?;
        let now = context
            .survey(&plan_request, &target, &material, frame)
            .await?;
        check_unchanged(&plan, &now)?;
        (Some(target), material)
    };
    let targets = RestoreTargets::check(
        &context,
        (&plan, plan.etcd.as_ref()),
        target.as_ref(),
        args.flags.nodes(),
        frame,
    )
    .await?;
    args.flags.consent.ask(&plan, &targets, frame)?;
    let execution = execute(
        context,
        plan,
        (target, material.objects),
        &args.flags.journals,
        args.flags.settings(),
        frame,
    );
    Box::pin(execution).await
}

async fn one(args: &StepArgs, step: Step, frame: &Frame) -> Result<Exit, Failure> {
    let source = args.source.source(args.objects.prune())?;
    let wanted = PointSelection {
        point: &args.point.restore_point,
        forward: None,
        steps: vec![step],
        source: &source,
    };
    let flags = (&args.read, &args.kube, &args.scratch);
    let context = RestoreContext::open(wanted, flags, frame).await?;
    let plan_request = PlanRequest {
        mode: match args.mode {
            ModeFlag::InPlace => Mode::InPlace,
            ModeFlag::Rebuild => Mode::Rebuild,
        },
        steps: vec![step],
        options: args.objects.options(),
        source,
        dry_run: true,
    };
    let target = frame.or_cancelled(context.target()).await?;
    let material = context
        .material(&plan_request, Some(&target), frame)
        .await?;
    let plan = context
        .survey(&plan_request, &target, &material, frame)
        .await?;
    if !plan.blockers().is_empty() {
        let file = "(of this step)".to_owned();
        let last_seconds = None;
        frame.terminal.emit(&PlanReport {
            file,
            plan: &plan,
            last_seconds,
        })?;
        return Ok(Exit::Refused);
    }
    let targets = RestoreTargets::of(&target, frame).await?;
    args.consent.ask(&plan, &targets, frame)?;
    let settings = ExecuteSettings {
        timeouts: args.waits.timeouts(),
        talos: None,
        read: &args.read,
        scratch: &args.scratch,
    };
    let execution = execute(
        context,
        plan,
        (Some(target), material.objects),
        &args.journals,
        settings,
        frame,
    );
    Box::pin(execution).await
}
