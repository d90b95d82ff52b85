//! Packs: chunks one after the other, in zstd frames of at most 1 MiB plain, inside an age file.
//!
//! A pack ends in the seek table of zstd's seekable format, a skippable frame: `age -d | zstd -d` returns the
//! plain bytes, and a reader finds the frame of any offset.

use std::io::Write as _;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::FormatError;
use super::varint::Cursor;
use crate::crypt::{Opener, SealError, Sealer};

/// Largest number of plain bytes in one frame.
pub const MAX_FRAME: usize = 1 << 20;
/// Largest number of plain bytes in one pack: even if nothing compresses, the object stays below 16 MiB.
pub const MAX_PLAIN: usize = 15 << 20;

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;

/// Failure to write or read a pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Encryption or decryption failed.
    #[error("cannot seal or open a pack")]
    Seal(#[from] SealError),
    /// The content is not a pack.
    #[error("cannot read a pack")]
    Format(#[from] FormatError),
}

fn zstd_failed(source: std::io::Error) -> FormatError {
    FormatError::Zstd {
        object: "pack",
        source,
    }
}

/// Number of threads that compress frames of one pack. More than four would wait for the stages before them,
/// and each has its own tables: up to 12 MiB at the levels that runs use.
const MAX_THREADS: usize = 4;

/// Writer that builds packs in memory, one after another. Frames are independent, so those of one pack are
/// compressed in parallel, and the bytes do not depend on the number of threads.
pub struct PackWriter {
    level: i32,
    workers: Vec<Worker>,
}

/// Compressor and buffers of one thread.
struct Worker {
    compressor: zstd::bulk::Compressor<'static>,
    plain: Vec<u8>,
    compressed: Vec<u8>,
}

/// Compressed bytes of a frame, and the number of plain bytes in them.
struct CompressedFrame {
    bytes: Vec<u8>,
    plain: u32,
}

impl PackWriter {
    /// Returns a writer of many packs whose frames are compressed at zstd `level`.
    ///
    /// # Errors
    /// When zstd cannot allocate memory.
    pub fn new(level: i32) -> Result<Self, PackError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let worker = || {
            Ok(Worker {
                compressor: zstd::bulk::Compressor::new(level).map_err(zstd_failed)?,
                plain: Vec::new(),
                compressed: Vec::new(),
            })
        };
        let workers = std::iter::repeat_with(worker).take(threads.clamp(1, MAX_THREADS));
        Ok(Self {
            level,
            workers: workers.collect::<Result<_, PackError>>()?,
        })
    }

    /// Changes the level for later packs.
    ///
    /// # Errors
    /// When zstd refuses the level.
    pub fn set_level(&mut self, level: i32) -> Result<(), PackError> {
        if self.level != level {
            for worker in &mut self.workers {
                let set = worker.compressor.set_compression_level(level);
                set.map_err(zstd_failed)?;
            }
            self.level = level;
        }
        Ok(())
    }

    /// Returns the stored bytes of a pack of `chunks` in this order, sealed by `sealer`.
    ///
    /// A frame is closed before a chunk that would overfill it, so no chunk crosses frames.
    ///
    /// # Errors
    /// When compression or encryption fails, or a chunk is larger than a frame.
    pub fn write<'c>(
        &mut self,
        chunks: impl Iterator<Item = &'c [u8]>,
        sealer: &Sealer,
    ) -> Result<Vec<u8>, PackError> {
        let chunks: Vec<&[u8]> = chunks.collect();
        let frames = self.compress(&split(&chunks)?)?;
        let table = seek_table_of(&frames)?;
        let size = frames.iter().map(|f| f.bytes.len()).sum::<usize>();
        let broken = |e| SealError::Encrypt(Box::new(e));
        // Overhead of age: a header below 1 KiB, and 16 bytes for each 64 KiB.
        let room = size.saturating_add(table.len()).saturating_add(8 << 10);
        let mut writer = sealer.writer(Vec::with_capacity(room))?;
        for frame in frames {
            writer.write_all(&frame.bytes).map_err(broken)?;
        }
        writer.write_all(&table).map_err(broken)?;
        Ok(writer.finish().map_err(broken)?)
    }

    /// Compresses the frames, in at most as many threads as there are workers.
    fn compress(&mut self, frames: &[&[&[u8]]]) -> Result<Vec<CompressedFrame>, PackError> {
        let next = AtomicUsize::new(0);
        let work = |worker: &mut Worker| {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(chunks) = frames.get(number) else {
                    return Ok::<_, PackError>(done);
                };
                done.push((number, worker.compress(chunks)?));
            }
        };
        let mut done = std::thread::scope(|scope| {
            let mut workers = self.workers.iter_mut().take(frames.len());
            let own = workers.next();
            let others: Vec<_> = workers.map(|w| scope.spawn(|| work(w))).collect();
            let mut done = own.map_or_else(|| Ok(Vec::new()), work)?;
            for other in others {
                done.extend(other.join().unwrap_or_else(|e| resume_unwind(e))?);
            }
            Ok::<_, PackError>(done)
        })?;
        done.sort_unstable_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, frame)| frame).collect())
    }
}

