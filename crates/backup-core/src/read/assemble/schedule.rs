//! Stay of each pack of a component: the part of the stream for which the pack is open.
//!
//! Chunks are stored nearly in stream order, so most of a pack is needed in one stretch of the stream: its
//! *stay*. But pages move: other bytes of the pack are needed elsewhere, also long before. They are put
//! aside, so that they neither take a place among the open packs nor cost a pack its stay.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use tokio_util::sync::CancellationToken;

use super::packs::PackLoad;
use crate::format::recipe::PackSpan;

/// Size of the blocks in which the stream is planned; tests have small packs, and small blocks for them.
pub(in crate::read) const BLOCK: u64 = if cfg!(test) { 64 } else { 4 << 20 };
/// Largest number of blocks in a stay: twice the 15 MiB that a pack holds.
const LONGEST: u64 = 8;
/// Packs that are open at the same time, with at most 15 MiB each.
const ROOM: u8 = 3;

/// Bytes of the stream that are in one block and in one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read) struct PackPiece {
    /// Number of the pack.
    pub(in crate::read) number: usize,
    /// Start in pack space.
    pub(in crate::read) from: u64,
    /// Start in the pack.
    pub(in crate::read) within: u64,
    /// Length in bytes.
    pub(in crate::read) length: u64,
    /// Number of the block.
    pub(in crate::read) block: u64,
}

/// Returns the first piece of `run`, which is at `at` in the stream; `None` behind the last pack.
pub(in crate::read) fn piece(loads: &[PackLoad], run: PackSpan, at: u64) -> Option<PackPiece> {
    let number = loads.partition_point(|load| load.end() <= run.start);
    let load = loads.get(number)?;
    let block = at / BLOCK;
    let of_block = block
        .saturating_add(1)
        .saturating_mul(BLOCK)
        .saturating_sub(at);
    let of_pack = load.end().saturating_sub(run.start);
    Some(PackPiece {
        number,
        from: run.start,
        within: run.start.checked_sub(load.base())?,
        length: of_pack.min(of_block).min(run.length),
        block,
    })
}

/// Returns the rest of `run` behind its first `length` bytes.
pub(in crate::read) fn behind(run: PackSpan, length: u64) -> Option<PackSpan> {
    let left = run.length.saturating_sub(length);
    (left > 0).then_some(PackSpan {
        start: run.start.saturating_add(length),
        length: left,
    })
}

/// Pieces between two checks of the cancellation.
const LOOK: u32 = 4096;

/// Calls `take` with each piece of `runs` in order. Returns `None` if `take` does, a run reaches outside of
/// the packs, or `cancel` is set.
pub(in crate::read) fn each_piece<'r>(
    loads: &mut [PackLoad],
    runs: impl Iterator<Item = &'r PackSpan>,
    cancel: &CancellationToken,
    mut take: impl FnMut(&mut [PackLoad], PackPiece) -> Option<()>,
) -> Option<()> {
    let mut at = 0_u64;
    let mut pieces = 0_u32;
    for run in runs {
        let mut rest = Some(*run);
        while let Some(run) = rest {
            pieces = pieces.wrapping_add(1);
            if pieces.is_multiple_of(LOOK) && cancel.is_cancelled() {
                return None;
            }
            let piece = piece(loads, run, at)?;
            take(loads, piece)?;
            at = at.saturating_add(piece.length);
            rest = behind(run, piece.length);
        }
    }
    Some(())
}

/// Returns the blocks in which each pack is open, if any: at most three packs in one block. Returns `None` if
/// a run reaches outside of the packs, or `cancel` is set.
pub(in crate::read) fn stays<'r>(
    loads: &mut [PackLoad],
    runs: impl Iterator<Item = &'r PackSpan>,
    cancel: &CancellationToken,
) -> Option<Vec<Option<RangeInclusive<u64>>>> {
    let mut uses = vec![PackUses::default(); loads.len()];
    let mut blocks = 0_usize;
    each_piece(loads, runs, cancel, |_, piece| {
        uses.get_mut(piece.number)?.add(piece.block, piece.length);
        blocks = usize::try_from(piece.block).ok()?.saturating_add(1);
        Some(())
    })?;
    let mut wished: Vec<(u64, usize, RangeInclusive<u64>)> = Vec::with_capacity(uses.len());
    for (number, (uses, load)) in uses.into_iter().zip(loads.iter()).enumerate() {
        let half = load.end().saturating_sub(load.base()) / 2;
        wished.extend(uses.stay(half).map(|(bytes, stay)| (bytes, number, stay)));
    }
    // The packs that would put most bytes aside come first.
    wished.sort_unstable_by_key(|(bytes, number, _)| (std::cmp::Reverse(*bytes), *number));
    let mut taken = vec![0_u8; blocks];
    let mut stays = vec![None; loads.len()];
    for (_, number, stay) in wished {
        let from = usize::try_from(*stay.start()).ok()?;
        let to = usize::try_from(*stay.end()).ok()?;
        let room = taken.get_mut(from..=to)?;
        if room.iter().all(|packs| *packs < ROOM) {
            room.iter_mut()
                .for_each(|packs| *packs = packs.saturating_add(1));
            *stays.get_mut(number)? = Some(stay);
        }
    }
    Some(stays)
}

/// Blocks of the stream that need bytes of one pack, and how many.
#[derive(Debug, Clone, Default)]
struct PackUses {
    first: Option<u64>,
    /// Last blocks that need bytes of the pack, and how many; they span no more than the longest stay.
    last: VecDeque<(u64, u64)>,
    /// Span of such blocks that needed the most bytes so far.
    most: VecDeque<(u64, u64)>,
}

impl PackUses {
    fn add(&mut self, block: u64, length: u64) {
        self.first.get_or_insert(block);
        if let Some((_, bytes)) = self.last.back_mut().filter(|(last, _)| *last == block) {
            *bytes = bytes.saturating_add(length);
            return;
        }
        self.settle();
        while self
            .last
            .front()
            .is_some_and(|(first, _)| first.saturating_add(LONGEST) <= block)
        {
            self.last.pop_front();
        }
        self.last.push_back((block, length));
    }

    fn settle(&mut self) {
        if sum(&self.last) > sum(&self.most) {
            self.most.clone_from(&self.last);
        }
    }

    /// Returns the stay of the pack, and how many bytes it covers; `None` if the pack would be opened twice
    /// for no more than `half` bytes.
    fn stay(mut self, half: u64) -> Option<(u64, RangeInclusive<u64>)> {
        self.settle();
        // A block at either end that needs few bytes would only take a place.
        let little = sum(&self.most) / 16;
        while self.most.front().is_some_and(|(_, bytes)| *bytes < little) {
            self.most.pop_front();
        }
        while self.most.back().is_some_and(|(_, bytes)| *bytes < little) {
            self.most.pop_back();
        }
        let ((from, _), (to, _)) = (self.most.front()?, self.most.back()?);
        let bytes = sum(&self.most);
        (bytes > half || self.first == Some(*from)).then_some((bytes, *from..=*to))
    }
}

fn sum(blocks: &VecDeque<(u64, u64)>) -> u64 {
    let bytes = blocks.iter().map(|(_, bytes)| *bytes);
    bytes.fold(0, u64::saturating_add)
}
