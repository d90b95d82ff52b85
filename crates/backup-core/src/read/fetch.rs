//! Fetch of a component as a file: bit for bit, whole or not at all, and resumable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::assemble::{Assembly, assemble};
use super::keys::PointKeys;
use super::objects::PointObjects;
use super::parts::PartsFolder;
use super::writeback::WritebackFile;
use crate::catalog::RestorePoint;
use crate::digest::Digest;
use crate::format::manifest::Component;
use crate::id::ComponentName;
use crate::newfile::{NewFile, OverwritePolicy, folder_of};
use crate::progress::Progress;
use crate::store::Store;

/// Component that was written to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// Path of the file.
    pub file: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, equal to the manifest's.
    pub sha256: Digest,
}

/// Returns the component of that name, or an error that lists the components of the restore point.
pub(super) fn find_component<'p>(
    point: &'p RestorePoint,
    name: &ComponentName,
) -> Result<&'p Component, RestoreError> {
    point
        .manifest
        .component(name)
        .ok_or_else(|| RestoreError::NoComponent {
            id: point.entry.id.clone(),
            wanted: name.clone(),
            has: point
                .manifest
                .components
                .iter()
                .map(|c| c.name.to_string())
                .collect(),
        })
}

/// Writes component `name` of `point` to `target`, mode 0600. An existing file is replaced only when the new
/// file is complete, and only if `existing` allows it. Until then, downloads are kept as stored in
/// `TARGET.parts/`, so that the same call continues after an interruption. They are not kept if the store is
/// a folder, or if a folder of that name was not made by a fetch of this user.
///
/// # Errors
/// See [`RestoreError`]; `target` is then unchanged.
pub async fn fetch(
    store: Arc<dyn Store>,
    point: &RestorePoint,
    unlocked: PointKeys,
    name: &ComponentName,
    (target, existing): (&Path, OverwritePolicy),
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<FetchedFile, RestoreError> {
    let component = find_component(point, name)?;
    let failed = |operation: &'static str| {
        let file = target.display().to_string();
        move |source| RestoreError::File {
            operation,
            file,
            source,
        }
    };
    // Parent folders are not made: a misspelt path should not fill another disk.
    let new = NewFile::create(target, existing).map_err(failed("create"))?;
    let parts = if store.is_folder() {
        None
    } else {
        PartsFolder::of(target, new.file(), progress.as_ref())?
    };
    let objects = PointObjects {
        store,
        id: point.entry.id.clone(),
        folder: parts.as_ref().map(|parts| parts.folder().to_owned()),
    };
    let assembly = Assembly {
        objects,
        unlocked: Arc::new(unlocked),
        progress,
        cancel,
        file: Some(target.to_owned()),
    };
    let file = new.file().try_clone().map_err(failed("create"))?;
    let file = WritebackFile::new(file);
    drop(assemble(&assembly, component, &folder_of(target), file).await?);
    new.finish().map_err(failed("write"))?;
    if let Some(parts) = parts {
        parts.remove()?;
    }
    Ok(FetchedFile {
        file: target.to_owned(),
        bytes: component.plain_bytes,
        sha256: component.plain_sha256,
    })
}
