//! Program `lab`, which runs the real components for a person, plays a show on them, and prepares what `make`
//! needs.

mod demo;
mod down;
mod programs;
mod reset;
mod state;
mod tools;
mod up;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Run the project's lab: real etcd, Kubernetes and S3 server on 127.0.0.1
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Args {
    /// File that says what runs and where; one lab for each file
    #[arg(long, global = true, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install or name the programs that only tests and benchmarks use
    Programs(programs::Args),
    /// Find or build the components, with progress
    Tools,
    /// Start a Butler management cluster with two tenants, print how to reach it, and run until Ctrl-C or `lab down`
    Up,
    /// Show the main job from end to end, each command with what it prints
    Demo(demo::Args),
    /// Lose the etcd of the lab that `lab up` started, as a reset of all its nodes does
    Reset,
    /// End the lab that `lab up` started
    Down,
    /// Print what runs and how to reach it
    Status,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            say(&format!("lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<ExitCode> {
    let state = args.state.unwrap_or_else(state::default_path);
    match args.command {
        Command::Programs(args) => programs::run(&args),
        Command::Tools => tokio::task::spawn_blocking(tools::run)
            .await
            .context("finding the components")?,
        Command::Up => up::run(&state).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Reset => reset::run(&state).await,
        Command::Down => down::run(&state).await,
        Command::Status => status(&state),
    }
}

fn status(path: &std::path::Path) -> Result<ExitCode> {
    match state::State::of_a_live_lab(path)? {
        Some(state) => {
            print(&state.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            say("no lab is up; start one with `make lab`");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Prints status for people to standard error.
fn say(line: &str) {
    e2e::tools::say_on_stderr(line);
}

/// Prints data for people and scripts to standard output.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("writing to standard output")
}
