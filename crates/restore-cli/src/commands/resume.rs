//! Command `restore-cli resume`, which continues a restore that was interrupted.

use std::path::PathBuf;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use cluster_restore::journal::{Journal, Phase, Record};
use cluster_restore::orchestrate::{COMPLETE, COMPLETE_OF_PARTIAL, ObjectSource};
use cluster_restore::plan::{Step, admit};

use super::recover::{
    PlanRequest, RestoreContext, RestoreTargets, RunFlags, continue_run, failed, fetch_copy,
    plan_of, same,
};

/// Continue a restore from where its journal ends
///
/// What is done is not done again, what was begun is looked at first, and what was stopped is put
/// back. May be repeated as often as needed.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The journal, as a file or as the name of the restore, which may be in the store alone
    /// [default: the newest one in the folder]
    #[arg(value_name = "JOURNAL")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    flags: RunFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let folder = &args.flags.journals.journals;
    let (path, from_store) = match super::status::JournalName::of(args.journal.as_deref(), folder)?
    {
        super::status::JournalName::File(path) => (path, false),
        super::status::JournalName::Restore(restore) => {
            let given = args.flags.read.given();
            let (path, _) = fetch_copy(&restore, folder, &given, frame).await?;
            let told = format!("journal: {}, from the store", path.display());
            frame.terminal.status(&told);
            (path, true)
        }
    };
    let mut journal = Journal::open(&path).map_err(failed)?;
    let plan = plan_of(&path, journal.state.plan)?;
    if let Some((how, at)) = &journal.state.ended
        && (how == COMPLETE || how == COMPLETE_OF_PARTIAL)
    {
        frame.terminal.status(&format!(
            "this restore ended at {at}: {how}; nothing is left to do"
        ));
        if how == COMPLETE {
            return Ok(Exit::Complete);
        }
        let id = &plan.restore_point.id;
        frame.terminal.status(&format!(
            "`restore-cli show {id}` names what it lacks, and which older restore point has it"
        ));
        return Ok(Exit::Partial);
    }
    let context = RestoreContext::of_plan(&plan, args.flags.context_flags(), frame).await?;
    context.admit_steps(&plan.steps)?;
    // With a step on etcd the API may not be up yet; the step waits for it.
    let target = if plan.has(Step::Etcd) {
        None
    } else {
        Some(frame.or_cancelled(context.target()).await?)
    };
    if let Some(target) = &target {
        admit(&plan, target).map_err(failed)?;
    }
    // Consent was given on another machine, so it is asked for again.
    if from_store {
        let etcd = plan.etcd.as_ref();
        let etcd = etcd.filter(|_| !journal.state.is_done(Phase::Etcd));
        let nodes = args.flags.nodes();
        let targets =
            RestoreTargets::check(&context, (&plan, etcd), target.as_ref(), nodes, frame).await?;
        args.flags.consent.ask(&plan, &targets, frame)?;
    }
    let plan_request = PlanRequest {
        source: ObjectSource::begun(&plan.origin),
        ..PlanRequest::of(&plan)
    };
    let material = context
        .material(&plan_request, target.as_ref(), frame)
        .await?;
    same(&plan.origin, &material.origin)?;
    let at = frame.clock.now();
    journal
        .write(vec![Record::Resumed {
            at,
            copied: from_store,
        }])
        .map_err(failed)?;
    let settings = args.flags.settings();
    let objects = material.objects;
    continue_run(context, plan, (target, objects), journal, settings, frame).await
}
