//! Command `restore-cli restore`, which runs a plan, or one step with a plan of its own.

use std::path::{Path, PathBuf};

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::program::Frame;
use clap::Subcommand;
use cluster_restore::orchestrate::{PlanRequest, PointSelection, PreparedRestore, RestoreContext};
use cluster_restore::plan::{Mode, Plan, Step};

mod datastore;
mod etcd;

use super::plan::ModeFlag;
use super::recover::{
    ConsentFlags, JournalFlags, ObjectFlags, PlanReport, RunFlags, SourceFlags, WaitFlags, failed,
    report, restore_failed, setup,
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
    consent: ConsentFlags,
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
    let flags = &args.flags;
    let setup = flags.setup(&plan, frame).await?;
    let prepared = Box::pin(PreparedRestore::of_plan(plan, setup));
    let prepared = prepared.await.map_err(restore_failed)?;
    let consent = flags.consent.at(&frame.terminal);
    let run = prepared.run(&consent, &flags.journals.journals, flags.timeouts());
    let outcome = Box::pin(run).await.map_err(restore_failed)?;
    report(&outcome, frame)
}

async fn one(args: &StepArgs, step: Step, frame: &Frame) -> Result<Exit, Failure> {
    let source = args.source.source(args.objects.prune())?;
    let wanted = PointSelection {
        point: &args.point.restore_point,
        forward: None,
        steps: vec![step],
        source: &source,
    };
    let setup = setup((&args.read, &args.kube, &args.scratch), None, frame).await?;
    let context = RestoreContext::open(wanted, setup).await;
    let context = context.map_err(restore_failed)?;
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
    let prepared = Box::pin(PreparedRestore::new(context, &plan_request));
    let prepared = prepared.await.map_err(restore_failed)?;
    if !prepared.plan().blockers().is_empty() {
        frame.terminal.emit(&PlanReport {
            file: "(of this step)".to_owned(),
            plan: prepared.plan(),
            last_seconds: None,
        })?;
        return Ok(Exit::Refused);
    }
    let consent = args.consent.at(&frame.terminal);
    let run = prepared.run(&consent, &args.journals.journals, args.waits.timeouts());
    let outcome = Box::pin(run).await.map_err(restore_failed)?;
    report(&outcome, frame)
}
