//! Packs of a component, downloaded and opened in a given order, each once. What is wanted of one after
//! it is closed again is put into a scratch file while it is open.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use super::RestoreError;
use super::assemble::Assembly;
use super::keys::Unlocked;
use crate::format::layout;
use crate::format::manifest::{Component, PackRef};
use crate::format::pack::{OpenPack, PackError};
use crate::format::recipe::Segment;
use crate::scratch::Scratch;
use crate::store::Key;

/// Packs downloaded at the same time: hides round trips, holds 64 MiB at most.
const DOWNLOADS: usize = 4;

/// Packs opened at the same time, of 15 MiB each. One is opened as fast as the stream before it is
/// rebuilt and digested.
const OPENING: usize = 1;

/// Closed frames that are kept for the packs opened next: those of one pack.
const SPARE: usize = 16;

/// A part of pack space that is put into a scratch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    /// Where it begins in pack space.
    pub(super) from: u64,
    /// Where it belongs in the scratch file.
    pub(super) to: u64,
    /// How long it is.
    pub(super) length: u64,
}

/// One pack, and what of it is put into the scratch file.
pub(super) struct Load {
    key: Key,
    pack: PackRef,
    base: u64,
    pub(super) moves: Vec<Move>,
}

/// The packs of `component` as they lie in pack space, with nothing to put aside yet.
pub(super) fn loads(component: &Component) -> Vec<Load> {
    let mut base = 0_u64;
    let packs = component.packs.iter().map(|pack| {
        let load = Load::new(pack.clone(), base);
        base = base.saturating_add(pack.plain_bytes);
        load
    });
    packs.collect()
}

