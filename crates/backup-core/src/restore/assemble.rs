//! Puts a component together: every pack is opened once and its chunks are put where the recipe
//! wants them; then the transformed stream is rebuilt from front to back.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::handoff::write_beside;
use super::keys::Unlocked;
use super::objects::Objects;
use crate::chunk;
use crate::digest::{Digest, HashingWriter};
use crate::format::layout;
use crate::format::manifest::{Component, PackRef};
use crate::format::pack::{OpenPack, PackError};
use crate::format::recipe::Segment;
use crate::progress::Progress;
use crate::scratch::{Scratch, ScratchReader};
use crate::store::{Key, MAX_OBJECT};

/// Packs downloaded at the same time: hides round trips, holds 64 MiB at most.
const DOWNLOADS: usize = 4;

/// Packs opened at the same time; each holds its stored bytes and a few MiB. More would wait for
/// the memory that they all write to.
const PLACERS: usize = 2;

/// What assembling needs besides the component.
pub(super) struct Assembly {
    pub(super) objects: Objects,
    pub(super) unlocked: Arc<Unlocked>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) cancel: CancellationToken,
}

/// Where a run of pack space belongs in the transformed stream.
#[derive(Debug, Clone, Copy)]
struct Move {
    from: u64,
    to: u64,
    length: u64,
}

/// One pack and what is needed of it.
pub(super) struct Load {
    key: Key,
    pack: PackRef,
    base: u64,
    moves: Vec<Move>,
}

impl Load {
    /// The pack.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// What of the transformed stream comes from it.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Range<u64>> {
        let moves = self.moves.iter();
        moves.map(|m| m.to..m.to.saturating_add(m.length))
    }
}

/// Writes the plain bytes of `component` to `out`, checked against its size and SHA-256, and gives
/// `out` back. `folder` is where the scratch file lies.
pub(super) async fn assemble<W: Write + Send + 'static>(
    assembly: &Assembly,
    component: &Component,
    folder: &Path,
    out: W,
) -> Result<W, RestoreError> {
    if let Some(epoch) = assembly.unlocked.closed(component) {
        return Err(RestoreError::Closed {
            component: component.name.clone(),
            recipients: epoch.recipients.iter().map(ToString::to_string).collect(),
        });
    }
    let segments = read_recipes(assembly, component).await?;
    let scratch = scratch_in(folder, component)?;
    let loads = plan(component, &segments);
    let scratch = Arc::new(scratch);
    load_packs(assembly, loads, &scratch).await?;

    let component = component.clone();
    spawn_blocking(move || rebuild(&component, &segments, &scratch, out))
        .await
        .map_err(RestoreError::Panicked)?
}

pub(super) fn scratch_in(folder: &Path, component: &Component) -> Result<Scratch, RestoreError> {
    Scratch::create(folder, component.plain_bytes).map_err(|source| RestoreError::File {
        operation: "create a scratch file in",
        file: folder.display().to_string(),
        source,
    })
}

pub(super) async fn read_recipes(
    assembly: &Assembly,
    component: &Component,
) -> Result<Vec<Segment>, RestoreError> {
    let pack_space = component
        .packs
        .iter()
        .fold(0_u64, |sum, p| sum.saturating_add(p.plain_bytes));
    let mut segments = Vec::with_capacity(component.recipes.len());
    let mut reached = 0_u64;
    for object in &component.recipes {
        let key = layout::recipe(object.sha256);
        let bytes = assembly.objects.get(&key, object.sha256).await?;
        let opened = assembly.unlocked.recipe_opener(component);
        let opened = opened.open(&bytes, MAX_OBJECT);
        let opened = opened.map_err(|e| RestoreError::Pack {
            key: key.clone(),
            source: e.into(),
        })?;
        let segment =
            Segment::decode(&opened, pack_space).map_err(|source| RestoreError::Format {
                key: key.clone(),
                source,
            })?;
        if segment.start != reached {
            return Err(mismatch(
                component,
                format!("{key} does not begin where the one before ends"),
            ));
        }
        // No chunker's transformed stream or layout is longer than its plain stream. A few bytes
        // can name the same run again and again, and all of it would go to the scratch file.
        let layout = u64::try_from(segment.layout.len()).unwrap_or(u64::MAX);
        if transformed_bytes(&segment).max(layout) > segment.plain_bytes {
            return Err(mismatch(
                component,
                format!("{key} takes more bytes than it gives"),
            ));
        }
        reached = reached.saturating_add(segment.plain_bytes);
        if reached > component.plain_bytes {
            break;
        }
        segments.push(segment);
    }
    if reached != component.plain_bytes {
        let want = component.plain_bytes;
        return Err(mismatch(
            component,
            format!("its recipes give {reached} bytes instead of {want}"),
        ));
    }
    Ok(segments)
}

