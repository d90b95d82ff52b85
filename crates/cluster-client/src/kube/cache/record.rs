//! Recorder of a list for later runs, which also checks it against the reports of the watches.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{CachedObjects, MOST_OBJECTS, ObjectCache, ReportedChange, Slot, Table};
use crate::kube::kept_objects::{Drift, ListRecorder, RecordFailure};
use crate::kube::kind::Kind;
use backup_core::archive::ResourceName;
use backup_core::num::to_u64;

/// Interval between checks of the watches' reports.
const PAUSE: Duration = Duration::from_millis(50);
/// Maximum number of differing objects that are checked one by one; further ones are only counted.
const MOST_SUSPECTS: usize = 1000;

/// Recorder of the objects of one list. If it is dropped before the end, nothing is kept.
pub(super) struct CacheRecorder {
    cache: Arc<ObjectCache>,
    kind: ResourceName,
    epoch: u64,
    table: Table,
    /// Objects kept before.
    before: Option<PreviousList>,
    /// Objects of this page that must be written: name, revision, JSON.
    page: Vec<(Box<str>, u64, Bytes)>,
    /// Reason why this list cannot be kept.
    failed: Option<RecordFailure>,
}

struct PreviousList {
    table: Arc<Table>,
    /// Changes reported since.
    changes: BTreeMap<Box<str>, ReportedChange>,
    /// Whether these are all changes, so that a difference is significant.
    heard: bool,
    /// Index of the first object that the list has not reached.
    next: usize,
    suspects: Suspects,
}

/// Objects whose state in the list differs from the kept one.
#[derive(Default)]
struct Suspects {
    /// Changed objects, with their revision in the list.
    changed: Vec<(Box<str>, u64)>,
    /// Objects that are not in the list.
    gone: Vec<Box<str>>,
    more: usize,
}

impl ObjectCache {
    /// Starts recording a list of `kind` that is about to be read; `None` if it cannot be kept.
    pub(super) fn record(self: &Arc<Self>, kind: &Kind) -> Option<CacheRecorder> {
        let mut state = self.lock();
        let heard = Self::mistrust_reason(&state, kind).is_none();
        let watched = state.kinds.get_mut(&kind.resource)?;
        if watched.version != kind.version || kind.converted {
            return None;
        }
        let changes = std::mem::take(&mut watched.changes);
        let before = match std::mem::replace(&mut watched.objects, CachedObjects::Listing) {
            CachedObjects::All(table) => Some(PreviousList {
                table,
                changes,
                heard,
                next: 0,
                suspects: Suspects::default(),
            }),
            _ => None,
        };
        Some(CacheRecorder {
            cache: Arc::clone(self),
            kind: kind.resource.clone(),
            epoch: watched.epoch,
            table: Table::default(),
            before,
            page: Vec::new(),
            failed: None,
        })
    }
}

#[async_trait]
impl ListRecorder for CacheRecorder {
    fn object(&mut self, name: &str, revision: &str, json: &Bytes) {
        let Ok(revision) = revision.parse() else {
            self.failed = Some(RecordFailure::Odd("its revisions are not numbers"));
            return;
        };
        self.page.push((name.into(), revision, json.clone()));
    }

    async fn flush(&mut self) {
        let page = std::mem::take(&mut self.page);
        if self.failed.is_some() {
            return;
        }
        if self.table.len().saturating_add(page.len()) > MOST_OBJECTS {
            self.failed = Some(RecordFailure::Odd("it has more objects than are kept"));
            return;
        }
        let mut slots = Vec::with_capacity(page.len());
        let mut bodies = Vec::new();
        for (name, revision, json) in &page {
            let slot = Slot {
                revision: *revision,
                at: 0,
                length: u32::try_from(json.len()).unwrap_or(u32::MAX),
                sum: crc32fast::hash(json),
            };
            let known = self
                .before
                .as_mut()
                .and_then(|b| b.unchanged_body(name, slot));
            if known.is_none() {
                bodies.push(json.clone());
            }
            slots.push((name, slot, known));
        }
        let mut places = match self.cache.put(bodies).await {
            Ok(places) => places.into_iter(),
            Err(e) => {
                self.failed = Some(RecordFailure::Scratch(e.to_string()));
                return;
            }
        };
        for (name, slot, known) in slots {
            let at = known.or_else(|| places.next()).unwrap_or_default();
            if !self.table.push(name, Slot { at, ..slot }) {
                self.failed = Some(RecordFailure::Odd("its list is not in the order of names"));
                return;
            }
        }
    }

