//! Pipeline that brings one plain stream into the store, in stages that run at the same time:
//! pump → watch (digests, facts) and cut (chunks, table) → pack (compress, encrypt) → upload.
//!
//! Bounded channels connect the stages. A full channel holds back the stages before it, down to the source.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::recorder::{ComponentStats, Recorder, SealTask};
use super::table::{ChunkTable, PackNumber};
use super::{BackupError, put};
use crate::chunk::{Chunker, ChunkerKind};
use crate::crypt::Sealer;
use crate::digest::Digest;
use crate::format::layout;
use crate::format::manifest::StoredObject;
use crate::format::pack::PackWriter;
use crate::progress::Progress;
use crate::source::{ByteStream, SourceError};
use crate::store::Store;

/// Blocks of at most a few hundred KiB that wait for watch and cut: enough while a pack is sorted, and at
/// most 8 MiB.
const BLOCKS: usize = 32;
/// Packs that wait to be compressed; each holds 15 MiB.
const PACKS: usize = 1;
/// Objects that wait to be put.
const OBJECTS: usize = 1;
/// Puts at the same time: enough to hide a round trip, and at most 48 MiB.
const UPLOADS: usize = 3;
/// Compression level of recipes: they are repetitive and small, so a high level is worth its tens of
/// milliseconds.
const RECIPE_LEVEL: i32 = 15;

/// Observer that sees every plain byte in order, and gives a verdict at the end.
pub(super) trait Observer: Send + 'static {
    /// Result of the observation.
    type Verdict: Send;
    fn push(&mut self, bytes: &[u8]);
    fn finish(self) -> Self::Verdict;
}

/// Settings that the stages of every stream share.
#[derive(Clone)]
pub(super) struct StageContext {
    pub(super) store: Arc<dyn Store>,
    pub(super) sealer: Sealer,
    /// Public half of the epoch that `sealer` encrypts to; empty if it does not encrypt.
    pub(super) epoch: String,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) cancel: CancellationToken,
}

/// Outcome of a stream.
pub(super) enum StreamOutcome<V> {
    /// Stored whole, and accepted.
    Stored(StoredStream<V>),
    /// The stream broke, or its verdict was not accepted. Its chunks are stored and known.
    Rejected(StreamRejection<V>),
}

/// Reason why a stream was not taken.
pub(super) enum StreamRejection<V> {
    Source(SourceError),
    Verdict(V),
}

/// Stream that was stored.
pub(super) struct StoredStream<V> {
    pub(super) verdict: V,
    pub(super) seen: ComponentStats,
    pub(super) recipes: Vec<StoredObject>,
}

/// Objects that the upload stage put.
#[derive(Default)]
struct UploadedObjects {
    packs: Vec<(PackNumber, Digest, u64)>,
    recipes: Vec<(usize, StoredObject)>,
    objects: u64,
    bytes: u64,
}

enum SealedKind {
    Pack(PackNumber),
    Recipe(usize),
}

struct SealedObject {
    what: SealedKind,
    bytes: Bytes,
    digest: Digest,
}

/// Objects and bytes that were put.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UploadTotals {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

impl UploadTotals {
    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(more.objects),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }
}

/// Runs one stream through all stages. Returns the table in every outcome except an error.
pub(super) async fn run<C, W>(
    context: &StageContext,
    table: ChunkTable,
    kind: ChunkerKind,
    chunker: C,
    watch: W,
    accept: impl Fn(&W::Verdict) -> Option<u64>,
    stream: ByteStream,
) -> Result<(ChunkTable, UploadTotals, StreamOutcome<W::Verdict>), BackupError>
where
    C: Chunker + Send + 'static,
    W: Observer,
{
    let (watch_tx, watch_rx) = mpsc::channel(BLOCKS);
    let (cut_tx, cut_rx) = mpsc::channel(BLOCKS);
    let (work_tx, work_rx) = mpsc::channel(PACKS);
    let (made_tx, made_rx) = mpsc::channel(OBJECTS);

    let hand_on = move |work| work_tx.blocking_send(work).map_err(|_| stage_ended());
    let recorder = Recorder::new(kind, table, context.epoch.clone(), hand_on);
    let sealer = context.sealer.clone();

    let uploads = upload(context, made_rx);
    let packs = spawn_blocking(move || pack_stage(work_rx, &made_tx, &sealer));
    let watching = spawn_blocking(move || watch_stage(watch_rx, watch));
    let cutting = spawn_blocking(move || cut_stage(cut_rx, chunker, recorder));

    let feeding = async {
        let pumped = pump(context, stream, watch_tx, cut_tx).await;
        let verdict = joined(watching.await)?;
        let cut = joined(cutting.await)?;
        let accepted = match (&pumped, accept(&verdict)) {
            (Ok(()), Some(plain)) => Some(plain),
            _ => None,
        };
        let cut = match cut {
            Ok(recorder) => recorder,
            Err(e) => return Ok((pumped, verdict, Err(e))),
        };
        let closed = joined(
            spawn_blocking(move || match accepted {
                Some(plain) => cut.finish(plain).map(|(table, seen)| (table, Some(seen))),
                None => cut.abandon().map(|table| (table, None)),
            })
            .await,
        )?;
        Ok::<_, BackupError>((pumped, verdict, closed))
    };
    let (fed, packed, put) = tokio::join!(feeding, packs, uploads);
    // The error of the last stage is the cause; the earlier stages only saw their channel close.
    let put = put?;
    joined(packed)??;
    let (pumped, verdict, closed) = fed?;
    let (mut table, seen) = closed.map_err(BackupError::Stage)?;
    for (number, digest, bytes) in put.packs {
        if let Some(facts) = table.pack_mut(number) {
            facts.stored = Some((digest, bytes));
        }
    }
    let spent = UploadTotals {
        objects: put.objects,
        bytes: put.bytes,
    };
    let outcome = match (pumped, seen) {
        (Err(PumpError::Cancelled), _) => return Err(BackupError::Cancelled),
        (Err(PumpError::Source(e)), _) => StreamOutcome::Rejected(StreamRejection::Source(e)),
        (Ok(()), None) => StreamOutcome::Rejected(StreamRejection::Verdict(verdict)),
        (Ok(()), Some(seen)) => {
            let mut recipes = put.recipes;
            recipes.sort_by_key(|(position, _)| *position);
            let recipes = recipes.into_iter().map(|(_, object)| object).collect();
            StreamOutcome::Stored(StoredStream {
                verdict,
                seen,
                recipes,
            })
        }
    };
    Ok((table, spent, outcome))
}

