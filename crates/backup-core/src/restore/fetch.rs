//! Fetching a component as a file: bit for bit, whole or not at all, and resumable.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::assemble::{Assembly, assemble};
use super::early::EarlyFile;
use super::keys::Unlocked;
use super::objects::Objects;
use crate::catalog::RestorePoint;
use crate::digest::Digest;
use crate::format::manifest::Component;
use crate::id::ComponentName;
use crate::progress::Progress;
use crate::store::Store;

/// A component that is now a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, equal to the manifest's.
    pub sha256: Digest,
}

/// The component of that name, or an error that tells which there are.
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

/// Writes component `name` of `point` to `target`, mode 0600. An existing file is replaced only
/// when the new one is complete. Downloads are kept in `TARGET.parts/`, as stored, until then, so
/// that the same call after an interruption goes on from there; where the store is a folder, they
/// are not.
///
/// # Errors
/// As [`RestoreError`] says; `target` is then as it was.
pub async fn fetch(
    store: Arc<dyn Store>,
    point: &RestorePoint,
    unlocked: Unlocked,
    name: &ComponentName,
    target: &Path,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<Fetched, RestoreError> {
    let component = find_component(point, name)?;
    let parts = beside(target, ".parts");
    let part = beside(target, ".part");
    let failed = |operation: &'static str, file: &Path| {
        let file = file.display().to_string();
        move |source| RestoreError::File {
            operation,
            file,
            source,
        }
    };
    let keep = !store.is_folder();
    if keep {
        // Folders above it are not made: a misspelt path should not fill another disk.
        match std::fs::DirBuilder::new().mode(0o700).create(&parts) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed("create the folder", &parts)(source));
            }
            _ => {}
        }
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed("create", &part))?;
    let guard = RemoveOnDrop(part.clone());

    let folder = folder_of(target);
    let objects = Objects {
        store,
        id: point.entry.id.clone(),
        folder: keep.then(|| parts.clone()),
    };
    let assembly = Assembly {
        objects,
        unlocked: Arc::new(unlocked),
        progress,
        cancel,
        file: Some(part.clone()),
    };
    let file = EarlyFile::new(file);
    let file = assemble(&assembly, component, &folder, file).await?;
    file.sync().map_err(failed("write", &part))?;
    std::fs::rename(&part, target).map_err(failed("rename to", target))?;
    std::mem::forget(guard);
    File::open(&folder)
        .and_then(|f| f.sync_all())
        .map_err(failed("sync the folder", &folder))?;
    if keep {
        std::fs::remove_dir_all(&parts).map_err(failed("remove", &parts))?;
    }
    Ok(Fetched {
        file: target.to_owned(),
        bytes: component.plain_bytes,
        sha256: component.plain_sha256,
    })
}

fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn folder_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A half-written file holds plain Secrets, so it never outlives the call that wrote it.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), error = %e, "cannot remove a half-written file");
        }
    }
}
