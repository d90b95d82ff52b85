//! Looking back from the newest restore point: runs by change hold some components only.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Catalog, CatalogError, Entry, READS, RestorePoint};
use crate::crypt::{Trust, Verdict};
use crate::format::gaps::Gap;
use crate::id::{ComponentName, RestorePointId};
use crate::store::StoreError;

/// How far back is looked: a run by change each minute, for most of a day. Each is a small read.
const LOOKED: usize = 1000;

impl Catalog {
    /// Shows restore points to `each`, newest first, until it breaks; with `before` only older ones.
    /// One that cannot be read is shown as such.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub async fn look_back<B>(
        &self,
        trust: &Trust,
        before: Option<&RestorePointId>,
        mut each: impl FnMut(Result<RestorePoint, (Entry, CatalogError)>) -> ControlFlow<B>,
    ) -> Result<Option<B>, CatalogError> {
        let mut entries = self.list().await?;
        entries.retain(|entry| before.is_none_or(|before| entry.id < *before));
        entries.reverse();
        entries.truncate(LOOKED);
        for entries in entries.chunks(READS) {
            let loaded = self.load_all(entries, trust).await;
            for (entry, loaded) in entries.iter().zip(loaded) {
                let shown = match loaded {
                    // One that lies in an archive says nothing of the others.
                    Err(CatalogError::Store { store, source })
                        if !matches!(source, StoreError::Archived { .. }) =>
                    {
                        return Err(CatalogError::Store { store, source });
                    }
                    loaded => loaded.map_err(|error| (entry.clone(), error)),
                };
                if let ControlFlow::Break(found) = each(shown) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// For each component that `gaps` are about the newest trusted restore point before `before` that has
    /// what is missing; not there where none has.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub async fn whole_before(
        &self,
        trust: &Trust,
        before: &RestorePointId,
        gaps: &[Gap],
    ) -> Result<BTreeMap<ComponentName, RestorePointId>, CatalogError> {
        let mut wanted: BTreeMap<&ComponentName, Vec<&Gap>> = BTreeMap::new();
        for gap in gaps {
            wanted.entry(&gap.component).or_default().push(gap);
        }
        let mut found = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let done = |shown: Result<RestorePoint, (Entry, CatalogError)>| {
            let Ok(point) = shown else {
                return ControlFlow::Continue(());
            };
            if !matches!(point.verdict, Verdict::Trusted | Verdict::NotChecked) {
                return ControlFlow::Continue(());
            }
            wanted.retain(|component, gaps| {
                let whole = gaps.iter().all(|gap| point.manifest.fills(gap));
                if whole {
                    found.insert((*component).clone(), point.entry.id.clone());
                }
                !whole
            });
            if wanted.is_empty() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        self.look_back(trust, Some(before), done).await?;
        Ok(found)
    }
}
