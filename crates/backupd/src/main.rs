//! `backupd`: takes snapshots and writes restore points.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod commands;

fn main() -> ExitCode {
    let args = args::Args::parse();
    backup_cli::program::run(&args.common, async |frame| {
        commands::run(&args.command, &frame).await
    })
}
