//! `backupd snapshot`: takes one restore point now.

use std::sync::Arc;

use backup_cli::config::{Config, Talos};
use backup_cli::environment::Environment;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::TalosFlags;
use backup_cli::program::Frame;
use backup_core::id::ComponentName;
use backup_core::source::talos::{ConfigSearch, TalosOptions, TalosSource};

use crate::args::{self, NoteFlags, WriteFlags};
use crate::commands::run::{Taken, prepare};

/// Take a restore point now
///
/// Asks the control plane nodes, takes the snapshot from a healthy one, checks it against its own
/// checksum, stores what is new, and commits the restore point with a signed manifest at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Back up this component; may be repeated [default: all that this version knows]
    #[arg(long = "component", value_name = "NAME", value_parser = args::component)]
    components: Vec<ComponentName>,
    #[command(flatten)]
    note: NoteFlags,
    #[command(flatten)]
    write: WriteFlags,
    #[command(flatten)]
    talos: TalosFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = args::given(&args.write, Some(&args.talos));
    let config = Config::load(&given, frame.clock.now())?;
    let run = prepare(&config, &args.note, frame).await?;
    let options = talos_options(&config.talos, &frame.environment);
    let source = TalosSource::new(options, Arc::clone(&frame.clock));
    let committed = run.snapshot_etcd(&source).await;
    drop(run);
    Taken::of(&committed?).tell(frame)
}

/// Where the talosconfig is looked for.
pub(crate) fn talos_search(talos: &Talos, environment: &Environment) -> ConfigSearch {
    ConfigSearch {
        explicit: talos.config.clone(),
        talosconfig: environment.talosconfig.clone(),
        talos_home: environment.talos_home.clone(),
        home: environment.home.clone(),
    }
}

fn talos_options(talos: &Talos, environment: &Environment) -> TalosOptions {
    let search = talos_search(talos, environment);
    TalosOptions {
        context: talos.context.clone(),
        nodes: talos.nodes.clone(),
        idle_timeout: talos.idle_timeout,
        total_timeout: talos.deadline,
        ..TalosOptions::new(search)
    }
}
