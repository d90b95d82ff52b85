//! Store in a local folder: one file per object, put completely or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use tokio::sync::Semaphore;

use super::{
    Access, CreateOutcome, Key, MAX_OBJECT, MAX_SIZE, ObjectInfo, Page, Probe, Store, StoreError,
    probe_twice,
};
use crate::digest::{Digest, HashingWriter};
use crate::num::to_u64;

mod remove;
mod walk;
mod write;

/// Number of concurrent operations on a folder. A disk gains nothing from more, each may hold a whole object,
/// and so a burst of callers does not take up the thread pool for blocking work.
const AT_ONCE: usize = 8;

/// Keys per page. Each page reads its folders again, so pages are large; one holds about 2 MB.
const PAGE: usize = 10_000;

/// Store of objects as files below a folder; files are 0600 and folders 0700.
///
/// Files that a crash left half-written are named `.tmp-…`; listings leave them out.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Arc<Path>,
    page: usize,
    turns: Arc<Semaphore>,
}

impl LocalStore {
    /// Opens the store in the folder `root`, which must exist.
    ///
    /// # Errors
    /// [`StoreError::NoBucket`] if the folder does not exist.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self::at(root.into());
        store
            .blocking("open the folder", None, |root| {
                // Follows a link: the root may be a link to another disk.
                if root.metadata()?.is_dir() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                }
            })
            .await?;
        Ok(store)
    }

    /// Opens the store in the folder `root`, which is created (0700, parents too) if it does not exist.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self::at(root.into());
        store
            .blocking("make the folder", None, |root| {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(root)
            })
            .await?;
        Ok(store)
    }

    /// Returns the same store with pages of `keys` keys, at least 1; for tests that need many pages.
    #[must_use]
    pub fn with_page(mut self, keys: usize) -> Self {
        self.page = keys.max(1);
        self
    }

    fn at(root: PathBuf) -> Self {
        Self {
            root: root.into(),
            page: PAGE,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Runs `work` on the root where blocking is allowed. It runs to its end even if the caller stops
    /// waiting.
    async fn blocking<T, F>(
        &self,
        verb: &'static str,
        key: Option<&Key>,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> io::Result<T> + Send + 'static,
    {
        let root = Arc::clone(&self.root);
        let turns = Arc::clone(&self.turns);
        let result = async {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            tokio::task::spawn_blocking(move || {
                let result = work(&root);
                drop(turn);
                result
            })
            .await
            .map_err(io::Error::other)?
        };
        result.await.map_err(|error| self.failed(verb, key, error))
    }

    /// Classifies an error of the file system.
    fn failed(&self, verb: &str, key: Option<&Key>, error: io::Error) -> StoreError {
        let store = self.describe();
        let operation = match key {
            Some(key) => format!("{verb} {key}"),
            None => verb.to_owned(),
        };
        match (error.kind(), key) {
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) if !self.root.is_dir() => {
                StoreError::NoBucket { store }
            }
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(key))
                if verb != write::VERB =>
            {
                StoreError::NotFound {
                    store,
                    key: key.clone(),
                }
            }
            (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, _) => {
                StoreError::Forbidden {
                    store,
                    operation,
                    source: error.into(),
                }
            }
            (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => {
                StoreError::NoSpace { store, operation }
            }
            _ => StoreError::Other {
                store,
                operation,
                source: error.into(),
            },
        }
    }

    fn too_large(&self, key: &Key, size: u64) -> StoreError {
        StoreError::TooLarge {
            store: self.describe(),
            key: key.clone(),
            size,
        }
    }
}

/// Opens the object's file and returns it with its size. A folder of that name is not an object. Only a
/// regular file is opened: opening a pipe would block, and a device may do anything.
fn open(root: &Path, key: &Key) -> io::Result<(File, u64)> {
    let path = root.join(key.as_str());
    must_be_regular(&path.symlink_metadata()?)?;
    // The file may have been replaced since.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty())?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    must_be_regular(&metadata)?;
    Ok((file, metadata.len()))
}

fn must_be_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    if metadata.is_file() {
        return Ok(());
    }
    let other = "it is not a regular file; links, pipes and devices are not opened";
    Err(io::Error::new(io::ErrorKind::InvalidInput, other))
}

/// Returns when a file was written; `None` if that time does not exist in the calendar.
fn modified(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::try_from(metadata.modified().ok()?).ok()
}

/// Reads at most `limit` bytes from the current position of `file`.
fn read(file: File, limit: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(limit).unwrap_or(0).min(MAX_OBJECT));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[async_trait]
impl Store for LocalStore {
    fn describe(&self) -> String {
        format!("folder {}", self.root.display())
    }

    fn is_folder(&self) -> bool {
        true
    }

    async fn create(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<CreateOutcome, StoreError> {
        if bytes.len() > MAX_OBJECT {
            return Err(self.too_large(key, to_u64(bytes.len())));
        }
        let name = key.clone();
        let created = self
            .blocking(write::VERB, Some(key), move |root| {
                if Digest::of(&bytes) != digest {
                    return Ok(None);
                }
                write::create(root, &name, &bytes).map(Some)
            })
            .await?;
        created.ok_or_else(|| StoreError::Checksum {
            store: self.describe(),
            key: key.clone(),
        })
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let name = key.clone();
        let found = self
            .blocking("get", Some(key), move |root| {
                let (file, size) = open(root, &name)?;
                if size > MAX_SIZE {
                    return Ok(Err(size));
                }
                read(file, size).map(Ok)
            })
            .await?;
        found.map_err(|size| self.too_large(key, size))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = range.end.saturating_sub(range.start);
        if length > MAX_SIZE {
            return Err(self.too_large(key, length));
        }
        let name = key.clone();
        self.blocking("get a range of", Some(key), move |root| {
            let (mut file, size) = open(root, &name)?;
            if range.start >= size {
                return Ok(Bytes::new());
            }
            file.seek(SeekFrom::Start(range.start))?;
            read(file, length)
        })
        .await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let name = key.clone();
        self.blocking("look at", Some(key), move |root| {
            let (mut file, _) = open(root, &name)?;
            let modified = modified(&file.metadata()?);
            // A file system records no checksum. Reading the file costs little here, and lets an audit
            // without keys find bytes that went bad on the disk.
            let mut hashing = HashingWriter::new(io::sink());
            io::copy(&mut file, &mut hashing)?;
            let (_, digest, size) = hashing.finish();
            Ok(ObjectInfo {
                key: name,
                size,
                recorded: Some(digest),
                modified,
                access: Access::AtOnce,
            })
        })
        .await
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, StoreError> {
        let prefix = prefix.to_owned();
        let limit = self.page;
        self.blocking("list", None, move |root| {
            walk::page(root, &prefix, from.as_deref(), limit)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let name = key.clone();
        let deleted = self
            .blocking("delete", Some(key), move |root| remove::file(root, &name))
            .await;
        match deleted {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn probe(&self) -> Result<Probe, StoreError> {
        probe_twice(self).await
    }

    /// Uses the clock that file times come from: on a network file system the server's.
    async fn date(&self) -> Result<Option<Timestamp>, StoreError> {
        self.blocking("read the time of", None, |root| {
            // The file never has a name, so nothing is left in any case.
            let file = tempfile::tempfile_in(root)?;
            Ok(modified(&file.metadata()?))
        })
        .await
    }
}
