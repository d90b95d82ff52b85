//! Pages of a kept kind, in the form that a list has.

use std::io::{self, Read as _};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::Slot;
use super::update::CacheSnapshot;
use crate::kube::kept_objects::KeptPages;
use crate::kube::list::Page;
use backup_core::scratch::Scratch;

/// Largest page in objects and in bytes, as in a list.
const PAGE: usize = 500;
const MAX_PAGE: usize = 8 << 20;

/// Reader of the pages; see the module.
pub(super) struct CachedPages {
    snapshot: Arc<CacheSnapshot>,
    next: usize,
}

impl CachedPages {
    pub(super) fn new(snapshot: CacheSnapshot) -> Self {
        Self {
            snapshot: Arc::new(snapshot),
            next: 0,
        }
    }
}

#[async_trait]
impl KeptPages for CachedPages {
    async fn next(&mut self) -> io::Result<Option<Page>> {
        let (snapshot, from) = (Arc::clone(&self.snapshot), self.next);
        if from >= snapshot.table.len() {
            return Ok(None);
        }
        let read = spawn_blocking(move || page(&snapshot, from)).await;
        let items = read.map_err(io::Error::other)??;
        self.next = self.next.saturating_add(items.len());
        Ok(Some(Page { items }))
    }

    fn place(&self) -> u64 {
        self.snapshot.place
    }

    fn fetched(&self) -> u64 {
        self.snapshot.fetched
    }

    fn gone(&self) -> u64 {
        self.snapshot.gone
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
