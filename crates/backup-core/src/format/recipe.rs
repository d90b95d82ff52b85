//! Recipe that rebuilds a component's plain stream from its pack space.
//!
//! A recipe is a sequence of segments, each an object that rebuilds a part of the stream independently.

use super::FormatError;
use super::varint::{self, Cursor};
use crate::chunk::ChunkerKind;
use crate::num::to_u64;

/// Largest unpacked segment; the writer begins a new one long before.
pub const MAX_PLAIN: usize = 64 << 20;

/// Largest number of runs of a segment, 64 MiB in memory; the writer begins a new one at half as many.
pub const MAX_RUNS: usize = 1 << 22;

const MAGIC: &[u8; 4] = b"BBR1";

/// One part of a component's plain stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Chunker that cut it.
    pub kind: ChunkerKind,
    /// Offset of the part in the plain stream.
    pub start: u64,
    /// Its number of plain bytes.
    pub plain_bytes: u64,
    /// The chunker's layout column.
    pub layout: Vec<u8>,
    /// Runs in pack space whose bytes in order form the transformed stream.
    pub runs: Vec<PackSpan>,
}

/// Consecutive bytes in pack space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSpan {
    /// Their start.
    pub start: u64,
    /// Their number; never 0.
    pub length: u64,
}

fn kind_byte(kind: ChunkerKind) -> u8 {
    match kind {
        ChunkerKind::Plain => 0,
        ChunkerKind::Bbolt => 1,
    }
}

impl Segment {
    /// Returns the segment's plain form, compressed at zstd `level`.
    ///
    /// # Errors
    /// When compression fails, or the segment is larger than a reader accepts.
    pub fn encode(&self, level: i32) -> Result<Vec<u8>, FormatError> {
        let (mut starts, mut lengths) = (Vec::new(), Vec::new());
        let mut end = 0_u64;
        for run in &self.runs {
            varint::put_signed(&mut starts, run.start.wrapping_sub(end).cast_signed());
            varint::put(&mut lengths, run.length);
            end = run.start.wrapping_add(run.length);
        }
        let mut plain = MAGIC.to_vec();
        plain.push(kind_byte(self.kind));
        for n in [
            self.start,
            self.plain_bytes,
            to_u64(self.layout.len()),
            to_u64(self.runs.len()),
            to_u64(starts.len()),
        ] {
            varint::put(&mut plain, n);
        }
        for column in [&self.layout, &starts, &lengths] {
            plain.extend_from_slice(column);
        }
        if plain.len() > MAX_PLAIN || self.runs.len() > MAX_RUNS {
            let what = "a segment above 64 MiB or 4 194 304 runs";
            return Err(FormatError::damaged("recipe", what));
        }
        zstd::bulk::compress(&plain, level).map_err(|source| FormatError::Zstd {
            object: "recipe",
            source,
        })
    }

    /// Parses the output of [`Segment::encode`]; every run lies within `pack_space` bytes.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn decode(bytes: &[u8], pack_space: u64) -> Result<Self, FormatError> {
        let plain = super::decompress("recipe", bytes, MAX_PLAIN)?;
        let damaged = || {
            FormatError::damaged(
                "recipe",
                "it ends early, contradicts itself, or leaves its packs",
            )
        };
        parse(&plain, pack_space).ok_or_else(damaged)
    }
}

fn parse(plain: &[u8], pack_space: u64) -> Option<Segment> {
    let mut cursor = Cursor(plain);
    if cursor.bytes(4)? != MAGIC {
        return None;
    }
    let kind = match cursor.bytes(1)? {
        [0] => ChunkerKind::Plain,
        [1] => ChunkerKind::Bbolt,
        _ => return None,
    };
    let (start, plain_bytes) = (cursor.varint()?, cursor.varint()?);
    let (layout_len, count, starts_len) = (cursor.size()?, cursor.size()?, cursor.size()?);
    let layout = cursor.bytes(layout_len)?.to_vec();
    let mut starts = Cursor(cursor.bytes(starts_len)?);
    // Each run takes at least a byte in either column, so a false count is detected here.
    if count > starts_len || count > cursor.0.len() || count > MAX_RUNS {
        return None;
    }
    let mut runs = Vec::with_capacity(count);
    let mut end = 0_u64;
    for _ in 0..count {
        let start = end.checked_add_signed(starts.signed()?)?;
        let length = cursor.varint().filter(|n| *n > 0)?;
        end = start.checked_add(length).filter(|end| *end <= pack_space)?;
        runs.push(PackSpan { start, length });
    }
    let done = starts.0.is_empty() && cursor.0.is_empty();
    done.then_some(Segment {
        kind,
        start,
        plain_bytes,
        layout,
        runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            layout: Vec<u8>,
            raw in prop::collection::vec((0_u64..1 << 40, 1_u64..1 << 20), 0..100),
            start: u64,
            bbolt: bool,
        ) {
            let runs = raw.iter().map(|&(start, length)| PackSpan { start, length }).collect();
            let kind = if bbolt { ChunkerKind::Bbolt } else { ChunkerKind::Plain };
            let segment = Segment { kind, start, plain_bytes: 7, layout, runs };
            let bytes = segment.encode(3).unwrap();
            prop_assert_eq!(Segment::decode(&bytes, 1 << 41).unwrap(), segment.clone());
            let needed = segment.runs.iter().map(|r| r.start + r.length).max().unwrap_or(0);
            if needed > 0 {
                prop_assert!(Segment::decode(&bytes, needed - 1).is_err());
            }
        }

        #[test]
        fn hostile_bytes_are_refused(bytes: Vec<u8>) {
            prop_assert!(Segment::decode(&bytes, u64::MAX).is_err());
            let mut plain = MAGIC.to_vec();
            plain.extend_from_slice(&bytes);
            drop(parse(&plain, u64::MAX));
        }
    }
}
