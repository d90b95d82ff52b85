//! Chunker for streams of unknown structure: it cuts at places determined by the content (FastCDC).

use std::io;

use fastcdc::v2020::FastCDC;

use super::{Chunker, MAX_CHUNK, Sink};
use crate::num::to_u64;

/// Smallest chunk, except the last.
const MIN: usize = 16 << 10;
/// Approximate size of chunks.
const AVERAGE: usize = 64 << 10;
/// Largest chunk.
const MAX: usize = 256 << 10;

/// Number of bytes held before they are cut: the rest that is moved is at most a quarter.
const HELD: usize = 4 * MAX;

const _: () = assert!(MAX <= MAX_CHUNK);

/// Chunker that cuts any stream at places determined by its content, about 64 KiB apart. Holds at most 1 MiB.
#[derive(Debug, Default)]
pub struct CdcChunker {
    held: Vec<u8>,
    /// The plain offset up to which chunks were made.
    plain: u64,
    /// Prefix of the order of chunks.
    prefix: Vec<u8>,
    order: Vec<u8>,
}

impl CdcChunker {
    /// Creates a chunker at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a chunker at offset `plain` of a stream; the order of all chunks begins with `prefix`.
    pub(super) fn within(plain: u64, prefix: &[u8]) -> Self {
        Self {
            plain,
            prefix: prefix.to_vec(),
            ..Self::default()
        }
    }

    /// Cuts the held bytes, as far as later content can no longer move the cuts.
    fn cut<S: Sink>(&mut self, last: bool, sink: &mut S) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while rest.len() >= MAX || (last && !rest.is_empty()) {
            let (_, end) = FastCDC::new(rest, MIN, AVERAGE, MAX).cut(0, rest.len());
            let (chunk, later) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.order.clear();
            self.order.extend_from_slice(&self.prefix);
            self.order.extend_from_slice(&self.plain.to_be_bytes());
            sink.chunk(chunk, &self.order)?;
            self.plain = self.plain.saturating_add(to_u64(chunk.len()));
            sink.boundary(self.plain)?;
            rest = later;
        }
        let used = held.len().saturating_sub(rest.len());
        self.held = held;
        self.held.drain(..used);
        Ok(())
    }
}

impl Chunker for CdcChunker {
    fn push<S: Sink>(&mut self, mut plain: &[u8], sink: &mut S) -> io::Result<()> {
        while !plain.is_empty() {
            let room = HELD.saturating_sub(self.held.len()).min(plain.len());
            let (now, later) = plain.split_at(room);
            self.held.extend_from_slice(now);
            plain = later;
            if self.held.len() >= HELD {
                self.cut(false, sink)?;
            }
        }
        Ok(())
    }

    fn finish<S: Sink>(mut self, sink: &mut S) -> io::Result<()> {
        self.cut(true, sink)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::ChunkerKind;
    use crate::chunk::testing::{check, cut};

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn any_stream_comes_back(
            seed in any::<u64>(),
            length in 0..3_000_000_usize,
            zeros in 0..600_000_usize,
            lengths in prop::collection::vec(1..400_000_usize, 1..4),
        ) {
            let mut plain = noise(seed, length);
            plain.extend(vec![0; zeros]);
            let record = cut(CdcChunker::new(), &plain, &lengths);
            check(ChunkerKind::Plain, &plain, &record, 2);
            let whole = cut(CdcChunker::new(), &plain, &[plain.len()]);
            prop_assert!(record == whole, "the pieces it came in changed the chunks");
        }
    }

    #[test]
    fn a_layout_is_refused() {
        let bytes: &[u8] = b"plain";
        let refused =
            crate::chunk::rebuild(ChunkerKind::Plain, 0, &[4], &mut { bytes }, &mut io::sink());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_only() {
        let old = noise(1, 4 << 20);
        let new = [&old[..1 << 20], b"inserted", &old[1 << 20..]].concat();
        let old = cut(CdcChunker::new(), &old, &[5000]);
        let new = cut(CdcChunker::new(), &new, &[9000]);
        let fresh = new
            .chunks
            .iter()
            .filter(|chunk| !old.chunks.contains(chunk));
        assert!(new.chunks.len() > 30 && fresh.count() <= 3);
    }
}
