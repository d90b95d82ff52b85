//! Packs of a component: their places in pack space, the bytes that they put aside, and their plain bytes.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::format::layout;
use crate::format::manifest::{Component, PackRef};
use crate::format::pack::{OpenPack, PackError};
use crate::format::recipe::Segment;
use crate::num::{to_u64, to_usize};
use crate::read::RestoreError;
use crate::read::keys::PointKeys;
use crate::scratch::Scratch;
use crate::store::Key;

/// Closed frames that are kept for the next packs: those of one pack.
const SPARE: usize = 16;

/// Part of pack space that is put into a scratch file.
#[derive(Debug, Clone, Copy)]
pub(in crate::read) struct ScratchMove {
    /// Start in pack space.
    pub(in crate::read) from: u64,
    /// Position in the scratch file.
    pub(in crate::read) to: u64,
    /// Length in bytes.
    pub(in crate::read) length: u64,
}

/// One pack, and the parts of it that are put into the scratch file.
pub(in crate::read) struct PackLoad {
    key: Key,
    pub(in crate::read) pack: PackRef,
    base: u64,
    pub(in crate::read) moves: Vec<ScratchMove>,
    /// Position of its stored bytes in the scratch file, if they are kept for a second opening.
    pub(in crate::read) kept: Option<u64>,
}

/// Returns the packs of `component` in the order of pack space, with nothing to put aside yet.
pub(in crate::read) fn loads(component: &Component) -> Vec<PackLoad> {
    let mut base = 0_u64;
    let packs = component.packs.iter().map(|pack| {
        let load = PackLoad::new(pack.clone(), base);
        base = base.saturating_add(pack.plain_bytes);
        load
    });
    packs.collect()
}

