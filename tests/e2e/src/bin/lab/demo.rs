//! Command `lab demo`, which shows the main job from end to end on real parts, for first-time viewers.

mod changes;
mod checks;
mod cluster;
mod daemon;
mod disaster;
mod screen;
mod stage;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use e2e::data::Shape;
use e2e::ours::Programs;
use tokio::signal::unix::{SignalKind, signal};

use self::screen::Screen;
use self::stage::Stage;

/// Programs and data of the show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with backupd and restore-cli [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Objects in the etcd; 8000 make a database of about 40 MB
    #[arg(long, default_value_t = 8_000, value_name = "NUMBER")]
    objects: usize,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let programs = match &args.programs {
        Some(folder) => Programs::within(folder)?,
        None => Programs::find()?,
    };
    let shape = Shape {
        objects: args.objects,
        ..Shape::small()
    };
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    // In each case the lab ends with this function: dropping it ends its programs.
    tokio::select! {
        shown = Box::pin(show(programs, shape)) => shown?,
        _ = interrupt.recv() => bail!("interrupted; the lab is gone"),
        _ = terminate.recv() => bail!("terminated; the lab is gone"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(programs: Programs, shape: Shape) -> Result<()> {
    let mut screen = Screen::new(23);
    screen.title(
        "Butler Backup on real parts",
        "First a real etcd and a real S3 server on 127.0.0.1, a stand-in for the Talos API between \
         them and us; then a whole Butler cluster, which loses \
         its etcd and comes back. All in temporary folders. Lines with $ are commands that you could type; what \
         they print follows. All of it is gone at the end.",
    )?;
    let mut stage = Stage::set(&mut screen, programs.clone(), shape).await?;
    steps::keys(&mut screen, &stage).await?;
    steps::configuration(&mut screen, &stage).await?;
    let first = steps::snapshot(&mut screen, &stage, "the first one").await?;
    steps::look(&mut screen, &stage, &first).await?;
    steps::verify(&mut screen, &stage).await?;
    let fetched = steps::fetch(&mut screen, &stage, &first).await?;
    checks::etcd_agrees(&mut screen, &stage, fetched).await?;
    let churn = steps::churn(&mut screen, &mut stage).await?;
    let second = steps::second(&mut screen, &stage, &first).await?;
    daemon::runs(&mut screen, &stage).await?;
    steps::audit(&mut screen, &stage).await?;
    let objects = checks::names_are_digests(&mut screen, &stage).await?;
    // Its servers make room for those of the second act.
    drop(stage);
    let whole = cluster::play(&mut screen, programs).await?;
    let mut seen = vec![
        format!(
            "etcd at revision {} with {} keys went through the Talos API into S3, encrypted and \
             signed",
            first.revision, first.keys
        ),
        "it came back bit for bit; etcdutl finds the same revision, keys and hash in it".to_owned(),
        format!(
            "after {churn} the second restore point took {} of the first one's space: {} \
             instead of {}",
            screen::percent(second.stored, first.stored),
            screen::bytes(second.stored),
            screen::bytes(first.stored)
        ),
        "a daemon took the third one on demand, and its metrics knew of those before".to_owned(),
        format!("all {objects} objects in the bucket carry their SHA-256 as their name"),
    ];
    seen.extend(whole);
    screen.end(&seen)
}
