//! Program `bench`, which compares bytes, speed and memory with other ways to keep etcd snapshots, in one
//! run.

mod big;
mod daemon;
mod measure;
mod objects;
mod peers;
mod rebuild;
mod report;
mod series;
mod snapshots;
mod talos;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::Folder;

/// Measure against restic and `zstd -3 | age` on snapshots of a real etcd
///
/// Snapshots are made once and kept in the per-user cache. Everything else is done anew.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Args {
    /// Do everything this often, in turns, and show medians
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Measure a large snapshot of this many GiB; 0 leaves it out
    #[arg(long, default_value_t = 2, value_name = "GIB")]
    big: u32,
    /// Leave out the series of snapshots
    #[arg(long)]
    no_series: bool,
    /// Leave out the stream over the Talos API
    #[arg(long)]
    no_talos: bool,
    /// Measure the export of this many custom resources, and a daemon that watches them; 0 leaves it
    /// out
    #[arg(long, default_value_t = 100_000, value_name = "NUMBER")]
    objects: usize,
    /// Leave out the export by commands
    #[arg(long)]
    no_export: bool,
    /// Leave out the daemon
    #[arg(long)]
    no_daemon: bool,
    /// Measure the restore of this many custom resources; 0 leaves it out
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    restored: usize,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What other processes of a benchmark do.
#[derive(Debug, Subcommand)]
enum Role {
    /// Serve a snapshot file as Talos does, until the input ends
    #[command(hide = true)]
    StandIn { file: PathBuf, folder: PathBuf },
    /// Read a snapshot over the Talos API and throw it away
    #[command(hide = true)]
    Drain { talosconfig: PathBuf },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    match args.role {
        Some(Role::StandIn { file, folder }) => return talos::serve(&file, &folder).await,
        Some(Role::Drain { talosconfig }) => return talos::drain(&talosconfig).await,
        None => {}
    }
    let programs = own_programs()?;
    print(&report::machine()?)?;
    let (count, rounds) = (args.objects, args.rounds);
    if count > 0 && !args.no_export {
        let scratch = Folder::new()?;
        print(&objects::measure(count, rounds, &programs, &scratch, &say).await?)?;
    }
    if count > 0 && !args.no_daemon {
        let scratch = Folder::new()?;
        print(&daemon::measure(count, rounds, &programs, &scratch, &say).await?)?;
    }
    if args.restored > 0 {
        let scratch = Folder::new()?;
        print(&rebuild::measure(args.restored, &programs, &scratch, &say).await?)?;
    }
    if args.no_series && args.no_talos && args.big == 0 {
        return Ok(());
    }
    let snapshots = snapshots::series(&say).await?;
    if !args.no_series {
        let scratch = Folder::new()?;
        let measured = series::measure(&snapshots, args.rounds, &programs, &scratch, &say)?;
        print(&report::series(&snapshots, &measured))?;
    }
    if args.big > 0 {
        let snapshots = snapshots::big(args.big, &say).await?;
        let scratch = Folder::new()?;
        print(&big::measure(
            &snapshots,
            args.rounds,
            &programs,
            &scratch,
            &say,
        )?)?;
    }
    if !args.no_talos {
        let scratch = Folder::new()?;
        let first = snapshots.first().context("there are no snapshots")?;
        print(&talos::measure(
            first,
            args.rounds,
            &programs,
            &scratch,
            &say,
        )?)?;
    }
    Ok(())
}

/// Returns the folder of this program, where `backupd` and `restore-cli` are too.
fn own_programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("asking where this program is")?;
    let folder = own.parent().context("this program has no folder")?;
    for name in ["backupd", "restore-cli"] {
        let path = folder.join(name);
        anyhow::ensure!(
            path.is_file(),
            "{} is not there; run `make bench`, which builds it",
            path.display()
        );
    }
    Ok(folder.to_owned())
}

/// Prints status for people to standard error.
fn say(line: &str) {
    e2e::tools::say_on_stderr(line);
}

/// Prints results to standard output.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("writing to standard output")
}
