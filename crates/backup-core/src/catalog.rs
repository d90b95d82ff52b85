//! Catalogue of committed restore points: lists them, finds them by name, and reads those with a trusted
//! signature.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::crypt::Verdict;
use crate::digest::Digest;
use crate::format::FormatError;
use crate::format::layout::{self, ObjectKind};
use crate::format::manifest::{Manifest, StoredObject};
use crate::id::RestorePointId;
use crate::store::{Key, ObjectInfo, Page, Store, StoreError};

mod exclusions;
mod find;
mod hidden;
mod load;
mod newest;

pub use self::exclusions::Exclusions;
pub use self::hidden::HiddenPoint;
pub use self::newest::{ReadPolicy, SKEW, is_future};

/// Manifests read at the same time: hides round trips, holds a few MiB at most.
pub(crate) const READS: usize = 8;
/// Largest signature file that is read.
const MAX_SIGNATURE: u64 = 4096;

/// Error of the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store failed.
    #[error("cannot read the catalogue of {store}")]
    Store {
        /// Description of the store.
        store: String,
        /// Error of the store.
        source: StoreError,
    },
    /// A manifest's bytes do not match its name.
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
    /// A manifest is stored under another time than its own.
    #[error(
        "the manifest named {id} is that of restore point {real}: somebody stored it under another \
         time, so that an old restore point looks like a new one; restore from {real}, and run \
         `restore-cli audit`"
    )]
    Renamed {
        /// Restore point in its name.
        id: RestorePointId,
        /// Restore point that it really is.
        real: RestorePointId,
    },
    /// A manifest cannot be read.
    #[error("cannot read the manifest of restore point {id}")]
    Manifest {
        /// The restore point.
        id: RestorePointId,
        /// Cause.
        source: FormatError,
    },
    /// A manifest has no trusted signature, so it was not read.
    #[error("restore point {id} is not trusted: its manifest is {verdict}")]
    Distrusted {
        /// The restore point.
        id: RestorePointId,
        /// Verdict on its signatures.
        verdict: Verdict,
    },
    /// There is no restore point of that name.
    #[error("{store} has no restore point `{wanted}`{hint}")]
    NoSuch {
        /// Description of the store.
        store: String,
        /// Requested name.
        wanted: String,
        /// Hint about existing names.
        hint: String,
    },
    /// Several restore points begin with the requested name.
    #[error(
        "`{wanted}` is the start of {count} restore points, {first} and {second} among them; give more \
         digits"
    )]
    Ambiguous {
        /// Requested name.
        wanted: String,
        /// Number of matches.
        count: usize,
        /// One match.
        first: RestorePointId,
        /// Another match.
        second: RestorePointId,
    },
}

/// Restore point in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CatalogEntry {
    /// Id of the restore point.
    pub id: RestorePointId,
    /// SHA-256 of its manifest, from the name.
    pub digest: Digest,
    /// Key of the manifest.
    pub key: Key,
    /// Size of the manifest in bytes.
    pub bytes: u64,
    /// Time when it was put, by the store's clock, if known.
    pub put: Option<Timestamp>,
}

/// Restore point whose manifest was read, and whose bytes match its name.
#[derive(Debug, Clone)]
pub struct RestorePoint {
    /// Entry in the catalogue.
    pub entry: CatalogEntry,
    /// Manifest of the restore point.
    pub manifest: Manifest,
    /// Verdict on its signatures.
    pub verdict: Verdict,
    /// Signature objects.
    pub signatures: Vec<StoredObject>,
}

impl RestorePoint {
    /// Returns the restore point that this one was built upon, if it is not listed: it was deleted, or the
    /// listing is cut short. `listed` has the digests of the listed manifests.
    #[must_use]
    pub fn lost_parent(&self, listed: &HashSet<Digest>) -> Option<&RestorePointId> {
        let parent = self.manifest.parent.as_ref()?;
        (!listed.contains(&parent.manifest)).then_some(&parent.id)
    }
}

/// Catalogue of one store.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
}

impl Catalog {
    /// Creates the catalogue of `store`.
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

    /// Returns all names of restore points, oldest first; about 200 bytes each in memory.
    ///
    /// # Errors
    /// If the store cannot be listed.
    pub async fn list(&self) -> Result<Vec<CatalogEntry>, CatalogError> {
        let objects = all_objects(self.store.as_ref(), layout::MANIFESTS).await;
        let mut entries: Vec<CatalogEntry> = objects
            .map_err(|e| self.failed(e))?
            .into_iter()
            .filter_map(|object| match ObjectKind::of(&object.key)? {
                ObjectKind::Manifest { id, digest } => Some(CatalogEntry {
                    id,
                    digest,
                    key: object.key,
                    bytes: object.size,
                    put: object.modified,
                }),
                _ => None,
            })
            .collect();
        entries.sort();
        Ok(entries)
    }
}

/// Lists everything below `prefix`, page by page.
pub fn list_pages<'s>(
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

/// Reports whether a failure is about one object, and not about the store.
pub(crate) fn about_object(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. }
            | StoreError::Archived { .. }
            | StoreError::Checksum { .. }
            | StoreError::TooLarge { .. }
    )
}
