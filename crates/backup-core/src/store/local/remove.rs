//! Durable removal of one file.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::store::Key;

/// Removes the file of `key`; its folder stays. The removal survives a power cut: otherwise a later listing
/// could show an object that was already counted as removed.
pub(super) fn file(root: &Path, key: &Key) -> io::Result<()> {
    let path = root.join(key.as_str());
    // A folder of that name is not an object.
    if path.symlink_metadata()?.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    std::fs::remove_file(&path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
