//! File that is sent to the disk while it is written, so that little is left to sync at its end.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;

/// Bytes after which the system is asked to start writing: enough for one large write, and few compared with
/// the gigabytes that the system gathers before it starts automatically.
const STRETCH: u64 = 32 << 20;

/// See the module. Bytes are written from the start of the file.
pub(super) struct WritebackFile {
    file: File,
    /// Range that was written and is not yet on its way to the disk.
    behind: Range<u64>,
}

impl WritebackFile {
    pub(super) fn new(file: File) -> Self {
        let behind = 0..0;
        Self { file, behind }
    }
}

impl Write for WritebackFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let end = self.behind.end;
        self.behind.end = end.saturating_add(u64::try_from(written).unwrap_or(0));
        if self.behind.end.saturating_sub(self.behind.start) >= STRETCH {
            begin(&self.file, &self.behind);
            self.behind.start = self.behind.end;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Asks the system to start writing `range`. This is a hint: if it fails, the sync takes longer. On Linux,
/// `DontNeed` starts the write-back of dirty pages and does not drop them.
#[cfg(target_os = "linux")]
fn begin(file: &File, range: &Range<u64>) {
    use rustix::fs::{Advice, fadvise};
    let length = range.end.saturating_sub(range.start);
    let told = fadvise(
        file,
        range.start,
        std::num::NonZeroU64::new(length),
        Advice::DontNeed,
    );
    if let Err(error) = told {
        tracing::debug!(%error, "cannot have a file written early");
    }
}

/// Does nothing on other systems.
#[cfg(not(target_os = "linux"))]
fn begin(_: &File, _: &Range<u64>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_written_across_stretches() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut early = WritebackFile::new(file.reopen().unwrap());
        let block: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..70 {
            early.write_all(&block).unwrap();
        }
        assert_eq!(early.behind, (64 << 20)..(70 << 20));
        early.flush().unwrap();
        let read = std::fs::read(file.path()).unwrap();
        assert_eq!(read.len(), 70 << 20);
        assert!(read.chunks(1 << 20).all(|part| part == block));
    }
}
