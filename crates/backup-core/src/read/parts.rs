//! Folder that keeps the downloads of an interrupted fetch, beside its target.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::RestoreError;
use crate::digest::Digest;
use crate::newfile::{self, OverwritePolicy};
use crate::progress::Progress;

/// Empty file that marks a folder as made by a fetch.
const MARK: &str = ".butler-fetch";

/// See the module. The folder has the mark, is private, and belongs to the user who fetches.
pub(super) struct PartsFolder {
    folder: PathBuf,
}

impl PartsFolder {
    /// Opens the folder of `target`, or makes it if it is missing. `own` is a file that this process made
    /// there. Returns `None` and adds a note if the name is taken by something that a fetch did not make.
    pub(super) fn of(
        target: &Path,
        own: &File,
        progress: &dyn Progress,
    ) -> Result<Option<Self>, RestoreError> {
        let mut folder = target.as_os_str().to_owned();
        folder.push(".parts");
        let folder = PathBuf::from(folder);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {
                newfile::write(&folder.join(MARK), b"", OverwritePolicy::Refuse)
                    .map_err(failed("create the folder", &folder))?;
                Ok(Some(Self { folder }))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let own = own.metadata().map_err(failed("look at", target))?;
                if is_ours(&folder, &own) {
                    return Ok(Some(Self { folder }));
                }
                progress.note(&format!(
                    "{} exists, but no fetch of this user made it: it is not changed, and after an \
                     interruption the fetch starts again from the beginning",
                    folder.display()
                ));
                Ok(None)
            }
            Err(error) => Err(failed("create the folder", &folder)(error)),
        }
    }

    /// Returns the path of the folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the files that fetches put into the folder, and the folder itself unless it has other files.
    pub(super) fn remove(self) -> Result<(), RestoreError> {
        let failed = || failed("remove", &self.folder);
        for entry in std::fs::read_dir(&self.folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name();
            let of_fetch = name
                .to_str()
                .is_some_and(|name| name.parse::<Digest>().is_ok() || newfile::is_random(name));
            if of_fetch && entry.file_type().map_err(failed())?.is_file() {
                std::fs::remove_file(entry.path()).map_err(failed())?;
            }
        }
        // The mark is removed last: a folder without it belongs to no fetch.
        std::fs::remove_file(self.folder.join(MARK)).map_err(failed())?;
        match std::fs::remove_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(failed()(error)),
            _ => Ok(()),
        }
    }
}

fn is_ours(folder: &Path, own: &Metadata) -> bool {
    let is = |path: &Path, right: fn(&Metadata) -> bool| {
        let there = path.symlink_metadata();
        there.is_ok_and(|there| {
            there.uid() == own.uid() && there.permissions().mode() & 0o077 == 0 && right(&there)
        })
    };
    is(folder, Metadata::is_dir) && is(&folder.join(MARK), Metadata::is_file)
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> RestoreError + use<> {
    let file = path.display().to_string();
    move |source| RestoreError::File {
        operation,
        file: file.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::progress::SilentProgress;

    fn parts(target: &Path) -> Option<PartsFolder> {
        let own = tempfile::tempfile().unwrap();
        PartsFolder::of(target, &own, &SilentProgress).unwrap()
    }

    #[test]
    fn what_a_fetch_made_is_used_again_and_then_gone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("etcd.db");
        let first = parts(&target).unwrap();
        let object = first.folder().join(Digest::of(b"x").to_string());
        std::fs::write(&object, "x").unwrap();
        let again = parts(&target).unwrap();
        assert!(object.exists());
        again.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_was_there_is_neither_used_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("report");
        let there = folder.path().join("report.parts");
        // This also holds for an empty folder that is as private as ours.
        DirBuilder::new().mode(0o700).create(&there).unwrap();
        assert!(parts(&target).is_none());
        std::fs::write(there.join("chapter-1"), "a year's work").unwrap();
        assert!(parts(&target).is_none());
        assert!(there.join("chapter-1").exists());
        // Neither a folder that others can read is used, nor a link to one of ours.
        let target = folder.path().join("etcd.db");
        let ours = parts(&target).unwrap().folder().to_owned();
        let linked = folder.path().join("linked");
        symlink(&ours, folder.path().join("linked.parts")).unwrap();
        assert!(parts(&linked).is_none());
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&ours, open).unwrap();
        assert!(parts(&target).is_none());
    }

    #[test]
    fn what_somebody_put_into_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("etcd.db");
        let ours = parts(&target).unwrap();
        let (note, object) = (
            ours.folder().join("note"),
            ours.folder().join(Digest::of(b"x").to_string()),
        );
        std::fs::write(&note, "of a person").unwrap();
        std::fs::write(&object, "x").unwrap();
        ours.remove().unwrap();
        assert!(note.exists() && !object.exists());
    }
}
