//! Cache of the objects read from a cluster, for the next run: bodies in an encrypted scratch file,
//! their positions in memory.
//!
//! The watches report, by heads, which objects changed since. A run for a change reads only those, one
//! by one, and takes all others from here; so the load on the API server depends on the changes, not on
//! the number of objects. Any doubt leads to a new list: whether a kind is kept affects the cost of a
//! restore point, never its content.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kept_objects::{KeptObjects, ObjectKeeper as _};
use super::kind::Kind;
use super::scope::CRDS;
use backup_core::archive::ResourceName;
use backup_core::scratch::Scratch;

mod compact;
mod keeper;
mod pages;
mod record;
mod table;
mod update;

use table::{Slot, Table};

/// Maximum number of kept objects: with 32 bytes and a name for each they take 40 MiB.
const MOST_OBJECTS: usize = 500_000;
/// Largest scratch file: Talos gives etcd 2 GiB, and half of the file may be unused.
const MOST_BYTES: u64 = 4 << 30;
/// Limit of changes of a kind, above which it is listed again: one object in `CHANGED_SHARE`, plus
/// `CHANGED_ALWAYS`, which cost nothing. Reading 16 objects one by one costs an API server more than a
/// list of 300.
const CHANGED_SHARE: usize = 16;
const CHANGED_ALWAYS: usize = 64;
/// Maximum number of changes while a list is being read, whose length is not known yet.
const CHANGED_MEANWHILE: usize = 4096;

/// Cache of a cluster's objects; see the module.
pub struct ObjectCache {
    folder: PathBuf,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    /// UID of the cluster and version of the API server from which everything was read.
    origin: Option<(String, String)>,
    file: Option<ScratchFile>,
    kinds: BTreeMap<ResourceName, WatchedKind>,
    /// Number of epochs assigned so far.
    epochs: u64,
    drifted: u64,
}

/// Scratch file. Each position in it is assigned once.
struct ScratchFile {
    scratch: Arc<Scratch>,
    end: u64,
}

/// Kind that is watched.
struct WatchedKind {
    /// Epoch, which changes whenever the knowledge about the kind becomes invalid.
    epoch: u64,
    /// Version in which its objects are read.
    version: String,
    coverage: WatchCoverage,
    /// Revision up to which its watch has reported.
    place: u64,
    /// Changes that its watch reported and that were not read yet.
    changes: BTreeMap<Box<str>, ReportedChange>,
    objects: CachedObjects,
}

/// Whether a watch reports all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchCoverage {
    Interrupted,
    /// The watch was interrupted, and is complete again once it reaches this revision.
    CompleteFrom(u64),
    Complete,
}

/// Kept objects of a kind.
enum CachedObjects {
    /// None, with the reason.
    Nothing(String),
    /// A list is being read.
    Listing,
    All(Arc<Table>),
}

/// Last reported change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReportedChange {
    revision: u64,
    gone: bool,
}

impl ReportedChange {
    /// Reports whether the change came after the object was read. A deletion with the same revision as the
    /// deleted object came after it.
    fn is_newer_than(self, slot: Slot) -> bool {
        slot.revision < self.revision || (self.gone && slot.revision == self.revision)
    }
}

impl ObjectCache {
    /// Creates an empty cache; its scratch file will be in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        // A panic cannot leave the data half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the cluster and the version of its API server from which all following data is read: another
    /// version may render the same object differently.
    fn set_origin(&self, uid: &str, version: &str) {
        let mut state = self.lock();
        let origin = (uid.to_owned(), version.to_owned());
        if state.origin.as_ref() != Some(&origin) {
            let first = state.origin.is_none();
            state.origin = Some(origin);
            let kinds: Vec<ResourceName> = state.kinds.keys().cloned().collect();
            for kind in kinds.iter().filter(|_| !first) {
                state.forget(kind, "the API server is another one now");
            }
        }
    }

    /// Discards the kept objects of `kind`, with the reason `why`.
    fn forget(&self, kind: &ResourceName, why: &str) {
        self.lock().forget(kind, why);
    }

    /// Reserves `bytes` bytes, and returns the file and the position.
    fn reserve(&self, bytes: u64) -> io::Result<(Arc<Scratch>, u64)> {
        let mut state = self.lock();
        let file = match &mut state.file {
            Some(file) => file,
            none => none.insert(ScratchFile {
                scratch: Arc::new(Scratch::create(&self.folder, MOST_BYTES)?),
                end: 0,
            }),
        };
        let end = file.end.saturating_add(bytes);
        if end > MOST_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the scratch file would be larger than {MOST_BYTES} bytes"),
            ));
        }
        let at = std::mem::replace(&mut file.end, end);
        Ok((Arc::clone(&file.scratch), at))
    }

    /// Returns why the objects of `kind`, as now discovered, cannot be kept or may be outdated.
    fn mistrust_reason(state: &CacheState, kind: &Kind) -> Option<&'static str> {
        let Some(watched) = state.kinds.get(&kind.resource) else {
            return Some("there is no watch on it now");
        };
        if kind.converted {
            return Some("a webhook converts its objects");
        }
        if watched.version != kind.version {
            return Some("it is served in another version now");
        }
        if watched.coverage != WatchCoverage::Complete {
            return Some("its watch is not up to date");
        }
        let heard = |kind: &str| {
            let definitions = state.kinds.get(&ResourceName::from(kind));
            definitions.is_some_and(|definitions| definitions.coverage == WatchCoverage::Complete)
        };
        (kind.custom && !heard(CRDS)).then_some("the watch on definitions is not up to date")
    }
}

impl CacheState {
    fn epoch(&mut self) -> u64 {
        self.epochs = self.epochs.saturating_add(1);
        self.epochs
    }

    fn objects(&self) -> usize {
        self.tables().map(|table| table.len()).sum()
    }

    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.kinds.values().filter_map(|w| match &w.objects {
            CachedObjects::All(table) => Some(table),
            _ => None,
        })
    }

    /// Returns the kind, if it is still in that epoch.
    fn in_epoch(&mut self, kind: &ResourceName, epoch: u64) -> Option<&mut WatchedKind> {
        self.kinds.get_mut(kind).filter(|w| w.epoch == epoch)
    }

    fn forget(&mut self, kind: &ResourceName, why: &str) {
        let epoch = self.epoch();
        if let Some(watched) = self.kinds.get_mut(kind) {
            watched.epoch = epoch;
            watched.changes.clear();
            watched.objects = CachedObjects::Nothing(why.to_owned());
        }
    }
}

impl From<ObjectCache> for KeptObjects {
    fn from(cache: ObjectCache) -> Self {
        Self::by(Arc::new(cache))
    }
}

impl std::fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectCache({:?})", self.stats())
    }
}

#[cfg(test)]
mod tests;