/// The number of bytes that the runs of `segment` have.
fn transformed_bytes(segment: &Segment) -> u64 {
    let lengths = segment.runs.iter().map(|r| r.length);
    lengths.fold(0, u64::saturating_add)
}

/// Sorts what the recipes want by pack; packs that nothing is wanted of are left out.
pub(super) fn plan(component: &Component, segments: &[Segment]) -> Vec<Load> {
    let mut loads = Vec::with_capacity(component.packs.len());
    let mut base = 0_u64;
    for pack in &component.packs {
        let key = layout::pack(pack.sha256);
        loads.push(Load {
            key,
            pack: pack.clone(),
            base,
            moves: Vec::new(),
        });
        base = base.saturating_add(pack.plain_bytes);
    }
    let mut to = 0_u64;
    for run in segments.iter().flat_map(|s| &s.runs) {
        let (mut from, mut left) = (run.start, run.length);
        // A run may go on in the next pack, where pack space does.
        let first = loads.partition_point(|l| l.base.saturating_add(l.pack.plain_bytes) <= from);
        for load in loads.iter_mut().skip(first) {
            let end = load.base.saturating_add(load.pack.plain_bytes);
            let length = end.saturating_sub(from).min(left);
            if length > 0 {
                load.moves.push(Move { from, to, length });
            }
            from = from.saturating_add(length);
            to = to.saturating_add(length);
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    }
    loads.retain(|l| !l.moves.is_empty());
    for load in &mut loads {
        load.moves.sort_unstable_by_key(|m| m.from);
    }
    loads
}

pub(super) async fn load_packs(
    assembly: &Assembly,
    loads: Vec<Load>,
    scratch: &Arc<Scratch>,
) -> Result<(), RestoreError> {
    let total = loads
        .iter()
        .fold(0_u64, |sum, l| sum.saturating_add(l.pack.bytes));
    assembly.progress.step("reading packs", Some(total));
    let mut placed = futures::stream::iter(loads)
        .map(|load| async move {
            let bytes = assembly.objects.get(&load.key, load.pack.sha256).await?;
            Ok::<_, RestoreError>((load, bytes))
        })
        .buffered(DOWNLOADS)
        .map_ok(|(load, bytes)| {
            let (unlocked, scratch) = (Arc::clone(&assembly.unlocked), Arc::clone(scratch));
            // If nobody waits any more, it ends after this pack and has changed nothing but the
            // scratch file.
            let placing = spawn_blocking(move || {
                place(&load, &bytes, &unlocked, &scratch)?;
                Ok(load.pack.bytes)
            });
            async { placing.await.map_err(RestoreError::Panicked)? }
        })
        .try_buffer_unordered(PLACERS);
    loop {
        let next = tokio::select! {
            () = assembly.cancel.cancelled() => return Err(RestoreError::Cancelled),
            next = placed.try_next() => next?,
        };
        match next {
            Some(bytes) => assembly.progress.advance(bytes),
            None => return Ok(()),
        }
    }
}

fn place(
    load: &Load,
    stored: &[u8],
    unlocked: &Unlocked,
    scratch: &Scratch,
) -> Result<(), RestoreError> {
    let bad = |source: PackError| RestoreError::Pack {
        key: load.key.clone(),
        source,
    };
    let opener = unlocked.opener(load.pack.epoch);
    let pack = OpenPack::open(stored, opener, load.pack.plain_bytes).map_err(bad)?;
    let mut failed = None;
    let mut moves = load.moves.as_slice();
    let mut buffer = Vec::new();
    pack.each_frame(|at, plain| {
        let begin = load.base.saturating_add(at);
        let end = begin.saturating_add(u64::try_from(plain.len()).unwrap_or(0));
        // Sorted by where they begin; what ended in an earlier frame gives an empty range here.
        for m in moves.iter().take_while(|m| m.from < end) {
            let (from, to) = (m.from.max(begin), m.from.saturating_add(m.length).min(end));
            let range = usize::try_from(from.saturating_sub(begin))
                .ok()
                .zip(usize::try_from(to.saturating_sub(begin)).ok());
            let Some(bytes) = range
                .and_then(|(a, b)| plain.get(a..b))
                .filter(|b| !b.is_empty())
            else {
                continue;
            };
            buffer.clear();
            buffer.extend_from_slice(bytes);
            let target = m.to.saturating_add(from.saturating_sub(m.from));
            if let Err(e) = scratch.put(target, &mut buffer) {
                failed.get_or_insert(e);
            }
        }
        // Everything before the first that goes on in the next frame is done with.
        let keep = moves
            .iter()
            .position(|m| m.from.saturating_add(m.length) > end);
        moves = keep.and_then(|k| moves.get(k..)).unwrap_or_default();
    })
    .map_err(bad)?;
    match failed {
        None => Ok(()),
        Some(source) => Err(RestoreError::File {
            operation: "write the scratch file in",
            file: scratch.place().to_owned(),
            source,
        }),
    }
}

fn rebuild<W: Write + Send>(
    component: &Component,
    segments: &[Segment],
    scratch: &Scratch,
    out: W,
) -> Result<W, RestoreError> {
    let (rebuilt, written) = write_beside(HashingWriter::new(out), |out| {
        let mut from = 0_u64;
        for segment in segments {
            let length = transformed_bytes(segment);
            rebuild_segment(component, segment, scratch.reader(from, length), out)?;
            from = from.saturating_add(length);
        }
        Ok(())
    });
    // A write that failed is why the other side failed, too.
    let out = written.map_err(|source| cannot_write(component, source))?;
    rebuilt?;
    let (out, digest, _) = out.finish();
    check_digest(component, digest)?;
    Ok(out)
}

/// Takes the bytes of one segment and refuses more than it should have: a few bytes of a hostile
/// layout can stand for any number of zeros.
struct Stretch<'o> {
    out: &'o mut dyn Write,
    left: u64,
}