impl Worker {
    fn compress(&mut self, chunks: &[&[u8]]) -> Result<CompressedFrame, PackError> {
        self.plain.clear();
        for chunk in chunks {
            self.plain.extend_from_slice(chunk);
        }
        let bound = zstd::zstd_safe::compress_bound(self.plain.len());
        self.compressed.resize(bound.max(self.compressed.len()), 0);
        let n = self
            .compressor
            .compress_to_buffer(&self.plain, self.compressed.as_mut_slice())
            .map_err(zstd_failed)?;
        Ok(CompressedFrame {
            bytes: self.compressed.get(..n).unwrap_or_default().to_vec(),
            plain: small(self.plain.len())?,
        })
    }
}

/// Divides chunks into frames.
fn split<'s, 'c>(mut chunks: &'s [&'c [u8]]) -> Result<Vec<&'s [&'c [u8]]>, FormatError> {
    let mut frames = Vec::new();
    while !chunks.is_empty() {
        let mut bytes = 0_usize;
        let fits = |chunk: &&&[u8]| {
            bytes = bytes.saturating_add(chunk.len());
            bytes <= MAX_FRAME
        };
        let count = chunks.iter().take_while(fits).count();
        if count == 0 {
            return Err(FormatError::damaged("chunk", "it is larger than a frame"));
        }
        let (frame, rest) = chunks.split_at(count);
        frames.push(frame);
        chunks = rest;
    }
    Ok(frames)
}

fn small(n: usize) -> Result<u32, FormatError> {
    u32::try_from(n).map_err(|_| FormatError::damaged("pack", "more than 4 GiB"))
}

/// Returns the skippable frame at the end of a pack.
fn seek_table_of(frames: &[CompressedFrame]) -> Result<Vec<u8>, FormatError> {
    let count = small(frames.len())?;
    let size = count.saturating_mul(8).saturating_add(9);
    let mut out = Vec::new();
    out.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    for frame in frames {
        out.extend_from_slice(&small(frame.bytes.len())?.to_le_bytes());
        out.extend_from_slice(&frame.plain.to_le_bytes());
    }
    out.extend_from_slice(&count.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    Ok(out)
}

/// Position of a frame: its bytes in the compressed stream, and its plain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    stored: Range<usize>,
    plain: Range<u64>,
}

/// Decrypted pack, its frames still compressed.
#[derive(Debug)]
pub struct OpenPack {
    compressed: Vec<u8>,
    frames: Vec<Frame>,
}

impl OpenPack {
    /// Decrypts `stored` and reads its seek table, which must add up to `plain_bytes`.
    ///
    /// # Errors
    /// When `opener` does not open it, or it is not a pack of that many plain bytes.
    pub fn open(stored: &[u8], opener: Opener<'_>, plain_bytes: u64) -> Result<Self, PackError> {
        if usize::try_from(plain_bytes).map_or(true, |n| n > MAX_PLAIN) {
            let what = format!("its manifest says {plain_bytes} plain bytes, above {MAX_PLAIN}");
            return Err(FormatError::damaged("pack", what).into());
        }
        let compressed = opener.open(stored, crate::store::MAX_OBJECT)?;
        let frames = seek_table(&compressed).ok_or_else(|| {
            FormatError::damaged(
                "pack",
                "its seek table is missing or contradicts its frames",
            )
        })?;
        let found = frames.last().map_or(0, |f| f.plain.end);
        if found != plain_bytes {
            let what = format!("it holds {found} plain bytes, its manifest says {plain_bytes}");
            return Err(FormatError::damaged("pack", what).into());
        }
        Ok(Self { compressed, frames })
    }

