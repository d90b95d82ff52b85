//! Temporary folder for everything that a lab or a test writes to the disk.

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "butler-lab-";
const LOCK: &str = ".alive";

/// Age below which a new folder may lack its lock, so that a sweep leaves it.
const TOO_YOUNG_TO_SWEEP: Duration = Duration::from_secs(60);

/// Temporary folder that is removed with its handle. A lock file in it shows that its process lives, so that
/// the next process removes the folders of killed ones.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    _alive: File,
}

impl Folder {
    /// Makes a folder below the system's temporary folder, and removes those that killed
    /// processes left there.
    ///
    /// # Errors
    /// The folder or its lock file cannot be made.
    pub fn new() -> Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .with_context(|| format!("making a temporary folder in {}", parent.display()))?;
        let lock = folder.path().join(LOCK);
        let alive =
            File::create(&lock).with_context(|| format!("making the lock {}", lock.display()))?;
        alive
            .lock()
            .with_context(|| format!("locking {}", lock.display()))?;
        Ok(Self {
            folder,
            _alive: alive,
        })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of `name` in this folder.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the names of what is in it, in order, without the lock.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path())?.map(|entry| entry.map(|e| e.file_name()));
        let names = entries.collect::<std::io::Result<Vec<_>>>()?.into_iter();
        let mut names: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.retain(|name| name != LOCK);
        names.sort();
        Ok(names)
    }

    /// Makes the sub-folder `name`, with its parents, for this user alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.join(name);
        make_private(&path)?;
        Ok(path)
    }
}

/// Returns the permissions of a file, such as `0o600`.
///
/// # Errors
/// It is not there.
pub fn mode(path: &Path) -> Result<u32> {
    let meta = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(meta.permissions().mode() & 0o777)
}

/// Changes the permissions of a file.
///
/// # Errors
/// The system refused.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).with_context(|| path.display().to_string())
}

/// Reports whether the process that made the folder `path` still lives.
#[must_use]
pub fn is_alive(path: &Path) -> bool {
    File::open(path.join(LOCK))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Makes `path` with its parents, readable by this user alone: etcd refuses to share its data.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the folder {}", path.display()))
}

/// Writes `bytes` to the new file `path` with mode 0600.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?
            .write_all(bytes)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Removes folders of dead processes. A failure does no harm: the next process tries again.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let young = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|at| at.elapsed().ok())
            .is_none_or(|age| age < TOO_YOUNG_TO_SWEEP);
        if young || is_alive(&path) || !path.join(LOCK).exists() {
            continue;
        }
        drop(std::fs::remove_dir_all(&path));
    }
}
