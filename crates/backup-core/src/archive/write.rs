//! Writer of an archive, in blocks.

use std::io;

use bytes::Bytes;
use tar::{Builder, Header};

use super::ObjectPath;
use crate::num::to_u64;

/// Size in bytes at which a block is passed on: smaller blocks would need many sends, and larger ones
/// more waiting.
const BLOCK: usize = 256 << 10;

/// Bytes of a long path that a reader without pax shows; a header has room for 100.
const SHOWN: usize = 90;

/// Writer of objects as tar entries. Holds one block and one entry.
pub struct TarWriter {
    builder: Builder<Vec<u8>>,
}

impl Default for TarWriter {
    fn default() -> Self {
        Self {
            builder: Builder::new(Vec::with_capacity(2 * BLOCK)),
        }
    }
}

impl TarWriter {
    /// Adds `bytes` as the file at `path`.
    ///
    /// # Errors
    /// If the path does not fit in a header, which never happens for an object.
    pub fn object(&mut self, path: &ObjectPath, bytes: &[u8]) -> io::Result<()> {
        self.file(&path.to_string(), bytes)
    }

    /// Adds `bytes` as the file called `path`.
    ///
    /// # Errors
    /// If the path does not fit in a header.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(to_u64(bytes.len()));
        if header.set_path(path).is_err() {
            self.builder
                .append_pax_extensions([("path", path.as_bytes())])?;
            // Readers without pax support show this path, and still find the bytes.
            let mut end = path;
            while end.len() > SHOWN {
                let mut chars = end.chars();
                chars.next();
                end = chars.as_str();
            }
            header.set_path(end.trim_start_matches('/'))?;
        }
        header.set_cksum();
        self.builder.append(&header, bytes)
    }

    /// Returns a block, if one is full.
    pub fn block(&mut self) -> Option<Bytes> {
        let held = self.builder.get_mut();
        if held.len() < BLOCK {
            return None;
        }
        Some(std::mem::replace(held, Vec::with_capacity(2 * BLOCK)).into())
    }

    /// Returns the rest, with the end mark.
    ///
    /// # Errors
    /// Never, because it writes to memory.
    pub fn finish(self) -> io::Result<Bytes> {
        Ok(self.builder.into_inner()?.into())
    }
}

impl std::fmt::Debug for TarWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    use crate::archive::{ArchiveError, ResourceName, read_objects};

    fn path(namespace: &str, name: &str) -> ObjectPath {
        ObjectPath {
            resource: ResourceName::new("secrets", ""),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_the_longest_names_too() {
        let paths = [
            path("a", "b"),
            path(&"n".repeat(63), &"x".repeat(253)),
            path("名", &"名前".repeat(500)),
            path("y", "DOM\\user\n\u{85}"),
            path("z", "y"),
        ];
        let mut writer = TarWriter::default();
        let mut tar = Vec::new();
        for (path, body) in paths
            .iter()
            .zip([&b"{}"[..], b"{\"a\":1}", b"[]", b"{}", b""])
        {
            writer.object(path, body).unwrap();
            tar.extend(writer.block().unwrap_or_default());
        }
        tar.extend(writer.finish().unwrap());
        let mut found = Vec::new();
        read_objects::<ArchiveError, _>(tar.as_slice(), |object| {
            found.push((object.path.clone(), object.json().len()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        let sizes = [2, 7, 2, 2, 0];
        assert_eq!(found, paths.into_iter().zip(sizes).collect::<Vec<_>>());
    }
}