    async fn finish(mut self: Box<Self>, deadline: Instant) -> Result<Drift, RecordFailure> {
        self.flush().await;
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.table.shrink();
        let table = Arc::new(std::mem::take(&mut self.table));
        let before = self.before.take();
        let (mut missing, mut drift) = (Vec::new(), Drift::default());
        {
            let mut state = self.cache.lock();
            let full = state.objects().saturating_add(table.len()) > MOST_OBJECTS;
            // If not, another watch has started meanwhile, or the definition changed.
            let Some(watched) = state.in_epoch(&self.kind, self.epoch) else {
                return Ok(drift);
            };
            if full {
                return Err(RecordFailure::Odd("there are more objects than are kept"));
            }
            if let Some(Suspects {
                changed,
                gone,
                more,
            }) = before.and_then(PreviousList::end)
            {
                for (name, revision) in changed {
                    let change = watched.changes.get(&name);
                    // The watch may still report changes that it has not reached.
                    if revision <= watched.place && change.is_none_or(|t| t.revision < revision) {
                        drift.add(&name, 1);
                    }
                }
                drift.objects = drift.objects.saturating_add(more);
                missing = gone;
            }
            watched.objects = CachedObjects::All(table);
        }
        // A list does not show when an object was deleted.
        while !missing.is_empty() {
            if let Some(watched) = self.cache.lock().in_epoch(&self.kind, self.epoch) {
                missing.retain(|name| !watched.changes.get(name).is_some_and(|change| change.gone));
            } else {
                missing.clear();
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(name) = missing.first() {
            drift.add(name, missing.len());
        }
        if drift.objects > 0 {
            let mut state = self.cache.lock();
            state.drifted = state.drifted.saturating_add(1);
        }
        Ok(drift)
    }
}

impl Drift {
    fn add(&mut self, name: &str, objects: usize) {
        if self.objects == 0 {
            name.clone_into(&mut self.first);
        }
        self.objects = self.objects.saturating_add(objects);
    }
}

impl PreviousList {
    /// Returns the position of an object's body, if the object is unchanged.
    fn unchanged_body(&mut self, name: &str, now: Slot) -> Option<u64> {
        while let Some((passed, _)) = self.table.get(self.next)
            && passed < name
        {
            let passed = Box::from(passed);
            self.suspect(passed, 0);
            self.next = self.next.saturating_add(1);
        }
        let slot = match self.table.get(self.next) {
            Some((known, slot)) if known == name => slot,
            _ => {
                self.suspect(name.into(), now.revision);
                return None;
            }
        };
        self.next = self.next.saturating_add(1);
        let same = Slot { at: slot.at, ..now } == slot;
        if !same {
            self.suspect(name.into(), now.revision);
        }
        same.then_some(slot.at)
    }

    /// Treats the objects that the list has not reached as deleted, and returns the differences.
    fn end(mut self) -> Option<Suspects> {
        while let Some((passed, _)) = self.table.get(self.next) {
            let passed = Box::from(passed);
            self.suspect(passed, 0);
            self.next = self.next.saturating_add(1);
        }
        self.heard.then_some(self.suspects)
    }

    /// Records an object whose state differs; the revision is 0 if it is not in the list.
    fn suspect(&mut self, name: Box<str>, revision: u64) {
        if self.changes.contains_key(&name) {
            return;
        }
        let Suspects {
            changed,
            gone,
            more,
        } = &mut self.suspects;
        if changed.len().saturating_add(gone.len()) >= MOST_SUSPECTS {
            *more = more.saturating_add(1);
        } else if revision > 0 {
            changed.push((name, revision));
        } else {
            gone.push(name);
        }
    }
}

impl Drop for CacheRecorder {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        if let Some(watched) = state.in_epoch(&self.kind, self.epoch)
            && matches!(watched.objects, CachedObjects::Listing)
        {
            watched.changes.clear();
            watched.objects = CachedObjects::Nothing("its last list could not be kept".to_owned());
        }
    }
}

impl ObjectCache {
    /// Writes `bodies` to the scratch file, and returns the position of each.
    pub(super) async fn put(self: &Arc<Self>, bodies: Vec<Bytes>) -> io::Result<Vec<u64>> {
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let cache = Arc::clone(self);
        let written = spawn_blocking(move || {
            let length = bodies.iter().map(Bytes::len).sum();
            let mut block = zeroize::Zeroizing::new(Vec::with_capacity(length));
            let (scratch, begin) = cache.reserve(to_u64(length))?;
            let mut places = Vec::with_capacity(bodies.len());
            for body in bodies {
                let at = to_u64(block.len());
                places.push(begin.saturating_add(at));
                block.extend_from_slice(&body);
            }
            scratch.put(begin, &mut block)?;
            Ok(places)
        });
        written.await.map_err(io::Error::other)?
    }
}
