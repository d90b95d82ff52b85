//! Search backwards from the newest restore point, because runs for a change hold only some components.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use super::{Catalog, CatalogEntry, CatalogError, Exclusions, READS, RestorePoint, about_object};
use crate::crypt::Trust;
use crate::format::gaps::Gap;
use crate::id::{ComponentName, RestorePointId};

/// Restore points that a search reads: one run for a change each minute, for most of a day. Each is a small
/// read. Those that do not count are not included.
const MAX_READ: usize = 1000;

/// Largest time by which a restore point's name may be ahead of the clock. S3 refuses requests whose time
/// differs more.
pub const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// Rules by which restore points count for a reader.
#[derive(Debug, Clone)]
pub struct ReadPolicy {
    /// Keys whose signatures are trusted.
    pub trust: Trust,
    /// Current time: a restore point later by more than [`SKEW`] does not count.
    pub now: Timestamp,
}

/// Reports whether the name of a restore point lies in the future.
#[must_use]
pub fn is_future(id: &RestorePointId, now: Timestamp) -> bool {
    let began = id.began();
    began.is_none_or(|began| began.duration_since(now) > SKEW)
}

impl Catalog {
    /// Returns the time that names are compared with. If any of `entries` is in the future of `now`, the
    /// store's clock is queried too, and the later time counts: a machine whose clock was reset must be able
    /// to restore.
    pub async fn time(&self, entries: &[CatalogEntry], now: Timestamp) -> Timestamp {
        if !entries.iter().any(|entry| is_future(&entry.id, now)) {
            return now;
        }
        match self.store.date().await {
            Ok(Some(date)) => date.max(now),
            _ => now,
        }
    }

    /// Passes restore points to `each`, newest first, until it breaks; with `before` only older ones. Only
    /// those that count are passed: not of the future, with a trusted signature, and readable. Also returns
    /// those that were passed over.
    ///
    /// # Errors
    /// If the store cannot be listed or read.
    pub async fn look_back<B>(
        &self,
        view: &ReadPolicy,
        before: Option<&RestorePointId>,
        mut each: impl FnMut(RestorePoint) -> ControlFlow<B>,
    ) -> Result<(Option<B>, Exclusions), CatalogError> {
        let mut entries = self.list().await?;
        let now = self.time(&entries, view.now).await;
        entries.retain(|entry| before.is_none_or(|before| entry.id < *before));
        entries.reverse();
        let mut exclusions = Exclusions::default();
        let future = entries.partition_point(|entry| is_future(&entry.id, now));
        let (future, entries) = entries.split_at_checked(future).unwrap_or_default();
        future.iter().for_each(|entry| exclusions.future(&entry.id));
        let mut looked = 0_usize;
        for entries in entries.chunks(READS) {
            let loaded = self.all_trusted(entries, &view.trust).await;
            for (entry, loaded) in entries.iter().zip(loaded) {
                match loaded {
                    Ok(point) => {
                        looked = looked.saturating_add(1);
                        if let ControlFlow::Break(found) = each(point) {
                            return Ok((Some(found), exclusions));
                        }
                    }
                    Err(CatalogError::Distrusted { verdict, .. }) => {
                        exclusions.distrust(&entry.id, verdict);
                    }
                    // An object that is gone or archived says nothing about the others.
                    Err(CatalogError::Store { store, source }) if !about_object(&source) => {
                        return Err(CatalogError::Store { store, source });
                    }
                    Err(error) => exclusions.unreadable(entry, error),
                }
            }
            if looked >= MAX_READ {
                break;
            }
        }
        Ok((None, exclusions))
    }

    /// Returns the newest restore point that counts, and those that were passed over.
    ///
    /// # Errors
    /// If the store cannot be listed or read.
    pub async fn newest(
        &self,
        view: &ReadPolicy,
    ) -> Result<(Option<RestorePoint>, Exclusions), CatalogError> {
        self.look_back(view, None, ControlFlow::Break).await
    }

    /// Returns for each component in `gaps` the newest restore point before `before` that counts and has the
    /// missing data. Components that no restore point fills are left out.
    ///
    /// # Errors
    /// If the store cannot be listed or read.
    pub async fn whole_before(
        &self,
        view: &ReadPolicy,
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
        let done = |point: RestorePoint| {
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
        self.look_back(view, Some(before), done).await?;
        Ok(found)
    }
}
