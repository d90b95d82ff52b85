//! Command `restore-cli show`, which shows the manifest of one restore point.

use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::catalog::Catalog;
use cluster_restore::orchestrate::{LATEST, Requirement};

use crate::commands::{open, warn_untrusted};
use crate::flags::{PointArg, ReadFlags};

pub(super) mod report;

/// Show what one restore point holds, who can open it, and where it came from
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: PointArg,
    /// List kinds without objects and kinds that were not listed, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    // A manifest is not encrypted; `--identity` is accepted so that one set of flags fits all commands.
    let opened = open(&args.read.given(), frame).await?;
    let wanted = &args.selection.restore_point;
    let point = if wanted == LATEST {
        opened.find(wanted, &Requirement::Nothing).await?
    } else {
        // An untrusted manifest may be shown, with a warning about its signature.
        let catalog = Catalog::new(Arc::clone(&opened.store));
        let entry = catalog.named(wanted, &opened.view.trust).await?;
        catalog.load(&entry, &opened.view.trust).await?
    };
    warn_untrusted(&point, frame);
    let lacked = opened.lacked(&point, &point.manifest.gaps()).await?;
    let now = frame.clock.now();
    let shown = report::PointReport::of(&point, now, args.all).lacking(&lacked);
    frame.terminal.emit(&shown)?;
    Ok(Exit::Complete)
}
