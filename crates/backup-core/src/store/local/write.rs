//! Writer that puts one file completely or not at all, so that it survives a power cut.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::store::{CreateOutcome, Key};

/// Name of a create in errors.
pub(super) const VERB: &str = "put";

/// Prefix of the names of incomplete files.
pub(super) const TEMP_PREFIX: &str = ".tmp-";

/// Creates the file of `key` with `bytes` unless it exists. The caller has checked the bytes.
pub(super) fn create(root: &Path, key: &Key, bytes: &[u8]) -> io::Result<CreateOutcome> {
    let target = root.join(key.as_str());
    let folder = make_folders(root, key)?;
    match target.symlink_metadata() {
        // A folder of that name would make it look as if the object existed.
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        // A pipe or a link is not the object either.
        Ok(metadata) if !metadata.is_file() => {
            return super::must_be_regular(&metadata).map(|()| CreateOutcome::Existed);
        }
        // Its writer may not have synced the folder yet, and the caller relies on the file's durability.
        Ok(_) => return sync(&folder).map(|()| CreateOutcome::Existed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // In the same folder, since a rename across file systems is a copy. The mode is 0600. The file is removed
    // when dropped, so an error leaves nothing.
    let mut temp = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .rand_bytes(16)
        .tempfile_in(&folder)?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    let created = match temp.persist_noclobber(&target) {
        Ok(_) => CreateOutcome::New,
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {
            CreateOutcome::Existed
        }
        Err(failed) => return Err(failed.error),
    };
    sync(&folder)?;
    Ok(created)
}

/// Makes the folders between `root` and the file of `key`, each 0700, and returns the innermost. The root is
/// not made: a missing root is more likely a disk that is not mounted.
fn make_folders(root: &Path, key: &Key) -> io::Result<std::path::PathBuf> {
    let mut folder = root.to_owned();
    let Some((folders, _)) = key.as_str().rsplit_once('/') else {
        return Ok(folder);
    };
    for name in folders.split('/') {
        let inner = folder.join(name);
        match std::fs::DirBuilder::new().mode(0o700).create(&inner) {
            Ok(()) => sync(&folder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        folder = inner;
    }
    Ok(folder)
}

/// Syncs `folder`, so that the names in it survive a power cut.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
