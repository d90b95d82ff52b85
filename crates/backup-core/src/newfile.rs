//! New file at a path that a person named: private, and complete or absent.
//!
//! Until it is complete the file has no name, or a random name on systems without nameless files. So no link
//! is followed, no existing file is opened, and a program that dies leaves nothing to read.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

/// Prefix and suffix of the random names.
const PREFIX: &str = ".butler-";
const SUFFIX: &str = ".part";

/// Treatment of a file that already has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverwritePolicy {
    /// It is replaced when the new file is complete. A link is replaced too, and not followed.
    Replace,
    /// It stays, and creating the new file is an error.
    Refuse,
}

/// File that is being written; see the module. Dropping it without [`NewFile::finish`] deletes it.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// Its random name, if it has one.
    random: Option<TempPath>,
    target: PathBuf,
    folder: PathBuf,
    existing: OverwritePolicy,
}

impl NewFile {
    /// Creates an empty file, mode 0600, that becomes `target`. The folder must exist.
    ///
    /// # Errors
    /// When the file cannot be created, or `target` exists and is to stay or is not a regular file.
    pub fn create(target: &Path, existing: OverwritePolicy) -> io::Result<Self> {
        match target.symlink_metadata() {
            Ok(_) if existing == OverwritePolicy::Refuse => {
                let there = "something with that name exists; it was not changed";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, there));
            }
            Ok(there) if !there.is_file() && !there.is_symlink() => {
                let other = "it exists and is not a regular file; it was not changed";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, other));
            }
            _ => {}
        }
        let folder = folder_of(target);
        let (file, random) = match unnamed(&folder) {
            Some(file) => (file, None),
            None => {
                let (file, path) = random().tempfile_in(&folder)?.into_parts();
                (file, Some(path))
            }
        };
        Ok(Self {
            file,
            random,
            target: target.to_owned(),
            folder,
            existing,
        })
    }

    /// Returns the file to write to.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Names the file once all of it is on the disk. The name survives a power cut.
    ///
    /// # Errors
    /// When the file cannot be synced or named; nothing is left of it then.
    pub fn finish(self) -> io::Result<File> {
        self.file.sync_all()?;
        let folder = self.folder.clone();
        let file = self.name()?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    }

    /// Names the file without waiting for the disk.
    ///
    /// # Errors
    /// When the file cannot be named; nothing is left of it then.
    pub fn name(self) -> io::Result<File> {
        let random = match self.random {
            Some(path) => path,
            None => {
                let link = |path: &Path| link(&self.file, path);
                let made = random().make_in(&self.folder, link)?;
                made.into_temp_path()
            }
        };
        let named = match self.existing {
            OverwritePolicy::Replace => random.persist(&self.target),
            OverwritePolicy::Refuse => random.persist_noclobber(&self.target),
        };
        named.map_err(|failed| failed.error)?;
        Ok(self.file)
    }
}

/// Writes `bytes` to `target`, mode 0600, completely or not at all.
///
/// # Errors
/// See [`NewFile`]; an existing file is then unchanged.
pub fn write(target: &Path, bytes: &[u8], existing: OverwritePolicy) -> io::Result<()> {
    let file = NewFile::create(target, existing)?;
    file.file().write_all(bytes)?;
    file.finish().map(drop)
}

/// Returns the folder that contains `target`.
#[must_use]
pub fn folder_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reports whether `name` is one of the random names.
pub(crate) fn is_random(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

fn random() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(16);
    builder
}

/// Opens a file without a name that can be named later; `None` where the system cannot do this.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR).ok()?;
    let file = File::from(file);
    // Without this path the file cannot be named later.
    by_number(&file).symlink_metadata().is_ok().then_some(file)
}

#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    let linked = linkat(CWD, by_number(file), CWD, path, AtFlags::SYMLINK_FOLLOW);
    linked.map_err(Into::into)
}

#[cfg(target_os = "linux")]
fn by_number(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_of_that_name_is_replaced_and_what_it_leads_to_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (target, other) = (folder.path().join("plan"), folder.path().join("other"));
        std::fs::write(&other, "of somebody else").unwrap();
        symlink(&other, &target).unwrap();
        write(&target, b"ours", OverwritePolicy::Refuse).unwrap_err();
        assert!(target.is_symlink());
        write(&target, b"ours", OverwritePolicy::Replace).unwrap();
        assert!(!target.is_symlink());
        assert_eq!(std::fs::read(&target).unwrap(), b"ours");
        assert_eq!(std::fs::read(&other).unwrap(), b"of somebody else");
    }

    #[test]
    fn a_file_that_is_replaced_leaves_its_mode_and_its_other_names_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (target, second) = (folder.path().join("key"), folder.path().join("second"));
        std::fs::write(&target, "old").unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::fs::hard_link(&target, &second).unwrap();
        write(&target, b"new", OverwritePolicy::Replace).unwrap();
        let mode = target.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read(&second).unwrap(), b"old");
    }

    #[test]
    fn what_is_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let below = folder.path().join("folder");
        std::fs::create_dir(&below).unwrap();
        for target in [&pipe, &below] {
            let error = write(target, b"x", OverwritePolicy::Replace).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
        assert!(pipe.metadata().unwrap().file_type().is_fifo());
        assert_eq!(names(folder.path()), ["folder", "pipe"]);
    }

    #[test]
    fn one_that_is_not_finished_leaves_nothing_and_one_that_is_has_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let half = NewFile::create(&target, OverwritePolicy::Replace).unwrap();
        half.file().write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(half);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        let late = NewFile::create(&target, OverwritePolicy::Refuse).unwrap();
        write(&target, b"first", OverwritePolicy::Refuse).unwrap();
        // Another writer was first, and its file stays.
        late.finish().unwrap_err();
        assert_eq!(std::fs::read(&target).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["file"]);
        let mode = target.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn where_all_files_have_names_it_is_a_random_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let (file, path) = random().tempfile_in(folder.path()).unwrap().into_parts();
        let half = NewFile {
            file,
            random: Some(path),
            target: target.clone(),
            folder: folder.path().to_owned(),
            existing: OverwritePolicy::Replace,
        };
        half.file().write_all(b"whole").unwrap();
        assert!(names(folder.path()).iter().all(|name| is_random(name)));
        half.finish().unwrap();
        assert_eq!(names(folder.path()), ["file"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
    }
}
