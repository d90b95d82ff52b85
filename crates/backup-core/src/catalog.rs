//! Committed restore points: listed, found by name, and read with their signatures.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::crypt::{Trust, Verdict};
use crate::digest::Digest;
use crate::format::FormatError;
use crate::format::layout::{self, ObjectKind};
use crate::format::manifest::{MAX_MANIFEST, Manifest, StoredObject};
use crate::id::RestorePointId;
use crate::store::{Key, ObjectInfo, Page, Store, StoreError};

mod hidden;
mod newest;

pub use self::hidden::Hidden;

/// Manifests read at the same time: hides round trips, holds a few MiB at most.
const READS: usize = 8;
/// Signatures read for one manifest; more than this many co-signers are not looked at.
const MAX_SIGNATURES: usize = 16;
/// The largest signature file that is read.
const MAX_SIGNATURE: u64 = 4096;

/// What can go wrong with the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store failed.
    #[error("cannot read the catalogue of {store}")]
    Store {
        /// The store's description.
        store: String,
        /// The failure.
        source: StoreError,
    },
    /// A manifest is not what its name says.
    #[error(
        "the manifest of restore point {id} was changed: its bytes have SHA-256 {found}, its name \
         says {expected}; do not restore from it, and run `restore-cli audit`"
    )]
    Changed {
        /// The restore point.
        id: RestorePointId,
        /// The digest in its name.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A manifest lies under a time that is not its own.
    #[error(
        "the manifest named {id} is that of restore point {real}: somebody stored it under another \
         time, so that an old restore point looks like a new one; restore from {real}, and run \
         `restore-cli audit`"
    )]
    Renamed {
        /// The restore point that its name says.
        id: RestorePointId,
        /// The one that it is.
        real: RestorePointId,
    },
    /// A manifest cannot be read.
    #[error("cannot read the manifest of restore point {id}")]
    Manifest {
        /// The restore point.
        id: RestorePointId,
        /// Why not.
        source: FormatError,
    },
    /// No restore point of that name.
    #[error("{store} has no restore point `{wanted}`{hint}")]
    NoSuch {
        /// The store's description.
        store: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        hint: String,
    },
    /// Several restore points begin so.
    #[error(
        "`{wanted}` begins {count} restore points, among them {first} and {second}; give more digits"
    )]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// How many.
        count: usize,
        /// One of them.
        first: RestorePointId,
        /// Another.
        second: RestorePointId,
    },
}

/// A restore point in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its id.
    pub id: RestorePointId,
    /// The SHA-256 of its manifest, from the name.
    pub digest: Digest,
    /// The manifest's key.
    pub key: Key,
    /// The manifest's size in bytes.
    pub bytes: u64,
}

/// A restore point whose manifest was read and whose bytes are what its name says.
#[derive(Debug, Clone)]
pub struct RestorePoint {
    /// Its place in the catalogue.
    pub entry: Entry,
    /// What it consists of.
    pub manifest: Manifest,
    /// What its signatures are worth.
    pub verdict: Verdict,
    /// Its signature objects.
    pub signatures: Vec<StoredObject>,
}

impl RestorePoint {
    /// The restore point that it was built upon, if no listing shows that: it was deleted, or the listing
    /// is cut short. `listed` are the digests of the manifests that are listed.
    #[must_use]
    pub fn lost_parent(&self, listed: &HashSet<Digest>) -> Option<&RestorePointId> {
        let parent = self.manifest.parent.as_ref()?;
        (!listed.contains(&parent.manifest)).then_some(&parent.id)
    }
}

/// The catalogue of one store.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
}

