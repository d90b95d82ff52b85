//! What was read of a cluster, kept for the next run: bodies in an encrypted scratch file, their places
//! in memory.
//!
//! The watches say which objects changed since, by their heads. A run for a change reads only those, one
//! by one, and takes all others from here; so it costs the API server what changed, not what there is.
//! Every doubt ends in a list: whether a kind is kept is never a question of what a restore point holds,
//! only of what it costs.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::discover::Kind;
use super::scope::CRDS;
use crate::archive::ResourceName;
use crate::scratch::Scratch;

mod pages;
mod record;
mod table;
mod tidy;
mod update;

pub(super) use pages::Pages;
pub(super) use record::{Drift, Failed, Recorder};
use table::{Slot, Table};

/// Objects that are kept at most: with 32 bytes and a name for each they take 40 MiB.
const MOST_OBJECTS: usize = 500_000;
/// The scratch file's size at most: Talos gives etcd 2 GiB, and half of the file may be dead.
const MOST_BYTES: u64 = 4 << 30;
/// What watches tell of a kind before it is taken as changed altogether: one object in so many, and as
/// many as cost nothing. To read 16 objects one by one costs an API server more than a list of 300.
const CHANGED_SHARE: usize = 16;
const CHANGED_ALWAYS: usize = 64;
/// The same while a list is being read, whose length is not known.
const CHANGED_MEANWHILE: usize = 4096;

/// See the module.
pub struct Kept {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holds {
    /// Objects whose bodies need not be read again.
    pub objects: u64,
    /// The size of the scratch file.
    pub bytes: u64,
    /// How often a list showed something else than the watches had told.
    pub drifted: u64,
}

#[derive(Default)]
struct Inner {
    /// The cluster and the version of its API server that everything was read from.
    origin: Option<(String, String)>,
    file: Option<File>,
    kinds: BTreeMap<ResourceName, Watched>,
    /// Epochs that were given out.
    epochs: u64,
    drifted: u64,
}

/// The scratch file. Places are given out once.
struct File {
    scratch: Arc<Scratch>,
    end: u64,
}

/// A kind that is watched.
struct Watched {
    /// Another one whenever what is known of it does not hold any more.
    epoch: u64,
    /// The version that its objects are read in.
    version: String,
    hears: Hears,
    /// Up to where its watch has heard.
    place: u64,
    /// What its watch told and what has not been read yet.
    told: BTreeMap<Box<str>, Told>,
    holding: Holding,
}

/// Whether a watch tells everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    No,
    /// It was away, and does when it has heard up to here.
    From(u64),
    Yes,
}

/// What there is of a kind.
enum Holding {
    /// Nothing, and why.
    Nothing(String),
    /// A list is being read.
    Listing,
    All(Arc<Table>),
}

/// The last thing that was told of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    revision: u64,
    gone: bool,
}

impl Told {
    /// Whether it came after the object was read. Where a deletion has the revision of the object that it
    /// took, it did.
    fn is_news_of(self, slot: Slot) -> bool {
        slot.revision < self.revision || (self.gone && slot.revision == self.revision)
    }
}

impl Kept {
    /// Nothing yet; its scratch file will be in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it can be left half-done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: other watches will begin.
    pub fn clear(&self) {
        let mut inner = self.lock();
        *inner = Inner {
            epochs: inner.epochs,
            drifted: inner.drifted,
            ..Inner::default()
        };
    }

    /// How much there is.
    #[must_use]
    pub fn holds(&self) -> Holds {
        let inner = self.lock();
        Holds {
            objects: u64::try_from(inner.objects()).unwrap_or(u64::MAX),
            bytes: inner.file.as_ref().map_or(0, |file| file.end),
            drifted: inner.drifted,
        }
    }

    /// Everything that follows is read from this cluster, by an API server of this version: another one
    /// may tell the same object in other words.
    pub(super) fn of(&self, uid: &str, version: &str) {
        let mut inner = self.lock();
        let origin = (uid.to_owned(), version.to_owned());
        if inner.origin.as_ref() != Some(&origin) {
            let first = inner.origin.is_none();
            inner.origin = Some(origin);
            let kinds: Vec<ResourceName> = inner.kinds.keys().cloned().collect();
            for kind in kinds.iter().filter(|_| !first) {
                inner.forget(kind, "the API server is another one now");
            }
        }
    }

    // What watches tell.

    /// The watch on `kind` begins at `place`: whatever happens from there on will be told.
    pub(super) fn began(&self, kind: &Kind, place: &str) {
        let mut inner = self.lock();
        // Extensions need not keep to the order of revisions, nor to telling everything.
        let Some(place) = place.parse().ok().filter(|_| !kind.aggregated) else {
            inner.kinds.remove(&kind.resource);
            return;
        };
        let epoch = inner.epoch();
        let watched = Watched {
            epoch,
            version: kind.version.clone(),
            hears: Hears::No,
            place,
            told: BTreeMap::new(),
            holding: Holding::Nothing("it was not read since its watch began".to_owned()),
        };
        inner.kinds.insert(kind.resource.clone(), watched);
    }