impl Write for Stretch<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        if size(buf.len()) > self.left {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a segment gives more bytes than its recipe says",
            ));
        }
        let written = self.out.write(buf)?;
        self.left = self.left.saturating_sub(size(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn rebuild_segment(
    component: &Component,
    segment: &Segment,
    mut transformed: ScratchReader<'_>,
    out: &mut dyn Write,
) -> Result<(), RestoreError> {
    let mut stretch = Stretch {
        out,
        left: segment.plain_bytes,
    };
    let written = chunk::rebuild(
        segment.kind,
        segment.start,
        &segment.layout,
        &mut transformed,
        &mut stretch,
    )
    .map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            mismatch(component, source.to_string())
        }
        _ => cannot_write(component, source),
    })?;
    if written != segment.plain_bytes {
        let want = segment.plain_bytes;
        return Err(mismatch(
            component,
            format!("a segment gave {written} bytes, not {want}"),
        ));
    }
    Ok(())
}

fn cannot_write(component: &Component, source: io::Error) -> RestoreError {
    RestoreError::File {
        operation: "write",
        file: format!("component `{}`", component.name),
        source,
    }
}

fn check_digest(component: &Component, found: Digest) -> Result<(), RestoreError> {
    let want = component.plain_sha256;
    if found == want {
        return Ok(());
    }
    Err(mismatch(
        component,
        format!("its SHA-256 is {found}, the manifest says {want}"),
    ))
}

pub(super) fn mismatch(component: &Component, what: String) -> RestoreError {
    RestoreError::Mismatch {
        component: component.name.clone(),
        what,
    }
}
