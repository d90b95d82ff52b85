//! Handoff of rebuilt pages to threads that digest and write them.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Bytes handed over at once: enough to make the handoff cheap, and few enough to be still in the processor's
/// cache when they are written. With 1 MiB at once, Linux took up to three times as long.
const BLOCK: usize = 64 << 10;
/// Blocks in transit; each block is reused, so this also limits memory.
const BLOCKS: usize = 16;

/// Writer that passes bytes to the other threads.
struct Handoff {
    block: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl Handoff {
    fn send(&mut self) -> io::Result<()> {
        let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the writing thread has ended");
        let mut next = self.empty.recv().map_err(|_| ended())?;
        next.clear();
        let full = std::mem::replace(&mut self.block, next);
        self.full.send(full).map_err(|_| ended())
    }
}

impl Write for Handoff {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK.saturating_sub(self.block.len());
        let now = bytes.get(..room).unwrap_or(bytes);
        self.block.extend_from_slice(now);
        if self.block.len() >= BLOCK {
            self.send()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `make`, whose bytes another thread digests and a third one writes to `out`. Returns the result of
/// `make`, and `out` with the digest, or the error of the write; `make` then also got an error from its own
/// writer.
pub(in crate::read) fn write_beside<W, T>(
    out: W,
    make: impl FnOnce(&mut dyn Write) -> T,
) -> (T, io::Result<(W, Digest)>)
where
    W: Write + Send,
{
    let (full, made_blocks) = sync_channel::<Vec<u8>>(BLOCKS);
    let (digested, blocks) = sync_channel::<Vec<u8>>(BLOCKS);
    let (back, empty) = sync_channel(BLOCKS);
    for _ in 0..BLOCKS {
        // The channel has room for all blocks, so this never waits.
        drop(back.send(Vec::with_capacity(BLOCK)));
    }
    std::thread::scope(|scope| {
        let digesting = scope.spawn(move || {
            let mut hasher = Sha256::new();
            for block in made_blocks {
                hasher.update(&block);
                if digested.send(block).is_err() {
                    // The writing thread has ended, and reports the cause.
                    break;
                }
            }
            Digest::from_bytes(hasher.finalize().into())
        });
        let writing = scope.spawn(move || {
            let mut out = out;
            for block in blocks {
                out.write_all(&block)?;
                // The other side may have ended already.
                drop(back.send(block));
            }
            Ok(out)
        });
        let mut handoff = Handoff {
            block: Vec::with_capacity(BLOCK),
            full,
            empty,
        };
        let made = make(&mut handoff);
        let last = if handoff.block.is_empty() {
            Ok(())
        } else {
            handoff.send()
        };
        drop(handoff);
        let digest = digesting.join().unwrap_or_else(|e| resume_unwind(e));
        let written = writing.join().unwrap_or_else(|e| resume_unwind(e));
        let whole = |out| last.map(|()| (out, digest));
        (made, written.and_then(whole))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order() {
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let (made, out) = write_beside(Vec::new(), |to| {
            bytes.chunks(70_001).try_for_each(|part| to.write_all(part))
        });
        made.unwrap();
        let (out, digest) = out.unwrap();
        assert!(out == bytes);
        assert_eq!(digest, Digest::of(&bytes));
    }

    #[test]
    fn a_failed_write_ends_the_maker_and_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (made, out) = write_beside(Full, |to| {
            std::iter::repeat_with(|| to.write_all(&[0; 4096]))
                .take(1 << 20)
                .collect::<io::Result<()>>()
        });
        assert_eq!(made.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(out.err().unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