fn stage_ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "a later stage has ended")
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, BackupError> {
    result.map_err(BackupError::Panicked)
}

enum PumpError {
    Cancelled,
    Source(SourceError),
}

async fn pump(
    context: &StageContext,
    mut stream: ByteStream,
    watch: mpsc::Sender<Bytes>,
    cut: mpsc::Sender<Bytes>,
) -> Result<(), PumpError> {
    loop {
        let next = tokio::select! {
            () = context.cancel.cancelled() => return Err(PumpError::Cancelled),
            next = stream.next() => next,
        };
        let Some(block) = next else {
            return Ok(());
        };
        let block = block.map_err(PumpError::Source)?;
        context
            .progress
            .advance(u64::try_from(block.len()).unwrap_or(0));
        // A closed channel means that its stage failed; that stage reports its own error.
        if watch.send(block.clone()).await.is_err() || cut.send(block).await.is_err() {
            return Ok(());
        }
    }
}

fn watch_stage<W: Observer>(mut blocks: mpsc::Receiver<Bytes>, mut watch: W) -> W::Verdict {
    while let Some(block) = blocks.blocking_recv() {
        watch.push(&block);
    }
    watch.finish()
}

fn cut_stage<C, F>(
    mut blocks: mpsc::Receiver<Bytes>,
    mut chunker: C,
    mut recorder: Recorder<F>,
) -> io::Result<Recorder<F>>
where
    C: Chunker,
    F: FnMut(SealTask) -> io::Result<()>,
{
    while let Some(block) = blocks.blocking_recv() {
        chunker.push(&block, &mut recorder)?;
    }
    chunker.finish(&mut recorder)?;
    Ok(recorder)
}

fn pack_stage(
    mut work: mpsc::Receiver<SealTask>,
    made: &mpsc::Sender<SealedObject>,
    sealer: &Sealer,
) -> Result<(), BackupError> {
    let mut writer = PackWriter::new(3)?;
    let mut segments = 0_usize;
    while let Some(work) = work.blocking_recv() {
        let (what, bytes) = match work {
            SealTask::Pack {
                number,
                batch,
                level,
            } => {
                writer.set_level(level)?;
                (
                    SealedKind::Pack(number),
                    writer.write(batch.bytes(), sealer)?,
                )
            }
            SealTask::Recipe(segment) => {
                let position = segments;
                segments = segments.saturating_add(1);
                let sealed = sealer.seal(&segment.encode(RECIPE_LEVEL)?)?;
                (SealedKind::Recipe(position), sealed)
            }
        };
        let digest = Digest::of(&bytes);
        if made
            .blocking_send(SealedObject {
                what,
                bytes: bytes.into(),
                digest,
            })
            .is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

async fn upload(
    context: &StageContext,
    mut made: mpsc::Receiver<SealedObject>,
) -> Result<UploadedObjects, BackupError> {
    let mut put_so_far = UploadedObjects::default();
    let mut puts: JoinSet<Result<(SealedKind, StoredObject), BackupError>> = JoinSet::new();
    loop {
        while puts.len() >= UPLOADS {
            finish_one(&mut puts, &mut put_so_far).await?;
        }
        let Some(SealedObject {
            what,
            bytes,
            digest,
        }) = made.recv().await
        else {
            break;
        };
        let store = Arc::clone(&context.store);
        puts.spawn(async move {
            let key = match what {
                SealedKind::Pack(_) => layout::pack(digest),
                SealedKind::Recipe(_) => layout::recipe(digest),
            };
            Ok((what, put(store.as_ref(), &key, bytes, digest).await?))
        });
    }
    while !puts.is_empty() {
        finish_one(&mut puts, &mut put_so_far).await?;
    }
    Ok(put_so_far)
}

async fn finish_one(
    puts: &mut JoinSet<Result<(SealedKind, StoredObject), BackupError>>,
    so_far: &mut UploadedObjects,
) -> Result<(), BackupError> {
    let Some(done) = puts.join_next().await else {
        return Ok(());
    };
    let (what, object) = joined(done)??;
    so_far.objects = so_far.objects.saturating_add(1);
    so_far.bytes = so_far.bytes.saturating_add(object.bytes);
    match what {
        SealedKind::Pack(number) => so_far.packs.push((number, object.sha256, object.bytes)),
        SealedKind::Recipe(position) => so_far.recipes.push((position, object)),
    }
    Ok(())
}
