//! Recovery of the space of bodies that are no longer in any table.

use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::pages::body;
use super::{CachedObjects, MOST_BYTES, ObjectCache, ScratchFile, Slot, Table};
use backup_core::archive::ResourceName;
use backup_core::scratch::Scratch;

/// Smallest file that is compacted.
const SMALL: u64 = 16 << 20;

/// Kind whose bodies are moved.
struct TableMove {
    kind: ResourceName,
    epoch: u64,
    from: Arc<Table>,
    to: Table,
}

impl ObjectCache {
    /// Copies the kept bodies into a new file if more than half of this one is unused. Must be called
    /// between two runs: the copy does not happen while a list is being written.
    pub(super) async fn compact(self: &Arc<Self>) {
        let cache = Arc::clone(self);
        let compacted = spawn_blocking(move || cache.compact_now()).await;
        if let Err(error) = compacted.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "the scratch file cannot be rewritten; everything is listed again");
            let mut state = self.lock();
            state.file = None;
            let kinds: Vec<ResourceName> = state.kinds.keys().cloned().collect();
            for kind in &kinds {
                state.forget(kind, "the scratch file could not be rewritten");
            }
        }
    }

    pub(super) fn compact_now(&self) -> io::Result<()> {
        let (old, end, mut moving) = {
            let mut state = self.lock();
            let live: u64 = state.tables().map(|table| table.bytes()).sum();
            let Some(file) = &state.file else {
                return Ok(());
            };
            let (scratch, end) = (Arc::clone(&file.scratch), file.end);
            let dead = end.saturating_sub(live);
            let listing = |w: &super::WatchedKind| matches!(w.objects, CachedObjects::Listing);
            if dead <= live || end < SMALL || state.kinds.values().any(listing) {
                return Ok(());
            }
            if live == 0 {
                state.file = None;
                return Ok(());
            }
            let kinds = state.kinds.iter().filter_map(|(kind, w)| match &w.objects {
                CachedObjects::All(table) => Some(TableMove {
                    kind: kind.clone(),
                    epoch: w.epoch,
                    from: Arc::clone(table),
                    to: Table::default(),
                }),
                _ => None,
            });
            (scratch, end, kinds.collect::<Vec<_>>())
        };
        let new = Scratch::create(&self.folder, MOST_BYTES)?;
        let mut at = 0_u64;
        for one in &mut moving {
            for (name, slot) in one.from.iter() {
                let mut json = zeroize::Zeroizing::new(body(&old, slot)?);
                new.put(at, &mut json)?;
                if !one.to.push(name, Slot { at, ..slot }) {
                    return Err(io::Error::other("names are out of order"));
                }
                at = at.saturating_add(u64::from(slot.length));
            }
            one.to.shrink();
        }
        let mut state = self.lock();
        if state.file.as_ref().is_none_or(|file| file.end != end) {
            // Another task wrote meanwhile: compact at a later time.
            return Ok(());
        }
        for one in moving {
            let Some(watched) = state.in_epoch(&one.kind, one.epoch) else {
                continue;
            };
            match &watched.objects {
                CachedObjects::All(table) if Arc::ptr_eq(table, &one.from) => {
                    watched.objects = CachedObjects::All(Arc::new(one.to));
                }
                _ => state.forget(&one.kind, "it changed while the scratch file was rewritten"),
            }
        }
        state.file = Some(ScratchFile {
            scratch: Arc::new(new),
            end: at,
        });
        Ok(())
    }
}
