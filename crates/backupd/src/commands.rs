//! Commands of `backupd`, one file for each.

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;

use crate::args::Command;

pub(crate) mod check_config;
pub(crate) mod import;
pub(crate) mod keygen;
pub(crate) mod kit;
pub(crate) mod post_upgrade;
pub(crate) mod pre_upgrade;
pub(crate) mod run;
pub(crate) mod snapshot;
pub(crate) mod sweep;
mod upgrade;

/// Runs the requested command.
pub(crate) async fn run(command: &Command, frame: &Frame) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => Box::pin(run::run(args, frame)).await,
        Command::Snapshot(args) => Box::pin(snapshot::run(args, frame)).await,
        Command::PreUpgrade(args) => Box::pin(pre_upgrade::run(args, frame)).await,
        Command::PostUpgrade(args) => Box::pin(post_upgrade::run(args, frame)).await,
        Command::Import(args) => Box::pin(import::run(args, frame)).await,
        Command::Kit(args) => kit::run(args, frame).await,
        Command::Sweep(args) => Box::pin(sweep::run(args, frame)).await,
        Command::CheckConfig(args) => check_config::run(args, frame),
        Command::Keygen(args) => keygen::run(args, frame),
    }
}