    /// Decompresses every frame in order and passes each to `take` with its plain offset. `buffer` supplies
    /// the buffer for each frame; its content is overwritten.
    ///
    /// # Errors
    /// When a frame is damaged.
    pub fn each_frame(
        &self,
        mut buffer: impl FnMut() -> Vec<u8>,
        mut take: impl FnMut(u64, Vec<u8>),
    ) -> Result<(), PackError> {
        let mut zstd = zstd::bulk::Decompressor::new().map_err(zstd_failed)?;
        for frame in &self.frames {
            let mut plain = buffer();
            self.decompress(frame, &mut zstd, &mut plain)?;
            take(frame.plain.start, plain);
        }
        Ok(())
    }

    /// Returns the plain offset and bytes of the frame that contains `offset`; `None` after the end.
    ///
    /// # Errors
    /// When the frame is damaged.
    pub fn frame_at(&self, offset: u64) -> Result<Option<(u64, Vec<u8>)>, PackError> {
        let after = self.frames.partition_point(|f| f.plain.end <= offset);
        let Some(frame) = self.frames.get(after) else {
            return Ok(None);
        };
        let mut zstd = zstd::bulk::Decompressor::new().map_err(zstd_failed)?;
        let mut plain = Vec::new();
        self.decompress(frame, &mut zstd, &mut plain)?;
        Ok(Some((frame.plain.start, plain)))
    }

    fn decompress(
        &self,
        frame: &Frame,
        zstd: &mut zstd::bulk::Decompressor<'_>,
        plain: &mut Vec<u8>,
    ) -> Result<(), PackError> {
        let stored = self
            .compressed
            .get(frame.stored.clone())
            .unwrap_or_default();
        // A seek table with a frame above 1 MiB was already refused.
        let size = frame.plain.end.saturating_sub(frame.plain.start);
        let size = usize::try_from(size).unwrap_or(MAX_FRAME).min(MAX_FRAME);
        plain.clear();
        plain.reserve_exact(size);
        zstd.decompress_to_buffer(stored, plain)
            .map_err(zstd_failed)?;
        if plain.len() == size {
            return Ok(());
        }
        let what = "a frame is not as long as its seek table says";
        Err(FormatError::damaged("pack", what).into())
    }
}

fn seek_table(compressed: &[u8]) -> Option<Vec<Frame>> {
    let (rest, footer) = compressed.split_at_checked(compressed.len().checked_sub(9)?)?;
    let mut footer = Cursor(footer);
    let count = usize::try_from(u32::from_le_bytes(footer.array()?)).ok()?;
    let descriptor = footer.bytes(1)?;
    if descriptor != [0] || u32::from_le_bytes(footer.array()?) != SEEKABLE_MAGIC {
        return None;
    }
    let entries = count.checked_mul(8)?;
    let (rest, table) = rest.split_at_checked(rest.len().checked_sub(entries)?)?;
    let (frames_end, mut head) = {
        let at = rest.len().checked_sub(8)?;
        let (frames, head) = rest.split_at_checked(at)?;
        (frames.len(), Cursor(head))
    };
    let size = usize::try_from(u32::from_le_bytes(
        head.array::<4>()
            .filter(|m| u32::from_le_bytes(*m) == SKIPPABLE_MAGIC)
            .and_then(|_| head.array())?,
    ))
    .ok()?;
    if size != entries.checked_add(9)? {
        return None;
    }
    let mut table = Cursor(table);
    let mut frames = Vec::with_capacity(count);
    let (mut stored, mut plain) = (0_usize, 0_u64);
    for _ in 0..count {
        let stored_len = usize::try_from(u32::from_le_bytes(table.array()?)).ok()?;
        let plain_len = u32::from_le_bytes(table.array()?);
        if usize::try_from(plain_len).ok()? > MAX_FRAME {
            return None;
        }
        let (stored_end, plain_end) = (
            stored.checked_add(stored_len)?,
            plain.checked_add(plain_len.into())?,
        );
        frames.push(Frame {
            stored: stored..stored_end,
            plain: plain..plain_end,
        });
        (stored, plain) = (stored_end, plain_end);
    }
    (stored == frames_end).then_some(frames)
}

#[cfg(test)]
mod tests;
