//! Program `restore-cli`, which finds, inspects, checks and fetches restore points, and restores clusters
//! from them.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod commands;
mod flags;

fn main() -> ExitCode {
    let args = args::Args::parse();
    backup_cli::program::run(&args.common, async |frame| {
        commands::run(&args.command, &frame).await
    })
}
