//! Sink that records everything, and checks that every chunker must pass.

#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

use std::io;

use super::{Chunker, ChunkerKind, MAX_CHUNK, Sink, rebuild};

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordingSink {
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) orders: Vec<Vec<u8>>,
    pub(crate) layout: Vec<u8>,
    /// Number of chunks, length of the layout, plain offset.
    pub(crate) boundaries: Vec<(usize, usize, u64)>,
}

impl Sink for RecordingSink {
    fn chunk(&mut self, bytes: &[u8], order: &[u8]) -> io::Result<()> {
        assert!(!bytes.is_empty() && bytes.len() <= MAX_CHUNK);
        self.chunks.push(bytes.to_vec());
        self.orders.push(order.to_vec());
        Ok(())
    }

    fn layout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.layout.extend(bytes);
        Ok(())
    }

    fn boundary(&mut self, plain: u64) -> io::Result<()> {
        self.boundaries
            .push((self.chunks.len(), self.layout.len(), plain));
        Ok(())
    }
}

/// Cuts `plain`, passed in pieces of `lengths` in turn.
pub(crate) fn cut<C: Chunker>(mut chunker: C, plain: &[u8], lengths: &[usize]) -> RecordingSink {
    let mut record = RecordingSink::default();
    let mut rest = plain;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = lengths
            .next()
            .map_or(rest.len(), |&length| length.clamp(1, rest.len()));
        let (now, later) = rest.split_at(length);
        chunker.push(now, &mut record).unwrap();
        rest = later;
    }
    chunker.finish(&mut record).unwrap();
    record
}

/// Rebuilds everything, and each segment between every `step`th boundary on its own.
pub(crate) fn check(kind: ChunkerKind, plain: &[u8], record: &RecordingSink, step: usize) {
    let whole = record.chunks.concat();
    let mut out = Vec::new();
    let n = rebuild(kind, 0, &record.layout, &mut whole.as_slice(), &mut out).unwrap();
    assert_eq!(n, plain.len() as u64);
    assert!(out == plain, "the whole is not rebuilt");
    if plain.is_empty() {
        return;
    }
    let last = record.boundaries.last().unwrap();
    assert_eq!(
        *last,
        (record.chunks.len(), record.layout.len(), plain.len() as u64)
    );
    let mut from = (0, 0, 0);
    for (i, &to) in record.boundaries.iter().enumerate() {
        if i % step != 0 && to != *last {
            continue;
        }
        let bytes = record.chunks[from.0..to.0].concat();
        let mut out = Vec::new();
        let layout = &record.layout[from.1..to.1];
        let n = rebuild(kind, from.2, layout, &mut bytes.as_slice(), &mut out).unwrap();
        assert_eq!(from.2 + n, to.2);
        assert!(
            out == plain[from.2 as usize..to.2 as usize],
            "a segment is not rebuilt"
        );
        from = to;
    }
}
