//! A list as it is being read, kept for later; and whether it shows what the watches had told.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{Holding, Kept, MOST_OBJECTS, Slot, Table, Told};
use crate::archive::ResourceName;
use crate::source::kube::discover::Kind;

/// Between two looks at what watches have told.
const PAUSE: Duration = Duration::from_millis(50);
/// Objects that a list shows otherwise and that are looked after; more are told as so many.
const MOST_SUSPECTS: usize = 1000;

/// Takes in the objects of one list. Dropped before its end it keeps nothing.
pub(in super::super) struct Recorder {
    kept: Arc<Kept>,
    kind: ResourceName,
    epoch: u64,
    table: Table,
    /// What was kept before.
    before: Option<Before>,
    /// Those of this page that must be written: name, revision, JSON.
    page: Vec<(Box<str>, u64, Bytes)>,
    /// Why this list cannot be kept.
    failed: Option<Failed>,
}

struct Before {
    table: Arc<Table>,
    /// What was told since.
    told: BTreeMap<Box<str>, Told>,
    /// Whether that is everything, so that a difference says something.
    heard: bool,
    /// The first that the list has not come to.
    next: usize,
    suspects: Suspects,
}

/// Objects that the list shows otherwise than they were kept.
#[derive(Default)]
struct Suspects {
    /// With their revision there.
    changed: Vec<(Box<str>, u64)>,
    /// It does not show them.
    gone: Vec<Box<str>>,
    more: usize,
}

/// Why a list is not kept.
#[derive(Debug)]
pub(in super::super) enum Failed {
    /// The scratch file cannot take it.
    Scratch(String),
    /// It is no list that can be kept.
    Odd(&'static str),
}

/// How a list that was kept differs from what watches had told.
#[derive(Debug, Default)]
pub(in super::super) struct Drift {
    /// How many objects.
    pub(in super::super) objects: usize,
    /// The first of them.
    pub(in super::super) first: String,
}

impl Kept {
    /// Takes in a list of `kind` that is about to be read; `None` if it cannot be kept.
    pub(in super::super) fn record(self: &Arc<Self>, kind: &Kind) -> Option<Recorder> {
        let mut inner = self.lock();
        let heard = Self::doubt(&inner, kind).is_none();
        let watched = inner.kinds.get_mut(&kind.resource)?;
        if watched.version != kind.version || kind.converted {
            return None;
        }
        let told = std::mem::take(&mut watched.told);
        let before = match std::mem::replace(&mut watched.holding, Holding::Listing) {
            Holding::All(table) => Some(Before {
                table,
                told,
                heard,
                next: 0,
                suspects: Suspects::default(),
            }),
            _ => None,
        };
        Some(Recorder {
            kept: Arc::clone(self),
            kind: kind.resource.clone(),
            epoch: watched.epoch,
            table: Table::default(),
            before,
            page: Vec::new(),
            failed: None,
        })
    }
}

impl Recorder {
    /// Takes an object in; they come in the order of their names (`NAMESPACE/NAME`).
    pub(in super::super) fn object(&mut self, name: &str, revision: &str, json: &Bytes) {
        let Ok(revision) = revision.parse() else {
            self.failed = Some(Failed::Odd("its revisions are no numbers"));
            return;
        };
        self.page.push((name.into(), revision, json.clone()));
    }

    /// Writes what came since the last time.
    pub(in super::super) async fn flush(&mut self) {
        let page = std::mem::take(&mut self.page);
        if self.failed.is_some() {
            return;
        }
        if self.table.len().saturating_add(page.len()) > MOST_OBJECTS {
            self.failed = Some(Failed::Odd("it has more objects than are kept"));
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
            let known = self.before.as_mut().and_then(|b| b.meet(name, slot));
            if known.is_none() {
                bodies.push(json.clone());
            }
            slots.push((name, slot, known));
        }
        let mut places = match self.kept.put(bodies).await {
            Ok(places) => places.into_iter(),
            Err(e) => {
                self.failed = Some(Failed::Scratch(e.to_string()));
                return;
            }
        };
        for (name, slot, known) in slots {
            let at = known.or_else(|| places.next()).unwrap_or_default();
            if !self.table.push(name, Slot { at, ..slot }) {
                self.failed = Some(Failed::Odd("its list is not in the order of names"));
                return;
            }
        }
    }

