//! Command `restore-cli resume`, which continues a restore that was interrupted.

use std::path::PathBuf;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use cluster_restore::orchestrate::{COMPLETE, InterruptedRestore};

use super::recover::{RunFlags, fetch_copy, report, restore_failed};

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
    let interrupted = InterruptedRestore::open(&path, from_store).map_err(restore_failed)?;
    if let Some((how, at)) = interrupted.completed() {
        frame.terminal.status(&format!(
            "this restore ended at {at}: {how}; nothing is left to do"
        ));
        if how == COMPLETE {
            return Ok(Exit::Complete);
        }
        let id = &interrupted.plan().restore_point.id;
        frame.terminal.status(&format!(
            "`restore-cli show {id}` names what it lacks, and which older restore point has it"
        ));
        return Ok(Exit::Partial);
    }
    let flags = &args.flags;
    let setup = flags.setup(interrupted.plan(), frame).await?;
    let consent = flags.consent.at(&frame.terminal);
    let run = interrupted.run(setup, &consent, flags.timeouts());
    let outcome = Box::pin(run).await.map_err(restore_failed)?;
    report(&outcome, frame)
}
