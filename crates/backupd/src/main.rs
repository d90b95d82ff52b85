//! Program `backupd`, which takes snapshots and writes restore points.

use std::process::ExitCode;

mod args;
mod commands;
mod daemon;
mod flags;
mod run_builder;
mod sweep;
mod tls;

fn main() -> ExitCode {
    let args = args::Args::of_process();
    backup_cli::program::run_within(&args.common, args.grace(), async |frame| {
        // The futures of the commands are large, and only one runs at a time.
        Box::pin(commands::run(&args.command, &frame)).await
    })
}
