//! Command `restore-cli resources`, which lists and shows the Kubernetes objects of a restore point.

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use clap::Subcommand;

mod get;
mod ls;
mod overview;

/// Look at the Kubernetes objects of a restore point
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Args),
    Get(get::Args),
}

/// Which restore point, where it is not what the command is about.
#[derive(Debug, Clone, clap::Args)]
struct PointFlag {
    /// Look into this restore point: an id, the beginning of one, or `latest`, the newest that has
    /// what is needed
    #[arg(long, value_name = "RESTORE-POINT", default_value = "latest")]
    at: String,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    match &args.command {
        Command::Ls(args) => ls::run(args, frame).await,
        Command::Get(args) => get::run(args, frame).await,
    }
}
