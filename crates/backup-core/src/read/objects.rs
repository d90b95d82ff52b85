//! Reader of objects that are named by their digest, which checks their bytes against it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::RestoreError;
use crate::digest::Digest;
use crate::id::RestorePointId;
use crate::newfile::{NewFile, OverwritePolicy};
use crate::store::{Key, Store, StoreError};

/// Gets the object at `key` and checks its bytes against `digest`.
pub(super) async fn get_named(
    store: &dyn Store,
    id: &RestorePointId,
    key: &Key,
    digest: Digest,
) -> Result<Bytes, RestoreError> {
    let bytes = store.get(key).await.map_err(|source| match source {
        StoreError::Checksum { .. } => RestoreError::Changed { key: key.clone() },
        source => RestoreError::Store {
            id: id.clone(),
            key: key.clone(),
            source,
        },
    })?;
    if Digest::of(&bytes) != digest {
        return Err(RestoreError::Changed { key: key.clone() });
    }
    Ok(bytes)
}

/// Objects of one restore point. If there is a local folder, objects are kept in it as stored, encrypted, so
/// that an interrupted fetch does not download them again.
#[derive(Debug, Clone)]
pub(super) struct PointObjects {
    pub(super) store: Arc<dyn Store>,
    pub(super) id: RestorePointId,
    pub(super) folder: Option<PathBuf>,
}

impl PointObjects {
    /// Whether reading an object again costs little.
    pub(super) fn are_near(&self) -> bool {
        self.folder.is_some() || self.store.is_folder()
    }

    /// Returns the object at `key`, from the folder if it is there and sound, else from the store.
    pub(super) async fn get(&self, key: &Key, digest: Digest) -> Result<Bytes, RestoreError> {
        let Some(folder) = &self.folder else {
            return get_named(self.store.as_ref(), &self.id, key, digest).await;
        };
        let file = folder.join(digest.to_string());
        if let Ok(bytes) = tokio::fs::read(&file).await
            && Digest::of(&bytes) == digest
        {
            return Ok(bytes.into());
        }
        let bytes = get_named(self.store.as_ref(), &self.id, key, digest).await?;
        let kept = {
            let (file, bytes) = (file.clone(), bytes.clone());
            spawn_blocking(move || keep(&file, &bytes)).await
        };
        let kept = kept.map_err(RestoreError::Panicked)?;
        kept.map_err(|source| RestoreError::File {
            operation: "write",
            file: file.display().to_string(),
            source,
        })?;
        Ok(bytes)
    }
}

/// Writes `bytes` so that the file is whole or missing. It is not synced: its digest is checked when it is
/// read again.
fn keep(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = NewFile::create(file, OverwritePolicy::Replace)?;
    new.file().write_all(bytes)?;
    new.name().map(drop)
}
