//! Command `backupd import`, which stores a snapshot that another tool took.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup_cli::config::Config;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::id::ComponentName;
use backup_core::num::to_u64;
use backup_core::source::{ByteStream, SourceError};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::flags::{self, NoteFlags, WriteFlags};
use crate::run_builder::report::RunReport;
use crate::run_builder::{RunContext, prepare_by};

mod packed;

/// Bytes per read: enough that the disk is never the limit, little beside a pack.
const BLOCK: usize = 256 << 10;
/// Number of blocks that are read ahead.
const BLOCKS: usize = 4;

/// Store a snapshot file that another tool wrote as a restore point
///
/// Takes what `talosctl etcd snapshot` and `etcdctl snapshot save` write. The file is checked as a
/// snapshot of our own is: by its checksum, its pages and its revision. One that gzip or zstd packed is
/// unpacked.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The file to store
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Store it as this component
    #[arg(long, value_name = "NAME", default_value = "etcd", value_parser = flags::importable)]
    component: ComponentName,
    #[command(flatten)]
    note: NoteFlags,
    #[command(flatten)]
    write: WriteFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = flags::given(&args.write, None);
    let config = Config::load(&given, frame.clock.now())?;
    // Opens the file before the store is touched, so that a misspelt file name costs nothing.
    let file = open(&args.file)?;
    let run = prepare_by(frame, &config, &args.note.note(), &RunContext::of(frame)).await?;
    let committed = run
        .import_etcd(&args.file.display().to_string(), file)
        .await;
    drop(run);
    RunReport::of(&committed?).print(frame)
}

fn open(path: &Path) -> Result<ByteStream, Failure> {
    let name = path.display().to_string();
    // Checks the type first: opening a pipe would wait for its other end.
    let metadata = path.metadata().with_context(|| format!("look at {name}"))?;
    if !metadata.is_file() {
        return Err(Failure::message(
            Exit::Usage,
            format!("{name} is not a file"),
        ));
    }
    let file = File::open(path).with_context(|| format!("open {name}"))?;
    let file = packed::unpacked(path, file)?;
    // Reads in a thread of its own: a hop to another thread for each block, with the copy that it needs,
    // would take a tenth of the time of a run that finds little new.
    let (blocks, received) = mpsc::channel(BLOCKS);
    spawn_blocking(move || read(file, &name, &blocks));
    let next = |mut received: mpsc::Receiver<_>| async move {
        let block = received.recv().await?;
        Some((block, received))
    };
    Ok(Box::pin(futures::stream::unfold(received, next)))
}

/// Reads `file` to its end, or until the receiver is gone.
fn read(mut file: impl Read, name: &str, blocks: &mpsc::Sender<Result<Bytes, SourceError>>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        let limit = to_u64(BLOCK);
        let read = file.by_ref().take(limit).read_to_end(&mut block);
        let block = match read {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(block)),
            Err(e) => Err(SourceError {
                operation: format!("read {name}"),
                try_other_member: false,
                source: Some(Box::new(e)),
            }),
        };
        let last = block.is_err();
        if blocks.blocking_send(block).is_err() || last {
            return;
        }
    }
}
