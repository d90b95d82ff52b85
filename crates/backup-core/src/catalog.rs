//! Committed restore points: listed, found by name, and read if somebody who is trusted signed them.

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

mod find;
mod hidden;
mod left_out;
mod load;
mod newest;

pub use self::hidden::Hidden;
pub use self::left_out::LeftOut;
pub use self::newest::{SKEW, View, is_future};

/// Manifests read at the same time: hides round trips, holds a few MiB at most.
pub(crate) const READS: usize = 8;
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
    /// Nobody who is trusted vouches for a manifest, so it was not read.
    #[error("restore point {id} is not trusted: its manifest is {verdict}")]
    Distrusted {
        /// The restore point.
        id: RestorePointId,
        /// What its signatures are worth.
        verdict: Verdict,
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
    /// When it was put, by the store's clock, if the store tells.
    pub put: Option<Timestamp>,
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

    /// All names of restore points, oldest first; about 200 bytes each in memory.
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