    /// The watch on `kind` is there and tells what comes; if it was away, it has told everything when it
    /// has come to the revision of `now`.
    pub(super) fn hears(&self, kind: &Kind, now: Option<&str>) {
        let mut inner = self.lock();
        let Some(watched) = inner.kinds.get_mut(&kind.resource) else {
            return;
        };
        match now.map(str::parse) {
            Some(Ok(now)) if now > watched.place => watched.hears = Hears::From(now),
            Some(Ok(_)) => watched.hears = Hears::Yes,
            // One that was ended in order goes on as it was.
            None if watched.hears == Hears::No => watched.hears = Hears::Yes,
            None | Some(Err(_)) => {}
        }
    }

    /// The watch on `kind` is away.
    pub(super) fn hears_not(&self, kind: &Kind) {
        if let Some(watched) = self.lock().kinds.get_mut(&kind.resource) {
            watched.hears = Hears::No;
        }
    }

    /// There is no watch on `kind` any more, or it has lost its place.
    pub(super) fn ended(&self, kind: &ResourceName) {
        self.lock().kinds.remove(kind);
    }

    /// The watch on `kind` has heard up to `revision`, and that `object` (`NAMESPACE/NAME`) was made or
    /// changed then, or is gone.
    pub(super) fn told(&self, kind: &Kind, revision: &str, object: Option<(String, bool)>) {
        let mut inner = self.lock();
        let objects = inner.objects();
        let Some(watched) = inner.kinds.get_mut(&kind.resource) else {
            return;
        };
        let Ok(revision) = revision.parse::<u64>() else {
            inner.forget(&kind.resource, "its revisions are no numbers");
            return;
        };
        watched.place = watched.place.max(revision);
        if matches!(watched.hears, Hears::From(place) if place <= revision) {
            watched.hears = Hears::Yes;
        }
        let Some((name, gone)) = object else {
            return;
        };
        let most = match &watched.holding {
            Holding::Nothing(_) => return,
            Holding::Listing => CHANGED_MEANWHILE,
            Holding::All(table) => {
                let known = table.find(&name);
                if known.is_some_and(|slot| !(Told { revision, gone }).is_news_of(slot)) {
                    return;
                }
                // A table that is full takes no new ones.
                (table.len() / CHANGED_SHARE + CHANGED_ALWAYS)
                    .min(MOST_OBJECTS.saturating_sub(objects))
            }
        };
        watched.told.insert(name.into(), Told { revision, gone });
        if watched.told.len() > most {
            inner.forget(
                &kind.resource,
                "so much of it changed that a list costs less",
            );
        }
    }

    /// What `definition` defines may be told in other words from now on.
    pub(super) fn defined(&self, definition: &str) {
        let kind = ResourceName::from(definition);
        self.lock().forget(&kind, "its definition changed");
    }

    // What runs ask.

    /// What is kept of `kind` does not hold, for `why`.
    fn forget(&self, kind: &ResourceName, why: &str) {
        self.lock().forget(kind, why);
    }

    /// Room for `bytes` bytes, and the file that they go to.
    fn room(&self, bytes: u64) -> io::Result<(Arc<Scratch>, u64)> {
        let mut inner = self.lock();
        let file = match &mut inner.file {
            Some(file) => file,
            none => none.insert(File {
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

    /// Why the objects of `kind`, as it is discovered now, cannot be kept or are not known for sure.
    fn doubt(inner: &Inner, kind: &Kind) -> Option<&'static str> {
        let Some(watched) = inner.kinds.get(&kind.resource) else {
            return Some("there is no watch on it now");
        };
        if kind.converted {
            return Some("a webhook converts its objects");
        }
        if watched.version != kind.version {
            return Some("it is served in another version now");
        }
        if watched.hears != Hears::Yes {
            return Some("its watch has not heard everything");
        }
        let heard = |kind: &str| {
            let definitions = inner.kinds.get(&ResourceName::from(kind));
            definitions.is_some_and(|definitions| definitions.hears == Hears::Yes)
        };
        (kind.custom && !heard(CRDS)).then_some("the watch on definitions has not heard everything")
    }
}

impl Inner {
    fn epoch(&mut self) -> u64 {
        self.epochs = self.epochs.saturating_add(1);
        self.epochs
    }

    fn objects(&self) -> usize {
        self.tables().map(|table| table.len()).sum()
    }

    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.kinds.values().filter_map(|w| match &w.holding {
            Holding::All(table) => Some(table),
            _ => None,
        })
    }

    /// The kind, if it is still in that epoch.
    fn in_epoch(&mut self, kind: &ResourceName, epoch: u64) -> Option<&mut Watched> {
        self.kinds.get_mut(kind).filter(|w| w.epoch == epoch)
    }

    fn forget(&mut self, kind: &ResourceName, why: &str) {
        let epoch = self.epoch();
        if let Some(watched) = self.kinds.get_mut(kind) {
            watched.epoch = epoch;
            watched.told.clear();
            watched.holding = Holding::Nothing(why.to_owned());
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({:?})", self.holds())
    }
}

#[cfg(test)]
mod tests;
