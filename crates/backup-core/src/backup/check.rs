//! Check, by size and checksum, that the store has every object that a run put: after the commit, and in a
//! long run also before it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};

use super::{BackupError, NewRestorePoint, Run};
use crate::catalog::Catalog;
use crate::crypt::Trust;
use crate::digest::Digest;
use crate::format::layout;
use crate::format::manifest::{Manifest, StoredObject};
use crate::num::to_u64;
use crate::store::{Key, StoreError};

/// Heads requested at the same time: hides round trips, and each answer is only some headers.
const HEADS: usize = 8;
/// Objects read at the same time, which limits memory: each has up to 16 MiB.
const READS: usize = 4;

/// Checks the objects that `manifest` names and its parent does not, before the manifest is put.
pub(super) async fn before(run: &Run, manifest: &Manifest) -> Result<(), BackupError> {
    match look_at(run, own(run, manifest).await).await {
        Err(BackupError::Lost { key }) => Err(BackupError::Removed { key }),
        other => other,
    }
}

/// Checks the objects that `committed` names and its parent does not, and its manifest.
pub(super) async fn check(run: &Run, committed: &NewRestorePoint) -> Result<u64, BackupError> {
    let named = own(run, &committed.manifest).await;
    let manifest = layout::manifest(committed.manifest.began, committed.digest);
    let found = look(run, &manifest).await?;
    if found
        .recorded
        .is_some_and(|recorded| recorded != committed.digest)
    {
        return Err(BackupError::Lost { key: manifest });
    }
    let count = to_u64(named.len()).saturating_add(1);
    look_at(run, named).await?;
    Ok(count)
}

/// Returns the objects that a manifest names and its parent does not.
async fn own(run: &Run, manifest: &Manifest) -> BTreeMap<Key, StoredObject> {
    let mut named = objects(manifest);
    if let Some(parent) = parent(run, manifest).await {
        for key in objects(&parent).into_keys() {
            named.remove(&key);
        }
    }
    named
}

async fn look_at(run: &Run, named: BTreeMap<Key, StoredObject>) -> Result<(), BackupError> {
    futures::stream::iter(named)
        .map(|(key, object)| async move {
            let found = look(run, &key).await?;
            let same = found
                .recorded
                .is_none_or(|recorded| recorded == object.sha256);
            if same && found.size == object.bytes {
                Ok(())
            } else {
                Err(BackupError::Lost { key })
            }
        })
        .buffer_unordered(HEADS)
        .try_collect::<()>()
        .await
}

/// Reads every object that `committed` names, and compares its bytes with its name.
pub(super) async fn read_back(run: &Run, committed: &NewRestorePoint) -> Result<u64, BackupError> {
    let mut named = objects(&committed.manifest);
    let manifest = layout::manifest(committed.manifest.began, committed.digest);
    let named_by_manifest = StoredObject {
        sha256: committed.digest,
        bytes: 0,
    };
    named.insert(manifest, named_by_manifest);
    let count = to_u64(named.len());
    run.progress.step("reading back what was stored", None);
    futures::stream::iter(named)
        .map(|(key, object)| async move {
            let bytes = match run.store.get(&key).await {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound { .. }) => return Err(BackupError::Lost { key }),
                Err(source) => {
                    let what = "what was just put";
                    return Err(BackupError::Read { what, source });
                }
            };
            run.progress.advance(to_u64(bytes.len()));
            if Digest::of(&bytes) == object.sha256 {
                Ok(())
            } else {
                Err(BackupError::Lost { key })
            }
        })
        .buffer_unordered(READS)
        .try_collect::<()>()
        .await?;
    Ok(count)
}

async fn look(run: &Run, key: &Key) -> Result<crate::store::ObjectInfo, BackupError> {
    match run.store.head(key).await {
        Ok(found) => Ok(found),
        Err(StoreError::NotFound { .. }) => Err(BackupError::Lost { key: key.clone() }),
        Err(source) => Err(BackupError::Read {
            what: "what was just put",
            source,
        }),
    }
}

/// Returns the manifest of the run's parent, whose objects an earlier run put. With `None`, all objects are
/// checked.
async fn parent(run: &Run, manifest: &Manifest) -> Option<Manifest> {
    let parent = manifest.parent.as_ref()?;
    let catalog = Catalog::new(std::sync::Arc::clone(&run.store));
    let entry = catalog
        .named(parent.id.as_str(), &Trust::Anyone)
        .await
        .ok()?;
    let point = catalog.load(&entry, &Trust::Anyone).await.ok()?;
    (point.entry.digest == parent.manifest).then_some(point.manifest)
}

/// Returns every object that a manifest names, with its key.
fn objects(manifest: &Manifest) -> BTreeMap<Key, StoredObject> {
    let keys = manifest.epochs().iter();
    let keys = keys.map(|epoch| (layout::epoch_key(epoch.key.sha256), epoch.key.clone()));
    let indexes = manifest.indexes.iter();
    let indexes = indexes.map(|index| (layout::index(index.sha256), index.clone()));
    let parts = manifest.components.iter().flat_map(|component| {
        let packs = component.packs.iter().map(|pack| StoredObject {
            sha256: pack.sha256,
            bytes: pack.bytes,
        });
        let packs = packs.map(|pack| (layout::pack(pack.sha256), pack));
        let recipes = component.recipes.iter();
        packs.chain(recipes.map(|recipe| (layout::recipe(recipe.sha256), recipe.clone())))
    });
    keys.chain(indexes).chain(parts).collect()
}
