//! `restore-cli restore`: one step of a restore, by itself.

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use clap::Subcommand;

mod datastore;
mod etcd;

/// Restore from a restore point: one step after the other
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Etcd(etcd::Args),
    Datastore(datastore::Args),
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    match &args.command {
        Command::Etcd(args) => Box::pin(etcd::run(args, frame)).await,
        Command::Datastore(args) => Box::pin(datastore::run(args, frame)).await,
    }
}
