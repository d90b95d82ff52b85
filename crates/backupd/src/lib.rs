//! Daemon `backupd` and its one-shot commands, which take snapshots and write restore points.
//!
//! The program is [`run`]. With feature `testing` the tests of the lab move a worker's clock through
//! [`testing`]; nothing else of this crate is for others.

use std::process::ExitCode;

mod args;
mod commands;
mod daemon;
mod flags;
mod run_builder;
mod sweep;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

/// Runs the program on the arguments of the process; returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let args = args::Args::of_process();
    backup_cli::program::run_within(&args.common, args.grace(), async |frame| {
        // The futures of the commands are large, and only one runs at a time.
        Box::pin(commands::run(&args.command, &frame)).await
    })
}