impl Catalog {
    /// The catalogue of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    fn failed(&self, source: StoreError) -> CatalogError {
        CatalogError::Store {
            store: self.store.describe(),
            source,
        }
    }

    /// All restore points, oldest first; about 200 bytes each in memory.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn list(&self) -> Result<Vec<Entry>, CatalogError> {
        let objects = all_objects(self.store.as_ref(), layout::MANIFESTS).await;
        let mut entries: Vec<Entry> = objects
            .map_err(|e| self.failed(e))?
            .into_iter()
            .filter_map(|object| match ObjectKind::of(&object.key)? {
                ObjectKind::Manifest { id, digest } => Some(Entry {
                    id,
                    digest,
                    key: object.key,
                    bytes: object.size,
                }),
                _ => None,
            })
            .collect();
        entries.sort();
        Ok(entries)
    }

    /// The restore point that `wanted` names: `latest`, an id, or a prefix of exactly one.
    ///
    /// # Errors
    /// When there is none or several, or the store cannot be listed.
    pub async fn find(&self, wanted: &str) -> Result<Entry, CatalogError> {
        let mut entries = self.list().await?;
        if wanted == "latest"
            && let Some(latest) = entries.pop()
        {
            return Ok(latest);
        }
        let newest = entries.last().map(|e| e.id.clone());
        entries.retain(|e| !wanted.is_empty() && e.id.as_str().starts_with(wanted));
        match entries.as_slice() {
            [one] => Ok(one.clone()),
            [first, second, ..] => Err(CatalogError::Ambiguous {
                wanted: wanted.to_owned(),
                count: entries.len(),
                first: first.id.clone(),
                second: second.id.clone(),
            }),
            [] => Err(CatalogError::NoSuch {
                store: self.store.describe(),
                wanted: wanted.to_owned(),
                hint: newest.map_or_else(
                    || "; it has none at all".to_owned(),
                    |id| format!("; the newest is {id}, `restore-cli list` shows all"),
                ),
            }),
        }
    }

    /// Reads a restore point's manifest, checks it against its name and judges its signatures.
    ///
    /// # Errors
    /// When the manifest is missing, changed or unreadable. A bad signature is no error here:
    /// it is the verdict.
    pub async fn load(&self, entry: &Entry, trust: &Trust) -> Result<RestorePoint, CatalogError> {
        let bytes = self
            .store
            .get(&entry.key)
            .await
            .map_err(|e| self.failed(e))?;
        let found = Digest::of(&bytes);
        if found != entry.digest {
            let (id, expected) = (entry.id.clone(), entry.digest);
            return Err(CatalogError::Changed {
                id,
                expected,
                found,
            });
        }
        let unreadable = |source| CatalogError::Manifest {
            id: entry.id.clone(),
            source,
        };
        if bytes.len() > MAX_MANIFEST {
            return Err(unreadable(FormatError::damaged(
                "manifest",
                "it is above 4 MiB",
            )));
        }
        let manifest = Manifest::parse(&bytes).map_err(unreadable)?;
        // A signature covers the content alone, so the content must vouch for the name's time.
        let real = RestorePointId::new(manifest.began, found);
        if real != entry.id {
            let id = entry.id.clone();
            return Err(CatalogError::Renamed { id, real });
        }
        let (signatures, texts) = self.signatures(entry).await?;
        let verdict = trust.judge(&bytes, &texts);
        Ok(RestorePoint {
            entry: entry.clone(),
            manifest,
            verdict,
            signatures,
        })
    }

    async fn signatures(
        &self,
        entry: &Entry,
    ) -> Result<(Vec<StoredObject>, Vec<String>), CatalogError> {
        let folder = layout::signatures_of(entry.digest);
        let found = all_objects(self.store.as_ref(), &folder);
        let found = found.await.map_err(|e| self.failed(e))?;
        let (mut objects, mut texts) = (Vec::new(), Vec::new());
        for object in found.into_iter().take(MAX_SIGNATURES) {
            let Some(ObjectKind::Signature { digest, .. }) = ObjectKind::of(&object.key) else {
                continue;
            };
            if object.size > MAX_SIGNATURE {
                continue;
            }
            let text = self
                .store
                .get(&object.key)
                .await
                .map_err(|e| self.failed(e))?;
            texts.push(String::from_utf8_lossy(&text).into_owned());
            objects.push(StoredObject {
                sha256: digest,
                bytes: object.size,
            });
        }
        Ok((objects, texts))
    }

    /// Reads many restore points, a few at a time, in the order given; each may fail by itself.
    pub async fn load_all(
        &self,
        entries: &[Entry],
        trust: &Trust,
    ) -> Vec<Result<RestorePoint, CatalogError>> {
        // No closure: the compiler could not see that the whole may cross threads.
        let mut loads = Vec::with_capacity(entries.len());
        for entry in entries {
            loads.push(self.load(entry, trust));
        }
        futures::stream::iter(loads).buffered(READS).collect().await
    }
}

/// Lists everything below `prefix`, page by page.
pub(crate) fn list_pages<'s>(
    store: &'s dyn Store,
    prefix: &'s str,
) -> impl futures::Stream<Item = Result<Page, StoreError>> + 's {
    futures::stream::try_unfold(Some(None), move |from| async move {
        let Some(from) = from else {
            return Ok(None);
        };
        let mut page = store.list(prefix, from).await?;
        let next = page.next.take().map(Some);
        Ok(Some((page, next)))
    })
}

async fn all_objects(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
    list_pages(store, prefix)
        .map_ok(|page| page.objects)
        .try_concat()
        .await
}

/// Whether a failure tells of one object, and not of the store.
pub(crate) fn about_object(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. }
            | StoreError::Archived { .. }
            | StoreError::Checksum { .. }
            | StoreError::TooLarge { .. }
    )
}