/// The packs that anything is wanted of, with all of it to be put where the transformed stream has it.
pub(super) fn scatter(component: &Component, segments: &[Segment]) -> Vec<Load> {
    let mut loads = loads(component);
    let mut to = 0_u64;
    for run in segments.iter().flat_map(|s| &s.runs) {
        let (mut from, mut left) = (run.start, run.length);
        // A run may go on in the next pack, where pack space does.
        let first = loads.partition_point(|load| load.end() <= from);
        for load in loads.iter_mut().skip(first) {
            let length = load.end().saturating_sub(from).min(left);
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
    loads.retain(|load| !load.moves.is_empty());
    loads
}

impl Load {
    fn new(pack: PackRef, base: u64) -> Self {
        Self {
            key: layout::pack(pack.sha256),
            pack,
            base,
            moves: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(sha256: crate::digest::Digest, base: u64, plain_bytes: u64) -> Self {
        let pack = PackRef {
            sha256,
            bytes: plain_bytes,
            plain_bytes,
            epoch: 0,
        };
        Self::new(pack, base)
    }

    /// The pack.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Where it begins in pack space.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Where it ends in pack space.
    pub(super) fn end(&self) -> u64 {
        self.base.saturating_add(self.pack.plain_bytes)
    }

    /// What of the scratch file comes from it.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Range<u64>> {
        let moves = self.moves.iter();
        moves.map(|m| m.to..m.to.saturating_add(m.length))
    }

    fn open(
        &self,
        stored: &[u8],
        unlocked: &Unlocked,
        spare: &Arc<Spare>,
    ) -> Result<Opened, RestoreError> {
        let bad = |source: PackError| RestoreError::Pack {
            key: self.key.clone(),
            source,
        };
        let opener = unlocked.opener(self.pack.epoch);
        let pack = OpenPack::open(stored, opener, self.pack.plain_bytes).map_err(bad)?;
        let mut plain = Opened::new(Arc::clone(spare));
        pack.each_frame(|| spare.take(), |at, frame| plain.push(at, frame))
            .map_err(bad)?;
        Ok(plain)
    }

    /// Puts what is wanted later, out of its plain bytes, into the scratch file.
    pub(super) fn put_aside(&self, plain: &Opened, scratch: &Scratch) -> io::Result<()> {
        let mut buffer = Vec::new();
        for m in &self.moves {
            buffer.clear();
            let mut from = m.from.saturating_sub(self.base);
            let mut left = usize::try_from(m.length).unwrap_or(usize::MAX);
            while left > 0 {
                let bytes = plain.from(from);
                let bytes = bytes.get(..left).unwrap_or(bytes);
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                buffer.extend_from_slice(bytes);
                left = left.saturating_sub(bytes.len());
                from = from.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            scratch.put(m.to, &mut buffer)?;
        }
        Ok(())
    }
}

/// The plain bytes of a pack, in frames as they were unpacked, so that none is copied. What they lie in
/// goes back to be used again.
#[derive(Debug, Default)]
pub(super) struct Opened {
    frames: Vec<(u64, Vec<u8>)>,
    spare: Arc<Spare>,
}

impl Opened {
    fn new(spare: Arc<Spare>) -> Self {
        let frames = Vec::new();
        Self { frames, spare }
    }

    /// More of it: what begins at `at`, behind all that it has.
    pub(super) fn push(&mut self, at: u64, plain: Vec<u8>) {
        self.frames.push((at, plain));
    }

    /// The bytes from `at` to the end of the frame that they lie in; none behind the last.
    pub(super) fn from(&self, at: u64) -> &[u8] {
        let after = self.frames.partition_point(|(begin, _)| *begin <= at);
        let Some((begin, frame)) = after.checked_sub(1).and_then(|n| self.frames.get(n)) else {
            return &[];
        };
        let skip = usize::try_from(at.saturating_sub(*begin)).unwrap_or(usize::MAX);
        frame.get(skip..).unwrap_or_default()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let frames = self.frames.drain(..);
        self.spare.put(frames.map(|(_, frame)| frame));
    }
}

/// Frames that were closed. The allocator would give their memory back to the system, and the system
/// would clear it for the next ones: that was a fifth of a restore.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames.pop().unwrap_or_default()
    }

    fn put(&self, closed: impl Iterator<Item = Vec<u8>>) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SPARE.saturating_sub(frames.len());
        frames.extend(closed.take(room));
    }
}

/// Opens the packs `order` of `loads` one after the other, puts aside what each has to, and hands it to
/// `full`. Ends early where nobody takes them any more; without `full`, putting aside is all.
pub(super) async fn open_packs(
    assembly: &Assembly,
    loads: &Arc<Vec<Load>>,
    order: Vec<usize>,
    scratch: &Arc<Scratch>,
    full: Option<Sender<Opened>>,
) -> Result<(), RestoreError> {
    let wanted = order.into_iter();
    let wanted = wanted.filter_map(|number| Some((number, loads.get(number)?)));
    let wanted: Vec<(usize, &Load)> = wanted.collect();
    let sizes = wanted.iter().map(|(_, load)| load.pack.bytes);
    let total = sizes.fold(0, u64::saturating_add);
    assembly.progress.step("reading packs", Some(total));
    let spare = Arc::<Spare>::default();
    let mut opened = futures::stream::iter(wanted)
        .map(|(number, load)| async move {
            let bytes = assembly.objects.get(&load.key, load.pack.sha256).await?;
            Ok::<_, RestoreError>((number, bytes))
        })
        .buffered(DOWNLOADS)
        .map_ok(|(number, bytes)| {
            let (loads, scratch) = (Arc::clone(loads), Arc::clone(scratch));
            let (unlocked, spare) = (Arc::clone(&assembly.unlocked), Arc::clone(&spare));
            // If nobody waits any more, it ends after this pack and has changed nothing but the
            // scratch file.
            let opening = spawn_blocking(move || match loads.get(number) {
                Some(load) => {
                    let plain = load.open(&bytes, &unlocked, &spare)?;
                    let aside = load.put_aside(&plain, &scratch);
                    aside.map_err(|source| scratch_failed(&scratch, source))?;
                    Ok((plain, load.pack.bytes))
                }
                None => Ok((Opened::default(), 0)),
            });
            async { opening.await.map_err(RestoreError::Panicked)? }
        })
        .try_buffered(OPENING);
    loop {
        let next = async {
            let next = opened.try_next().await?;
            let Some((plain, bytes)) = next else {
                return Ok(false);
            };
            assembly.progress.advance(bytes);
            match &full {
                Some(full) => Ok(full.send(plain).await.is_ok()),
                None => Ok(true),
            }
        };
        let goes_on = tokio::select! {
            () = assembly.cancel.cancelled() => return Err(RestoreError::Cancelled),
            next = next => next?,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

fn scratch_failed(scratch: &Scratch, source: io::Error) -> RestoreError {
    RestoreError::File {
        operation: "write the scratch file in",
        file: scratch.place().to_owned(),
        source,
    }
}
