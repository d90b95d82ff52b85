//! Recovery of the space of bodies that are no longer in any table.

use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::pages::body;
use super::{File, Holding, Kept, MOST_BYTES, Slot, Table};
use backup_core::archive::ResourceName;
use backup_core::scratch::Scratch;

/// Smallest file that is compacted.
const SMALL: u64 = 16 << 20;

/// Kind whose bodies are moved.
struct Moving {
    kind: ResourceName,
    epoch: u64,
    from: Arc<Table>,
    to: Table,
}

impl Kept {
    /// Copies the kept bodies into a new file if more than half of this one is unused. Must be called
    /// between two runs: the copy does not happen while a list is being written.
    pub(in super::super) async fn tidy(self: &Arc<Self>) {
        let kept = Arc::clone(self);
        let tidied = spawn_blocking(move || kept.tidy_now()).await;
        if let Err(error) = tidied.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "the scratch file cannot be written anew; everything is listed again");
            let mut inner = self.lock();
            inner.file = None;
            let kinds: Vec<ResourceName> = inner.kinds.keys().cloned().collect();
            for kind in &kinds {
                inner.forget(kind, "the scratch file could not be written anew");
            }
        }
    }

    pub(super) fn tidy_now(&self) -> io::Result<()> {
        let (old, end, mut moving) = {
            let mut inner = self.lock();
            let live: u64 = inner.tables().map(|table| table.bytes()).sum();
            let Some(file) = &inner.file else {
                return Ok(());
            };
            let (scratch, end) = (Arc::clone(&file.scratch), file.end);
            let dead = end.saturating_sub(live);
            let listing = |w: &super::Watched| matches!(w.holding, Holding::Listing);
            if dead <= live || end < SMALL || inner.kinds.values().any(listing) {
                return Ok(());
            }
            if live == 0 {
                inner.file = None;
                return Ok(());
            }
            let kinds = inner.kinds.iter().filter_map(|(kind, w)| match &w.holding {
                Holding::All(table) => Some(Moving {
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
        let mut inner = self.lock();
        if inner.file.as_ref().is_none_or(|file| file.end != end) {
            // Another task wrote meanwhile: compact at a later time.
            return Ok(());
        }
        for one in moving {
            let Some(watched) = inner.in_epoch(&one.kind, one.epoch) else {
                continue;
            };
            match &watched.holding {
                Holding::All(table) if Arc::ptr_eq(table, &one.from) => {
                    watched.holding = Holding::All(Arc::new(one.to));
                }
                _ => inner.forget(
                    &one.kind,
                    "it changed while the scratch file was written anew",
                ),
            }
        }
        inner.file = Some(File {
            scratch: Arc::new(new),
            end: at,
        });
        Ok(())
    }
}
