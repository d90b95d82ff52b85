//! Command `restore-cli plan`, which writes the plan of a restore to a file and changes nothing.

use std::path::PathBuf;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::program::Frame;
use clap::ValueEnum;
use cluster_restore::orchestrate::{
    PastDurations, PlanRequest, PointSelection, RestoreContext, RestoreFilter,
};
use cluster_restore::plan::{Mode, Step};

use super::recover::{
    JournalFlags, ObjectFlags, PlanReport, SourceFlags, TargetFlags, failed, restore_failed, setup,
};
use crate::flags::{PointArg, ReadFlags, ScratchFlags};

/// How a cluster is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeFlag {
    /// The same cluster: etcd comes back with all UIDs, then objects are brought forward.
    InPlace,
    /// A fresh cluster: every object is created again, in an order that cannot hurt a tenant.
    Rebuild,
}

/// A step of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StepFlag {
    /// etcd from the snapshot.
    Etcd,
    /// CustomResourceDefinitions.
    Crds,
    /// Everything else that is an object.
    Resources,
    /// Tenants are asked and compared.
    Verify,
}

/// Say what a restore would do, and write it to a plan; nothing is changed
///
/// The archive is compared with the cluster, with reads and dry runs only. What could hurt a tenant is
/// a blocker, named with its remedy; what has to be stopped first is listed. The plan is bound to
/// the cluster, the restore point and this version of the program. Ends with code 6 if there are
/// blockers.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    point: PointArg,
    /// Restore in this way
    #[arg(long, value_enum, value_name = "MODE", default_value = "in-place")]
    mode: ModeFlag,
    /// Do only these steps [default: all that the mode has]
    #[arg(long, value_enum, value_name = "STEP", value_delimiter = ',')]
    only: Vec<StepFlag>,
    /// Bring objects forward to this restore point after etcd came back from the first one
    /// [default: with RESTORE-POINT `latest` the newest that has objects]
    #[arg(long, value_name = "RESTORE-POINT")]
    forward_to: Option<String>,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE", default_value = "restore-plan.json")]
    to: PathBuf,
    #[command(flatten)]
    journals: JournalFlags,
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    objects: ObjectFlags,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    talos: TargetFlags,
    #[command(flatten)]
    kube: KubeFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let mode = match args.mode {
        ModeFlag::InPlace => Mode::InPlace,
        ModeFlag::Rebuild => Mode::Rebuild,
    };
    let source = args.source.source(args.objects.prune())?;
    let wanted = PointSelection {
        point: &args.point.restore_point,
        forward: args.forward_to.as_deref(),
        steps: steps(mode, &args.only)?,
        source: &source,
    };
    let flags = (&args.read, &args.kube, &args.scratch);
    let talos = wanted.steps.contains(&Step::Etcd).then_some(&args.talos);
    let setup = setup(flags, talos, frame).await?;
    let context = RestoreContext::open(wanted, setup).await;
    let context = context.map_err(restore_failed)?;
    let plan_request = PlanRequest {
        mode,
        steps: context.steps().to_vec(),
        options: args.objects.options(),
        source,
        dry_run: true,
    };
    let plan = Box::pin(context.plan(&plan_request)).await;
    let plan = plan.map_err(restore_failed)?;
    plan.write(&args.to).map_err(failed)?;
    let filter = RestoreFilter {
        cluster: &plan.cluster,
        mode: plan.mode,
        steps: Some(&plan.steps),
    };
    let took = PastDurations::last(
        &args.journals.journals,
        &context.setup().points.store,
        &filter,
    )
    .await;
    let shown = PlanReport {
        file: args.to.display().to_string(),
        plan: &plan,
        last_seconds: took.and_then(|took| took.whole.as_secs().try_into().ok()),
    };
    frame.terminal.emit(&shown)?;
    Ok(if plan.blockers().is_empty() {
        Exit::Complete
    } else {
        Exit::Refused
    })
}

/// Returns the steps of a mode, or the requested steps.
pub(super) fn steps(mode: Mode, only: &[StepFlag]) -> Result<Vec<Step>, Failure> {
    let step = |flag: &StepFlag| match flag {
        StepFlag::Etcd => Step::Etcd,
        StepFlag::Crds => Step::Crds,
        StepFlag::Resources => Step::Resources,
        StepFlag::Verify => Step::Verify,
    };
    let mut steps: Vec<Step> = only.iter().map(step).collect();
    steps.sort();
    steps.dedup();
    if mode == Mode::Rebuild && steps.contains(&Step::Etcd) {
        let told = "a rebuild has no step `etcd`: the fresh cluster keeps its own";
        return Err(Failure::message(Exit::Usage, told)
            .hint("plan with `--mode in-place` to restore etcd from its snapshot"));
    }
    if steps.is_empty() {
        steps = Step::ALL.to_vec();
        if mode == Mode::Rebuild {
            steps.retain(|step| *step != Step::Etcd);
        }
    }
    Ok(steps)
}