    /// The list has come to its end. Waits at most until `patience` for what watches have yet to tell.
    pub(in super::super) async fn finish(mut self, patience: Instant) -> Result<Drift, Failed> {
        self.flush().await;
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.table.shrink();
        let table = Arc::new(std::mem::take(&mut self.table));
        let before = self.before.take();
        let (mut missing, mut drift) = (Vec::new(), Drift::default());
        {
            let mut inner = self.kept.lock();
            let full = inner.objects().saturating_add(table.len()) > MOST_OBJECTS;
            // Otherwise another watch has begun meanwhile, or the definition changed.
            let Some(watched) = inner.in_epoch(&self.kind, self.epoch) else {
                return Ok(drift);
            };
            if full {
                return Err(Failed::Odd("there are more objects than are kept"));
            }
            if let Some(Suspects {
                changed,
                gone,
                more,
            }) = before.and_then(Before::end)
            {
                for (name, revision) in changed {
                    let told = watched.told.get(&name);
                    // What it has not come to yet it may still tell.
                    if revision <= watched.place && told.is_none_or(|t| t.revision < revision) {
                        drift.add(&name, 1);
                    }
                }
                drift.objects = drift.objects.saturating_add(more);
                missing = gone;
            }
            watched.holding = Holding::All(table);
        }
        // When something was deleted, no list tells.
        while !missing.is_empty() {
            if let Some(watched) = self.kept.lock().in_epoch(&self.kind, self.epoch) {
                missing.retain(|name| !watched.told.get(name).is_some_and(|told| told.gone));
            } else {
                missing.clear();
            }
            if Instant::now() >= patience {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(name) = missing.first() {
            drift.add(name, missing.len());
        }
        if drift.objects > 0 {
            let mut inner = self.kept.lock();
            inner.drifted = inner.drifted.saturating_add(1);
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

impl Before {
    /// Where an object lies already, if it is the same.
    fn meet(&mut self, name: &str, now: Slot) -> Option<u64> {
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

    /// What the list has not come to is not there any more.
    fn end(mut self) -> Option<Suspects> {
        while let Some((passed, _)) = self.table.get(self.next) {
            let passed = Box::from(passed);
            self.suspect(passed, 0);
            self.next = self.next.saturating_add(1);
        }
        self.heard.then_some(self.suspects)
    }

    /// Notes an object that is otherwise there; 0 if it is not.
    fn suspect(&mut self, name: Box<str>, revision: u64) {
        if self.told.contains_key(&name) {
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

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut inner = self.kept.lock();
        if let Some(watched) = inner.in_epoch(&self.kind, self.epoch)
            && matches!(watched.holding, Holding::Listing)
        {
            watched.told.clear();
            watched.holding = Holding::Nothing("its last list could not be kept".to_owned());
        }
    }
}

impl Kept {
    /// Writes `bodies` to the scratch file and tells where each is.
    pub(super) async fn put(self: &Arc<Self>, bodies: Vec<Bytes>) -> io::Result<Vec<u64>> {
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let kept = Arc::clone(self);
        let written = spawn_blocking(move || {
            let length = bodies.iter().map(Bytes::len).sum();
            let mut block = zeroize::Zeroizing::new(Vec::with_capacity(length));
            let (scratch, begin) = kept.room(u64::try_from(length).unwrap_or(u64::MAX))?;
            let mut places = Vec::with_capacity(bodies.len());
            for body in bodies {
                let at = u64::try_from(block.len()).unwrap_or(u64::MAX);
                places.push(begin.saturating_add(at));
                block.extend_from_slice(&body);
            }
            scratch.put(begin, &mut block)?;
            Ok(places)
        });
        written.await.map_err(io::Error::other)?
    }
}
