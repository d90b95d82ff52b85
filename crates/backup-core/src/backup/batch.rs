//! Batch of new chunks that will become one pack.

use std::ops::Range;

use crate::format::index::ChunkId;
use crate::format::pack::MAX_PLAIN;

/// Largest number of chunks in one batch. Chunks have 64 bytes or more, except for the last of a page, so a
/// batch is full of bytes long before it is full of chunks.
const MAX_CHUNKS: usize = 1 << 18;
/// Number of bytes of a chunk's order key that count.
const MAX_ORDER: usize = 128;

/// Order of the chunks in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkOrder {
    /// Order of the stream: runs of it stay whole, so recipes are short.
    AsItCame,
    /// Order of the keys that the chunker gave, then of the stream: versions of one object lie together and
    /// compress well.
    ByKey,
}

/// New chunk.
pub(super) struct NewChunk {
    pub(super) id: ChunkId,
    data: Range<usize>,
    order: Range<usize>,
}

/// New chunks in the order of the stream, at most one pack of them.
#[derive(Default)]
pub(super) struct Batch {
    data: Vec<u8>,
    orders: Vec<u8>,
    chunks: Vec<NewChunk>,
}

impl Batch {
    /// Whether a chunk of `length` bytes still fits.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.chunks.len() < MAX_CHUNKS && self.data.len().saturating_add(length) <= MAX_PLAIN
    }

    /// Adds a chunk and returns its position.
    pub(super) fn push(&mut self, id: ChunkId, bytes: &[u8], order: &[u8]) -> usize {
        let (data, orders) = (self.data.len(), self.orders.len());
        self.data.extend_from_slice(bytes);
        self.orders
            .extend_from_slice(order.get(..MAX_ORDER).unwrap_or(order));
        self.chunks.push(NewChunk {
            id,
            data: data..self.data.len(),
            order: orders..self.orders.len(),
        });
        self.chunks.len().saturating_sub(1)
    }

    /// Puts the chunks in the order in which they will be stored.
    pub(super) fn arranged(self, order: ChunkOrder) -> ArrangedBatch {
        let mut arranged: Vec<usize> = (0..self.chunks.len()).collect();
        if order == ChunkOrder::ByKey {
            let key = |i: &usize| {
                self.chunks
                    .get(*i)
                    .and_then(|c| self.orders.get(c.order.clone()))
                    .unwrap_or_default()
            };
            arranged.sort_by(|a, b| key(a).cmp(key(b)));
        }
        ArrangedBatch {
            data: self.data,
            chunks: self.chunks,
            arranged,
        }
    }
}

/// Full batch in the order of its pack.
pub(super) struct ArrangedBatch {
    data: Vec<u8>,
    chunks: Vec<NewChunk>,
    /// Positions in `chunks`.
    arranged: Vec<usize>,
}

impl ArrangedBatch {
    pub(super) fn plain_bytes(&self) -> usize {
        self.data.len()
    }

    /// Returns for each chunk its position when it was pushed, its id, its offset in the pack and its length.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, ChunkId, usize, usize)> {
        self.arranged.iter().scan(0_usize, |offset, &i| {
            let chunk = self.chunks.get(i)?;
            let at = *offset;
            *offset = offset.saturating_add(chunk.data.len());
            Some((i, chunk.id, at, chunk.data.len()))
        })
    }

    /// Returns the bytes of the chunks in the order of the pack.
    pub(super) fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.arranged
            .iter()
            .filter_map(|&i| self.data.get(self.chunks.get(i)?.data.clone()))
    }
}
