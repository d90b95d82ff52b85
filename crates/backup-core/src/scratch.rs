//! Scratch file for bytes that are needed again: it has no name, and is encrypted with a key that only this
//! process ever has. A restore assembles streams in it; a daemon keeps objects in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aes::Aes128;
use ctr::Ctr64LE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use rand::Rng as _;
use zeroize::Zeroizing;

/// Cipher with processor instructions: a chunk passes twice, and this was a quarter of a restore's time.
type Cipher = Ctr64LE<Aes128>;

/// Encrypted scratch file; see the module. Every position is written at most once, as a stream cipher
/// requires.
pub struct Scratch {
    file: File,
    key: Zeroizing<[u8; 16]>,
    place: String,
}

/// Number of bytes that a sequential read decrypts at a time.
const BLOCK: usize = 1 << 18;

impl Scratch {
    /// Creates a scratch file in `folder`, which needs room for `plain_bytes`.
    pub fn create(folder: &Path, plain_bytes: u64) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 16]);
        rand::rng().fill_bytes(key.as_mut());
        Ok(Self {
            file: tempfile::tempfile_in(folder)?,
            key,
            place: format!(
                "{}, where it needs room for {plain_bytes} bytes",
                folder.display()
            ),
        })
    }

    /// Returns the folder and the room needed, for errors.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn cipher(&self, at: u64) -> Cipher {
        let mut cipher = Cipher::new((&*self.key).into(), (&[0; 16]).into());
        cipher.seek(at);
        cipher
    }

    /// Writes `bytes` at `at`, and overwrites the buffer in the process.
    pub fn put(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.cipher(at).apply_keystream(bytes);
        self.file.write_all_at(bytes, at)
    }

    /// Fills `into` with the bytes written at `at`.
    pub fn get(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)?;
        self.cipher(at).apply_keystream(into);
        Ok(())
    }

    /// Returns a reader of `length` bytes from `at` on.
    pub fn reader(&self, at: u64, length: u64) -> ScratchReader<'_> {
        ScratchReader {
            scratch: self,
            at,
            left: length,
            block: Vec::new(),
            taken: 0,
        }
    }
}

/// Reader from [`Scratch::reader`].
pub struct ScratchReader<'s> {
    scratch: &'s Scratch,
    at: u64,
    left: u64,
    block: Vec<u8>,
    taken: usize,
}

impl Read for ScratchReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.block.len() {
            let length = usize::try_from(self.left).unwrap_or(BLOCK).min(BLOCK);
            self.block.resize(length, 0);
            self.scratch.file.read_exact_at(&mut self.block, self.at)?;
            self.scratch
                .cipher(self.at)
                .apply_keystream(&mut self.block);
            let length = u64::try_from(length).unwrap_or(0);
            self.at = self.at.saturating_add(length);
            self.left = self.left.saturating_sub(length);
            self.taken = 0;
        }
        let rest = self.block.get(self.taken..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        self.taken = self.taken.saturating_add(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_anywhere_is_read_in_order_and_lies_encrypted() {
        let scratch = Scratch::create(&std::env::temp_dir(), 800_000).unwrap();
        let plain: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut pieces: Vec<(usize, &[u8])> = plain
            .chunks(1013)
            .enumerate()
            .map(|(i, c)| (i * 1013, c))
            .collect();
        pieces.reverse();
        for (at, piece) in pieces {
            let at = u64::try_from(at).unwrap();
            scratch.put(at, &mut piece.to_vec()).unwrap();
        }
        let mut read = Vec::new();
        scratch.reader(5, 700_000).read_to_end(&mut read).unwrap();
        assert!(read == plain[5..700_005]);
        let mut raw = vec![0; 4096];
        scratch.file.read_exact_at(&mut raw, 0).unwrap();
        assert!(raw != plain[..4096]);
    }
}
