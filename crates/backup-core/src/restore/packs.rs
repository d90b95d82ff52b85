//! Packs of a component: where they lie in pack space, what of each is put aside, their plain bytes.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::keys::Unlocked;
use crate::format::layout;
use crate::format::manifest::{Component, PackRef};
use crate::format::pack::{OpenPack, PackError};
use crate::format::recipe::Segment;
use crate::scratch::Scratch;
use crate::store::Key;

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
    pub(super) pack: PackRef,
    base: u64,
    pub(super) moves: Vec<Move>,
    /// Where its stored bytes are kept in the scratch file until it is opened again.
    pub(super) kept: Option<u64>,
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

/// The packs that anything is wanted of, with all of it to be put where the transformed stream has it; not all
/// where it is told to end.
pub(super) fn scatter(
    component: &Component,
    segments: &[Segment],
    cancel: &CancellationToken,
) -> Vec<Load> {
    let mut loads = loads(component);
    let mut to = 0_u64;
    for run in segments.iter().flat_map(|s| &s.runs) {
        if cancel.is_cancelled() {
            break;
        }
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
            kept: None,
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

    fn decrypt(&self, stored: &[u8], unlocked: &Unlocked) -> Result<OpenPack, RestoreError> {
        let opener = unlocked.opener(self.pack.epoch);
        OpenPack::open(stored, opener, self.pack.plain_bytes).map_err(|e| self.bad(e))
    }

    fn bad(&self, source: PackError) -> RestoreError {
        let key = self.key.clone();
        RestoreError::Pack { key, source }
    }

    /// Decrypts and unpacks its stored bytes.
    pub(super) fn open(
        &self,
        stored: &[u8],
        unlocked: &Unlocked,
        spare: &Arc<Spare>,
    ) -> Result<Opened, RestoreError> {
        let pack = self.decrypt(stored, unlocked)?;
        let mut plain = Opened::new(Arc::clone(spare));
        pack.each_frame(|| spare.take(), |at, frame| plain.push(at, frame))
            .map_err(|e| self.bad(e))?;
        Ok(plain)
    }

    /// Puts what is wanted outside of its stay, out of its plain bytes, into the scratch file.
    pub(super) fn put_aside(
        &self,
        plain: &mut Opened,
        scratch: &Scratch,
    ) -> Result<(), RestoreError> {
        self.put(plain, scratch, |_| Ok(None))
    }

    /// The same out of its stored bytes, of which only those frames are unpacked that have any of it.
    pub(super) fn put_parts_aside(
        &self,
        stored: &[u8],
        unlocked: &Unlocked,
        scratch: &Scratch,
    ) -> Result<(), RestoreError> {
        let pack = self.decrypt(stored, unlocked)?;
        self.put(&mut Opened::default(), scratch, |at| pack.frame_at(at))
    }

    /// Puts everything aside; where `plain` has not what lies at some place, it becomes the `frame` there.
    fn put(
        &self,
        plain: &mut Opened,
        scratch: &Scratch,
        frame: impl Fn(u64) -> Result<Option<(u64, Vec<u8>)>, PackError>,
    ) -> Result<(), RestoreError> {
        let failed = |source| scratch_failed(scratch, source);
        let mut buffer = Vec::new();
        for m in &self.moves {
            buffer.clear();
            let mut at = m.from.saturating_sub(self.base);
            let mut left = usize::try_from(m.length).unwrap_or(usize::MAX);
            while left > 0 {
                if plain.from(at).is_empty()
                    && let Some((begin, bytes)) = frame(at).map_err(|e| self.bad(e))?
                {
                    plain.frames.clear();
                    plain.push(begin, bytes);
                }
                let bytes = plain.from(at);
                let bytes = bytes.get(..left).unwrap_or(bytes);
                if bytes.is_empty() {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
                buffer.extend_from_slice(bytes);
                left = left.saturating_sub(bytes.len());
                at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            scratch.put(m.to, &mut buffer).map_err(failed)?;
        }
        Ok(())
    }
}

/// Why the scratch file cannot be used.
pub(super) fn scratch_failed(scratch: &Scratch, source: io::Error) -> RestoreError {
    RestoreError::File {
        operation: "write the scratch file in",
        file: scratch.place().to_owned(),
        source,
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
/// would clear it for the next ones: that was three times as many page faults.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

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
