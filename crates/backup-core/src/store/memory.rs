//! Store in memory for tests; stricter than real stores, to catch wrong assumptions.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{
    Access, ArchiveState, CreateOutcome, Key, MAX_OBJECT, ObjectInfo, Page, Probe, Store,
    StoreError, cut, probe_twice,
};
use crate::clock::{Clock as _, FixedClock};
use crate::digest::Digest;
use crate::num::to_u64;

/// Keys per page: few and odd, so that a caller that does not request the next page fails early.
const PAGE: usize = 7;

/// Store of objects in memory. A page has seven keys, and listings report no checksums. The store has its own
/// clock, which stands still until a test moves it.
#[derive(Debug)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, MemoryObject>>,
    clock: Option<FixedClock>,
}

/// Initial time of its clock.
const BEGIN: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            clock: Some(FixedClock::new(BEGIN)),
        }
    }
}

#[derive(Debug)]
struct MemoryObject {
    key: Key,
    bytes: Bytes,
    digest: Digest,
    modified: Option<Timestamp>,
    access: Access,
    /// Whether a listing hides that the object is archived.
    tier: bool,
    /// Whether listings leave the object out.
    hidden: bool,
}

impl MemoryObject {
    /// Refuses to read an archived object, as S3 does.
    fn readable(&self) -> Result<(), StoreError> {
        match &self.access {
            Access::Archived(archived) if !archived.copied => Err(StoreError::Archived {
                store: "memory".to_owned(),
                key: self.key.clone(),
                archived: Box::new(archived.clone()),
            }),
            _ => Ok(()),
        }
    }
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces an object's bytes and leaves its recorded checksum, as a failing disk would; returns `false`
    /// if the object does not exist.
    pub fn damage(&self, key: &Key, bytes: Bytes) -> bool {
        self.objects()
            .get_mut(key.as_str())
            .map(|stored| stored.bytes = bytes)
            .is_some()
    }

    /// Returns an empty store that reports no time.
    #[must_use]
    pub fn without_clock() -> Self {
        Self {
            clock: None,
            ..Self::default()
        }
    }

    fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(FixedClock::now)
    }

    /// Advances the clock by `time`.
    pub fn pass(&self, time: SignedDuration) {
        if let Some(clock) = &self.clock {
            clock.advance(time);
        }
    }

    /// Removes an object; returns `false` if it does not exist.
    pub fn remove(&self, key: &Key) -> bool {
        self.objects().remove(key.as_str()).is_some()
    }

    /// Leaves an object out of listings, like a store that cuts them short; returns `false` if it does not
    /// exist.
    pub fn hide(&self, key: &Key) -> bool {
        let mut objects = self.objects();
        let stored = objects.get_mut(key.as_str());
        stored.map(|stored| stored.hidden = true).is_some()
    }

    /// Moves an object to an archive, as a lifecycle rule does; returns `false` if it does not exist. With
    /// `tier` the store does so on its own, which a listing does not show.
    pub fn archive(&self, key: &Key, class: &str, tier: bool) -> bool {
        let archived = Access::Archived(ArchiveState {
            class: class.to_owned(),
            copied: false,
            remedy: format!("restore the object first: `restore {key}`"),
        });
        let mut objects = self.objects();
        let stored = objects.get_mut(key.as_str());
        stored
            .map(|stored| {
                stored.access = archived;
                stored.tier = tier;
            })
            .is_some()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, MemoryObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_found(&self, key: &Key) -> StoreError {
        StoreError::NotFound {
            store: self.describe(),
            key: key.clone(),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn create(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<CreateOutcome, StoreError> {
        if bytes.len() > MAX_OBJECT {
            return Err(StoreError::TooLarge {
                store: self.describe(),
                key: key.clone(),
                size: to_u64(bytes.len()),
            });
        }
        if Digest::of(&bytes) != digest {
            return Err(StoreError::Checksum {
                store: self.describe(),
                key: key.clone(),
            });
        }
        // Yields to other tasks, as every real store does.
        tokio::task::yield_now().await;
        let mut objects = self.objects();
        if objects.contains_key(key.as_str()) {
            return Ok(CreateOutcome::Existed);
        }
        let stored = MemoryObject {
            key: key.clone(),
            bytes,
            digest,
            modified: self.now(),
            access: Access::AtOnce,
            tier: false,
            hidden: false,
        };
        objects.insert(key.as_str().to_owned(), stored);
        Ok(CreateOutcome::New)
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let objects = self.objects();
        let stored = objects
            .get(key.as_str())
            .ok_or_else(|| self.not_found(key))?;
        stored.readable()?;
        // As in S3, which checks the bytes against the recorded checksum.
        if Digest::of(&stored.bytes) != stored.digest {
            return Err(StoreError::Checksum {
                store: self.describe(),
                key: key.clone(),
            });
        }
        Ok(stored.bytes.clone())
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let objects = self.objects();
        let stored = objects
            .get(key.as_str())
            .ok_or_else(|| self.not_found(key))?;
        stored.readable()?;
        Ok(cut(&stored.bytes, range))
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let objects = self.objects();
        let stored = objects
            .get(key.as_str())
            .ok_or_else(|| self.not_found(key))?;
        Ok(ObjectInfo {
            key: key.clone(),
            size: to_u64(stored.bytes.len()),
            recorded: Some(stored.digest),
            modified: stored.modified,
            access: stored.access.clone(),
        })
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, StoreError> {
        let objects = self.objects();
        let start = match &from {
            Some(last) => Bound::Excluded(last.as_str()),
            None => Bound::Included(prefix),
        };
        let mut found = objects
            .range::<str, _>((start, Bound::Unbounded))
            .skip_while(|(name, _)| name.as_str() < prefix)
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter(|(_, stored)| !stored.hidden)
            .map(|(_, stored)| ObjectInfo {
                key: stored.key.clone(),
                size: to_u64(stored.bytes.len()),
                recorded: None,
                modified: stored.modified,
                access: match stored.tier {
                    true => Access::Tiered,
                    false => stored.access.clone(),
                },
            });
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let next = match (found.next(), page.last()) {
            (Some(_), Some(last)) => Some(last.key.to_string()),
            _ => None,
        };
        Ok(Page {
            objects: page,
            foreign: Vec::new(),
            markers: Vec::new(),
            next,
        })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.remove(key);
        Ok(())
    }

    async fn probe(&self) -> Result<Probe, StoreError> {
        probe_twice(self).await
    }

    async fn date(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.now())
    }
}
