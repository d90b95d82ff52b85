//! Writes on a thread of its own, so that pages are rebuilt while others are digested and written.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes handed on at once: enough to make the hand-over free, and as large as a file's own
/// buffer, which then passes them on without a copy.
const BLOCK: usize = 1 << 20;
/// Blocks on their way; each block is used again, so this bounds memory too.
const BLOCKS: usize = 4;

/// Takes bytes for the thread that writes them.
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

/// Runs `make`, whose bytes another thread writes to `out`. Gives what `make` gave and what came
/// of the writing; if that failed, `make` was told so by an error of its own and the cause is here.
pub(super) fn write_beside<W, T>(
    out: W,
    make: impl FnOnce(&mut dyn Write) -> T,
) -> (T, io::Result<W>)
where
    W: Write + Send,
{
    let (full, blocks) = sync_channel::<Vec<u8>>(BLOCKS);
    let (back, empty) = sync_channel(BLOCKS);
    for _ in 0..BLOCKS {
        // As many as fit, so this never waits.
        drop(back.send(Vec::with_capacity(BLOCK)));
    }
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut out = out;
            for block in blocks {
                out.write_all(&block)?;
                // The other side may be done already.
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
        let written = writing.join().unwrap_or_else(|e| resume_unwind(e));
        (made, written.and_then(|out| last.map(|()| out)))
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
        assert!(out.unwrap() == bytes);
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
