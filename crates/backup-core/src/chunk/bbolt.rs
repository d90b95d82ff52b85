//! The bbolt chunker: pages are taken apart into their keys and values, and put together again.
//!
//! A *page* is `P` bytes; `P` is what the meta page at offset 0 says (magic `0xED0CDAED`,
//! version 2, a power of two from 1 KiB to 64 KiB), else 4 096. A *unit* is a page with its
//! overflow pages, at most 24 MiB. A unit that can be written anew from its parsed elements,
//! bit for bit, is *canonical* and is taken apart; every other page is kept as it is.
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
//! # The page that a record stands for
//!
//! All numbers are little-endian. Header: page id u64 (its plain offset / `P`), flags u16
//! (leaf 2, branch 1, freelist 16), count u16, overflow u32 (pages − 1). Then:
//!
//! - leaf: `count` × (0 u32, position u32, key length u32, value length u32), then key and value
//!   of each element without gaps;
//! - branch: `count` × (position u32, key length u32, child id u64), then the keys without gaps;
//! - freelist: the ids as u64; if there are 65 535 or more, the header's count is 65 535
//!   and their number as u64 stands before them.
//!
//! A position counts from the start of its own table row to the key. Zeros fill the last page;
//! a leaf or branch has as few pages as hold it.

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

/// Cuts a bbolt file (or anything else, then in pages kept as they are).
///
/// Holds at most one unit (24 MiB; usually nothing beyond a page) between two calls.
#[derive(Debug, Default)]
pub struct BboltChunker {
    window: window::Window,
    units: encode::Units,
}

impl BboltChunker {
    /// Starts at the beginning of a stream.
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
