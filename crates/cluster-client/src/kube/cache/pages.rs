//! Pages of a kept kind, in the form that a list has.

use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::update::CacheSnapshot;
use super::{ObjectCache, Slot};
use crate::kube::list::Page;
use backup_core::archive::ResourceName;
use backup_core::scratch::Scratch;

/// Largest page in objects and in bytes, as in a list.
const PAGE: usize = 500;
const MAX_PAGE: usize = 8 << 20;

/// Reader of the pages; see the module.
pub(in super::super) struct CachedPages {
    snapshot: Arc<CacheSnapshot>,
    next: usize,
}

impl CachedPages {
    pub(in super::super) fn new(snapshot: CacheSnapshot) -> Self {
        Self {
            snapshot: Arc::new(snapshot),
            next: 0,
        }
    }

    pub(in super::super) fn snapshot(&self) -> &CacheSnapshot {
        &self.snapshot
    }

    /// Returns the next page; `None` at the end.
    pub(in super::super) async fn next(&mut self) -> io::Result<Option<Page>> {
        let (snapshot, from) = (Arc::clone(&self.snapshot), self.next);
        if from >= snapshot.table.len() {
            return Ok(None);
        }
        let read = spawn_blocking(move || page(&snapshot, from)).await;
        let items = read.map_err(io::Error::other)??;
        self.next = self.next.saturating_add(items.len());
        Ok(Some(Page { items }))
    }
}

fn page(snapshot: &CacheSnapshot, from: usize) -> io::Result<Vec<Bytes>> {
    let Some(scratch) = &snapshot.scratch else {
        return Err(io::Error::other("there is no scratch file"));
    };
    let (mut items, mut bytes) = (Vec::with_capacity(PAGE), 0_usize);
    let mut slots = (from..).map_while(|index| snapshot.table.get(index));
    while items.len() < PAGE && bytes < MAX_PAGE {
        let Some((_, slot)) = slots.next() else {
            break;
        };
        let json = body(scratch, slot)?;
        bytes = bytes.saturating_add(json.len());
        items.push(json.into());
    }
    Ok(items)
}

/// Returns the body in `slot`, if it is unchanged since it was written.
pub(super) fn body(scratch: &Scratch, slot: Slot) -> io::Result<Vec<u8>> {
    let length = u64::from(slot.length);
    let mut json = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    scratch.reader(slot.at, length).read_to_end(&mut json)?;
    if crc32fast::hash(&json) != slot.sum {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the scratch file does not hold what was written to it",
        ));
    }
    Ok(json)
}

impl ObjectCache {
    /// Records that the kept objects of `kind` could not be read back.
    pub(in super::super) fn unreadable(&self, kind: &ResourceName, error: &io::Error) {
        tracing::warn!(%kind, %error, "what is kept cannot be read back");
        self.forget(kind, "the scratch file could not be read");
    }
}
