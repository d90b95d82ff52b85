//! Command `backupd snapshot`, which takes one restore point now.

use backup_cli::config::{Config, ConfigFlags};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::{KubeFlags, SelectFlags, TalosFlags};
use backup_cli::program::Frame;
use backup_core::id::ComponentName;

use crate::flags::{self, NoteFlags, WriteFlags};
use crate::run_builder::report::RunReport;
use crate::run_builder::sources::Sources;
use crate::run_builder::{RunContext, prepare_by};

mod client;

/// Take a restore point now
///
/// Asks the control plane nodes for an etcd snapshot and checks it against its own checksum, lists
/// the cluster's objects, stores what is new, and commits the restore point with a signed manifest
/// at the end. What cannot be taken is reported, and costs nothing else. With `--daemon` a
/// running daemon takes it, with its own configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Back up these components; may be repeated [default: all that can be reached]
    #[arg(
        long = "component",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = crate::run_builder::sources::component
    )]
    components: Vec<ComponentName>,
    #[command(flatten)]
    note: NoteFlags,
    #[command(flatten)]
    ask: client::AskFlags,
    #[command(flatten)]
    write: WriteFlags,
    #[command(flatten)]
    talos: TalosFlags,
    #[command(flatten)]
    kube: KubeFlags,
    #[command(flatten)]
    select: SelectFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    if let Some(daemon) = &args.ask.daemon {
        let wanted = client::RequestBody {
            cluster: args.write.cluster.cluster.as_deref(),
            components: &args.components,
            reason: args.note.reason.as_deref(),
            pin: args.note.pin,
        };
        // The future is large because it covers connections with and without TLS.
        let asked = Box::pin(client::request_snapshot(daemon, &args.ask, &wanted, frame));
        return frame.or_cancelled(asked).await;
    }
    let given = ConfigFlags {
        kube: args.kube.clone(),
        select: args.select.clone(),
        ..flags::given(&args.write, Some(&args.talos))
    };
    let config = Config::load(&given, frame.clock.now())?;
    let context = RunContext::of(frame);
    let run = prepare_by(frame, &config, &args.note.note(), &context).await?;
    let mut sources = frame
        .or_cancelled(async { Ok(Sources::open(&config, &args.components, &context).await) })
        .await?;
    let committed = run.take(sources.plan()).await;
    drop((run, context));
    RunReport::of(&committed?).print(frame)
}
