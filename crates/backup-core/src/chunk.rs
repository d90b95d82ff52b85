//! Chunkers that cut a plain stream so that unchanged parts become the same chunks again.
//!
//! A chunker turns plain bytes into two things: *chunks*, whose bytes in order are the *transformed stream*,
//! and a *layout*, a byte column from which the matching [`rebuild`] reverses the transformation. Rebuilding
//! returns the plain bytes, for any input. FORMAT.md, section "Chunkers", describes the forms.

use std::io::{self, Read, Write};

pub mod bbolt;
pub mod cdc;
pub mod tar;

#[cfg(test)]
pub(crate) mod testing;

/// Receiver of the output of a chunker.
pub trait Sink {
    /// Takes one chunk, at most [`MAX_CHUNK`] bytes and never empty. `order` determines the new chunks that
    /// it should be stored near (chunks with close `order` compress well together).
    ///
    /// # Errors
    /// Any error of the sink's own storage; the chunker stops and returns it.
    fn chunk(&mut self, bytes: &[u8], order: &[u8]) -> io::Result<()>;

    /// Takes more of the layout column.
    ///
    /// # Errors
    /// See [`Sink::chunk`].
    fn layout(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Marks a place where the recipe may be split: layout and chunks up to here rebuild independently.
    /// `plain` is the offset that they reach in the plain stream, counted from its start; it is the start of
    /// the next segment. The end of the stream is always such a place.
    ///
    /// # Errors
    /// See [`Sink::chunk`].
    fn boundary(&mut self, plain: u64) -> io::Result<()>;
}

/// Largest chunk, in bytes: a chunk is in one frame of a pack, and a frame has 1 MiB.
pub const MAX_CHUNK: usize = 1 << 20;

/// Cutter of one plain stream.
pub trait Chunker {
    /// Takes the next plain bytes, of any length.
    ///
    /// # Errors
    /// Only errors of the sink.
    fn push<S: Sink>(&mut self, plain: &[u8], sink: &mut S) -> io::Result<()>;

    /// Ends the stream: cuts the rest.
    ///
    /// # Errors
    /// Only errors of the sink.
    fn finish<S: Sink>(self, sink: &mut S) -> io::Result<()>;
}

/// Chunker that cut a stream; written into recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkerKind {
    /// The transformed stream is the plain stream (tar entries, content-defined cuts).
    Plain,
    /// The transformed stream consists of the elements of bbolt pages.
    Bbolt,
}

/// Turns one recipe segment back into plain bytes.
///
/// `transformed` supplies the segment's transformed bytes, `layout` is its layout column, and `start` is the
/// plain offset at which the segment begins. Returns the number of plain bytes written. Three bytes of a
/// hostile layout can stand for 16 MiB of zeros: pass an `out` that refuses more bytes than the recipe states
/// for the segment.
///
/// # Errors
/// `InvalidData` when the layout is not one that a chunker writes or does not match the transformed bytes;
/// else any error of `transformed` or `out`.
pub fn rebuild(
    kind: ChunkerKind,
    start: u64,
    layout: &[u8],
    transformed: &mut dyn Read,
    out: &mut dyn Write,
) -> io::Result<u64> {
    match kind {
        ChunkerKind::Plain if !layout.is_empty() => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "cannot rebuild a plain stream from the stored chunks: it has a layout",
        )),
        ChunkerKind::Plain => io::copy(transformed, out),
        ChunkerKind::Bbolt => bbolt::rebuild(start, layout, transformed, out),
    }
}
