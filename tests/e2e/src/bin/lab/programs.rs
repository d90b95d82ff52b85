//! Command `lab programs`, which installs the programs that only tests and benchmarks use, where that is
//! allowed.

use std::process::ExitCode;

use anyhow::Result;
use e2e::programs;

use crate::{print, say};

/// What to do besides naming what is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install what is missing by apt-get, where it is there and this is root
    #[arg(long)]
    install: bool,
    /// Fail when something is missing in the end; so does CI=true
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let missing = programs::missing();
    if args.install
        && let Err(error) = programs::install(&missing, &say)
    {
        say(&format!("{error:#}"));
    }
    let missing = programs::missing();
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    print(&programs::left_out(&missing))?;
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if args.strict || in_ci {
        say("with CI=true or --strict every program must be there");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
