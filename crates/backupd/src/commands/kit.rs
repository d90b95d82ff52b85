//! Command `backupd kit`, which stores files that a restore needs and that no API returns.

use std::path::PathBuf;

use backup_cli::config::Config;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::backup::{BackupPlan, Origin};
use backup_core::id::ComponentName;
use clap::Subcommand;
use cluster_client::recovery_files::RecoveryFiles;

use crate::flags::{self, NoteFlags, WriteFlags};
use crate::run_builder::report::RunReport;
use crate::run_builder::{RunContext, prepare_by};

/// Keep files that a restore needs and no API hands out
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(AddArgs),
}

/// Store these files as the kit of the cluster
///
/// For machine configurations, a secrets bundle, the key of the encryption at rest and the like.
/// The files are stored encrypted in a restore point of their own, and every later restore point
/// names them as well. What runs in the cluster cannot read what it stored, so a new kit takes the
/// place of the old one as a whole.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
struct AddArgs {
    /// The files, each of at most 16 MiB
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Leave out files of the present kit that are not given again
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    note: NoteFlags,
    #[command(flatten)]
    write: WriteFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let Command::Add(args) = &args.command;
    let given = flags::given(&args.write, None);
    let config = Config::load(&given, frame.clock.now())?;
    // Reads the files before the store is touched, so that a misspelt file name costs nothing.
    let kit = RecoveryFiles::read(&args.files).await?;
    let run = prepare_by(frame, &config, &args.note.note(), &RunContext::of(frame)).await?;
    if !args.replace {
        let mut dropped = run.kit_files().await?;
        dropped.retain(|old| kit.names().all(|new| new != old));
        if !dropped.is_empty() {
            return Err(lost(&dropped));
        }
    }
    let plan = BackupPlan {
        parts: vec![(ComponentName::kit(), Origin::Archive(&kit))],
        ..BackupPlan::default()
    };
    let committed = run.take(plan).await;
    drop(run);
    RunReport::of(&committed?).print(frame)
}

/// Refuses a new kit that lacks files of the present kit.
fn lost(dropped: &[String]) -> Failure {
    let text = format!(
        "the kit that is stored has files that were not given again: {}",
        dropped.join(", ")
    );
    Failure::message(Exit::Refused, text)
        .hint("name all files of the kit, or say --replace to leave those out from now on")
        .hint("`restore-cli fetch --component kit` hands the stored ones back")
}