/// Returns the packs that the segments need, with all needed bytes to be put at their places in the
/// transformed stream. The result is incomplete if `cancel` is set.
pub(in crate::read) fn scatter(
    component: &Component,
    segments: &[Segment],
    cancel: &CancellationToken,
) -> Vec<PackLoad> {
    let mut loads = loads(component);
    let mut to = 0_u64;
    for run in segments.iter().flat_map(|s| &s.runs) {
        if cancel.is_cancelled() {
            break;
        }
        let (mut from, mut left) = (run.start, run.length);
        // A run may continue in the next pack, as pack space does.
        let first = loads.partition_point(|load| load.end() <= from);
        for load in loads.iter_mut().skip(first) {
            let length = load.end().saturating_sub(from).min(left);
            if length > 0 {
                load.moves.push(ScratchMove { from, to, length });
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

impl PackLoad {
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
    pub(in crate::read) fn for_test(
        sha256: crate::digest::Digest,
        base: u64,
        plain_bytes: u64,
    ) -> Self {
        let pack = PackRef {
            sha256,
            bytes: plain_bytes,
            plain_bytes,
            epoch: 0,
        };
        Self::new(pack, base)
    }

    /// Returns the key of the pack.
    pub(in crate::read) fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the start of the pack in pack space.
    pub(in crate::read) fn base(&self) -> u64 {
        self.base
    }

    /// Returns the end of the pack in pack space.
    pub(in crate::read) fn end(&self) -> u64 {
        self.base.saturating_add(self.pack.plain_bytes)
    }

    /// Returns the ranges of the scratch file that come from the pack.
    pub(in crate::read) fn wanted(&self) -> impl Iterator<Item = Range<u64>> {
        let moves = self.moves.iter();
        moves.map(|m| m.to..m.to.saturating_add(m.length))
    }

    fn decrypt(&self, stored: &[u8], unlocked: &PointKeys) -> Result<OpenPack, RestoreError> {
        let opener = unlocked.opener(self.pack.epoch);
        OpenPack::open(stored, opener, self.pack.plain_bytes).map_err(|e| self.bad(e))
    }

    fn bad(&self, source: PackError) -> RestoreError {
        let key = self.key.clone();
        RestoreError::Pack { key, source }
    }

    /// Decrypts and unpacks the stored bytes of the pack.
    pub(in crate::read) fn open(
        &self,
        stored: &[u8],
        unlocked: &PointKeys,
        spare: &Arc<FramePool>,
    ) -> Result<UnpackedPack, RestoreError> {
        let pack = self.decrypt(stored, unlocked)?;
        let mut plain = UnpackedPack::new(Arc::clone(spare));
        pack.each_frame(|| spare.take(), |at, frame| plain.push(at, frame))
            .map_err(|e| self.bad(e))?;
        Ok(plain)
    }

    /// Puts the bytes that are needed outside of the stay from the plain bytes into the scratch file.
    pub(in crate::read) fn put_aside(
        &self,
        plain: &mut UnpackedPack,
        scratch: &Scratch,
    ) -> Result<(), RestoreError> {
        self.put(plain, scratch, |_| Ok(None))
    }

    /// Does the same from the stored bytes, and unpacks only the frames that contain such bytes.
    pub(in crate::read) fn put_parts_aside(
        &self,
        stored: &[u8],
        unlocked: &PointKeys,
        scratch: &Scratch,
    ) -> Result<(), RestoreError> {
        let pack = self.decrypt(stored, unlocked)?;
        self.put(&mut UnpackedPack::default(), scratch, |at| {
            pack.frame_at(at)
        })
    }

    /// Puts all moves aside. If `plain` lacks the bytes at a position, it is replaced with the `frame` there.
    fn put(
        &self,
        plain: &mut UnpackedPack,
        scratch: &Scratch,
        frame: impl Fn(u64) -> Result<Option<(u64, Vec<u8>)>, PackError>,
    ) -> Result<(), RestoreError> {
        let failed = |source| scratch_failed(scratch, source);
        let mut buffer = Vec::new();
        for m in &self.moves {
            buffer.clear();
            let mut at = m.from.saturating_sub(self.base);
            let mut left = to_usize(m.length);
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
                at = at.saturating_add(to_u64(bytes.len()));
            }
            scratch.put(m.to, &mut buffer).map_err(failed)?;
        }
        Ok(())
    }
}

/// Returns the error for a scratch file that cannot be used.
pub(in crate::read) fn scratch_failed(scratch: &Scratch, source: io::Error) -> RestoreError {
    RestoreError::File {
        operation: "write the scratch file in",
        file: scratch.place().to_owned(),
        source,
    }
}

/// Plain bytes of a pack, in frames as they were unpacked, so that none is copied. Their buffers are reused.
#[derive(Debug, Default)]
pub(in crate::read) struct UnpackedPack {
    frames: Vec<(u64, Vec<u8>)>,
    spare: Arc<FramePool>,
}

impl UnpackedPack {
    fn new(spare: Arc<FramePool>) -> Self {
        let frames = Vec::new();
        Self { frames, spare }
    }

    /// Appends the bytes that begin at `at`, behind all others.
    pub(in crate::read) fn push(&mut self, at: u64, plain: Vec<u8>) {
        self.frames.push((at, plain));
    }

    /// Returns the bytes from `at` to the end of their frame; none behind the last frame.
    pub(in crate::read) fn from(&self, at: u64) -> &[u8] {
        let after = self.frames.partition_point(|(begin, _)| *begin <= at);
        let Some((begin, frame)) = after.checked_sub(1).and_then(|n| self.frames.get(n)) else {
            return &[];
        };
        let skip = to_usize(at.saturating_sub(*begin));
        frame.get(skip..).unwrap_or_default()
    }
}

impl Drop for UnpackedPack {
    fn drop(&mut self) {
        let frames = self.frames.drain(..);
        self.spare.put(frames.map(|(_, frame)| frame));
    }
}

/// Buffers of closed frames. The allocator would return their memory to the system, which would clear it for
/// the next ones: that caused three times as many page faults.
#[derive(Debug, Default)]
pub(in crate::read) struct FramePool(Mutex<Vec<Vec<u8>>>);

impl FramePool {
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
