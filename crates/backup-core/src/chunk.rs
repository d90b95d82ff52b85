//! Chunkers: how a plain stream is cut so that unchanged parts are the same chunk again.
//!
//! A chunker turns plain bytes into two things: *chunks*, whose bytes in order are the
//! *transformed stream*, and a *layout*, a byte column that tells the matching [`rebuild`]
//! how to turn the transformed stream back. Rebuilding gives the plain bytes, for any input.
//! The forms are described in FORMAT.md, section "Chunkers".

use std::io::{self, Read, Write};

pub mod bbolt;
pub mod cdc;
pub mod tar;

#[cfg(test)]
pub(crate) mod testing;

/// Takes what a chunker makes.
pub trait Sink {
    /// One chunk, at most [`MAX_CHUNK`] bytes and never empty. `order` tells near which other
    /// new chunks it should be stored (chunks with close `order` compress well together).
    ///
    /// # Errors
    /// What the sink's own storage met; the chunker stops and passes it on.
    fn chunk(&mut self, bytes: &[u8], order: &[u8]) -> io::Result<()>;

    /// More of the layout column.
    ///
    /// # Errors
    /// As for [`Sink::chunk`].
    fn layout(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// A place where the recipe may be split: layout and chunks up to here rebuild on their own.
    /// `plain` is the offset in the plain stream, from its start, that they reach; it is the
    /// start of the next segment. The end of the stream is always one.
    ///
    /// # Errors
    /// As for [`Sink::chunk`].
    fn boundary(&mut self, plain: u64) -> io::Result<()>;
}

/// The largest chunk, in bytes: a chunk lies in one frame of a pack, and a frame holds 1 MiB.
pub const MAX_CHUNK: usize = 1 << 20;

/// Cuts one plain stream.
pub trait Chunker {
    /// Takes the next plain bytes, of any length.
    ///
    /// # Errors
    /// Only what the sink returned.
    fn push<S: Sink>(&mut self, plain: &[u8], sink: &mut S) -> io::Result<()>;

    /// The stream has ended: cuts what is left.
    ///
    /// # Errors
    /// Only what the sink returned.
    fn finish<S: Sink>(self, sink: &mut S) -> io::Result<()>;
}

/// Which chunker cut a stream; written into recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The transformed stream is the plain stream (tar entries, content-defined cuts).
    Plain,
    /// bbolt pages taken apart.
    Bbolt,
}

/// Turns one recipe segment back into plain bytes.
///
/// `transformed` gives the segment's transformed bytes, `layout` is its layout column, and
/// `start` is the plain offset at which the segment begins. Returns the number of plain bytes
/// written. Three bytes of a hostile layout can stand for 16 MiB of zeros: give an `out` that
/// refuses more than the recipe says the segment has.
///
/// # Errors
/// `InvalidData` when the layout is not one that a chunker writes or does not match the
/// transformed bytes; otherwise what `transformed` or `out` returned.
pub fn rebuild(
    kind: Kind,
    start: u64,
    layout: &[u8],
    transformed: &mut dyn Read,
    out: &mut dyn Write,
) -> io::Result<u64> {
    match kind {
        Kind::Plain if !layout.is_empty() => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "cannot rebuild a plain stream from the stored chunks: it has a layout",
        )),
        Kind::Plain => io::copy(transformed, out),
        Kind::Bbolt => bbolt::rebuild(start, layout, transformed, out),
    }
}
