//! Chunker for bbolt files: it splits pages into their keys and values, and reassembles them.
//!
//! A *page* is `P` bytes; the meta page at offset 0 states `P` (magic `0xED0CDAED`, version 2, a power of two
//! from 1 KiB to 64 KiB), else `P` is 4 096. A *unit* is a page with its overflow pages, at most 24 MiB. A
//! unit is *canonical* if its parsed elements reproduce it bit for bit. Canonical units are split into
//! elements; every other page is kept unchanged.
//!
//! # Layout column
//!
//! Numbers are *varints*: LEB128, seven bits a byte, the lowest first. One record per unit:
//!
//! | kind | record                      | stands for                | bytes in the transformed stream |
//! |------|-----------------------------|---------------------------|---------------------------------|
//! | 1    | `tag` varint count          | a leaf                    | `count` leaf elements           |
//! | 2    | `tag` varint count          | a branch                  | `count` branch keys, then `count` child ids |
//! | 3    | `tag` varint pages, varint count | a freelist of `pages` pages | `count` page ids         |
//! | 4    | `tag` varint pages          | pages kept as they are    | `pages` × `P`                   |
//! | 5    | `tag` varint pages          | pages of zeros            | none                            |
//! | 6    | `tag` varint bytes          | the end, less than a page | `bytes`                         |
//!
//! `tag` is one byte: the kind in the lower four bits, `s` in the upper four; `P = 1024 << s`,
//! `s` is 0 to 6. A run of kept or zero pages has at most 256 pages. The end comes last.
//!
//! - Leaf element: varint key length, varint value length, key, value.
//! - Branch key: varint key length, key. Child id: varint of the zigzag (`d < 0 ? -2d-1 : 2d`)
//!   of the difference to the child id before it in the page; the first differs from 0.
//!   Ids are below 2⁴⁸.
//! - Freelist id: varint of the difference to the id before it; the first differs from 0.
//!   Ids rise, and are below 2⁴⁸.
//!
//! # The page of a record
//!
//! All numbers are little-endian. Header: page id u64 (its plain offset / `P`), flags u16
//! (leaf 2, branch 1, freelist 16), count u16, overflow u32 (pages − 1). Then:
//!
//! - leaf: `count` × (0 u32, position u32, key length u32, value length u32), then key and value
//!   of each element without gaps;
//! - branch: `count` × (position u32, key length u32, child id u64), then the keys without gaps;
//! - freelist: the ids as u64; if there are 65 535 or more, the header's count is 65 535
//!   and their number precedes them as a u64.
//!
//! A position counts from the start of its own table row to the key. Zeros fill the last page;
//! a leaf or branch has the fewest possible pages.

mod canonical;
mod decode;
mod encode;
mod layout;
pub(crate) mod page;
pub(crate) mod window;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::io;

use super::{Chunker, Sink};

pub(crate) use decode::rebuild;

/// Chunker for bbolt files (any other input becomes pages that are kept unchanged).
///
/// Holds at most one unit (24 MiB; usually nothing beyond a page) between two calls.
#[derive(Debug, Default)]
pub struct BboltChunker {
    window: window::Window,
    units: encode::UnitEncoder,
}

impl BboltChunker {
    /// Creates a chunker at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Chunker for BboltChunker {
    fn push<S: Sink>(&mut self, plain: &[u8], sink: &mut S) -> io::Result<()> {
        self.window.push(plain, &mut self.units.with_sink(sink))
    }

    fn finish<S: Sink>(self, sink: &mut S) -> io::Result<()> {
        let Self { window, mut units } = self;
        let end = window.finish(&mut units.with_sink(sink))?;
        units.end(&end, sink)
    }
}
