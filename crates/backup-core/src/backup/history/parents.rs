//! Search for the earlier restore points that a run can build upon, and for the kit that it names again.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::owner_marker::StoredMarker;
use super::super::{BackupError, Run};
use super::faults;
use crate::catalog::{
    Catalog, CatalogEntry, CatalogError, Exclusions, READS, RestorePoint, SKEW, about_object,
    is_future,
};
use crate::crypt::Trust;
use crate::format::manifest::Finding;
use crate::id::ComponentName;
use crate::store::StoreError;

/// Number of sound restore points, newest first, that are searched for parents. Restore points that the run's
/// own key did not sign, or that cannot be read, are not counted.
const LOOK_BACK: usize = 50;

/// Result of the search among earlier restore points.
pub(super) struct EarlierPoints {
    /// Parents of the run; see [`find_parents`].
    pub(super) parents: Vec<RestorePoint>,
    /// Newest of all sound restore points.
    pub(super) newest: Option<RestorePoint>,
    /// Newest restore point with a kit.
    pub(super) kit: Option<RestorePoint>,
    /// Whether no restore point has a kit: each was read, or is known to have none from one that was read.
    pub(super) kitless: bool,
}

/// Reader that returns the sound ones among earlier restore points, newest first.
struct PointWalk<'r> {
    run: &'r Run,
    claimed: &'r StoredMarker,
    catalog: Catalog,
    trust: Trust,
    exclusions: Exclusions,
    findings: &'r mut Vec<Finding>,
}

impl PointWalk<'_> {
    /// Returns the sound restore points of `entries`, in their order.
    async fn read(&mut self, entries: &[CatalogEntry]) -> Result<Vec<RestorePoint>, BackupError> {
        let mut sound = Vec::new();
        let points = self.catalog.all_trusted(entries, &self.trust).await;
        for (entry, point) in entries.iter().zip(points) {
            match point {
                // One signing key may serve two clusters, and their prefixes may have been mixed.
                Ok(point) if point.manifest.claim != self.claimed.digest => {
                    let cause = "it was not made for this prefix's owner marker, so nothing is built upon it";
                    self.tell(faults::distrusted(entry.id.as_str(), cause.to_owned()));
                }
                Ok(point) => sound.push(point),
                Err(CatalogError::Distrusted { id, verdict }) => {
                    self.exclusions.distrust(&id, verdict);
                }
                Err(CatalogError::Store {
                    source: source @ StoreError::Archived { .. },
                    ..
                }) => self.tell(faults::archived(entry.id.as_str(), &source)),
                Err(CatalogError::Store { source, .. }) if !about_object(&source) => {
                    return Err(unreadable(source));
                }
                Err(e) => {
                    let cause = crate::causes::line(&e);
                    self.tell(faults::distrusted(entry.id.as_str(), cause));
                }
            }
        }
        Ok(sound)
    }

    fn tell(&mut self, finding: Finding) {
        self.run.finding(self.findings, finding);
    }
}

fn unreadable(source: StoreError) -> BackupError {
    BackupError::Read {
        what: "the catalogue",
        source,
    }
}

/// Returns the newest restore points that together have all components that any has, newest first, and the
/// newest kit, however old it is.
pub(super) async fn find_parents(
    run: &Run,
    claimed: &StoredMarker,
    components: &[&ComponentName],
    findings: &mut Vec<Finding>,
) -> Result<EarlierPoints, BackupError> {
    let trust = match &run.signing_key {
        Some(key) => Trust::Keys(vec![key.public().clone()]),
        None => Trust::Anyone,
    };
    let mut walk = PointWalk {
        run,
        claimed,
        catalog: Catalog::new(Arc::clone(&run.store)),
        trust,
        exclusions: Exclusions::default(),
        findings,
    };
    let mut entries = walk.catalog.list().await.map_err(|e| match e {
        CatalogError::Store { source, .. } => unreadable(source),
        other => unreadable(StoreError::Other {
            store: run.store.describe(),
            operation: "read a manifest".to_owned(),
            source: Box::new(other),
        }),
    })?;
    let listed: HashSet<_> = entries.iter().map(|entry| entry.digest).collect();
    entries.reverse();
    let now = walk.catalog.time(&entries, run.clock.now()).await;
    let (future, past): (Vec<CatalogEntry>, Vec<CatalogEntry>) =
        entries.into_iter().partition(|e| is_future(&e.id, now));
    let mut search = ParentSearch::new(components);
    // Mostly the newest has all components.
    let mut next = 1_usize;
    let mut rest = past.as_slice();
    while !rest.is_empty() && !search.is_over() {
        if run.cancel.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        let (now, later) = rest.split_at_checked(next).unwrap_or((rest, &[]));
        rest = later;
        next = next.saturating_mul(2).min(READS);
        let now: Vec<CatalogEntry> = now.iter().filter(|e| search.wants(e)).cloned().collect();
        for point in walk.read(&now).await? {
            search.add(point);
        }
    }
    // A clock that once ran ahead must not cost the kit.
    if search.seeks_kit() {
        let may: Vec<CatalogEntry> = future
            .iter()
            .filter(|e| search.may_have_kit(e))
            .cloned()
            .collect();
        for entries in may.chunks(READS) {
            for point in walk.read(entries).await? {
                search.take_in_kit(point);
            }
        }
    }
    let PointWalk {
        exclusions,
        catalog,
        ..
    } = walk;
    for finding in faults::exclusions(&exclusions, &future) {
        run.finding(findings, finding);
    }
    match &search.newest {
        Some(newest) => {
            if let Some(parent) = newest.lost_parent(&listed) {
                run.finding(findings, faults::lost_parent(&newest.entry.id, parent));
            }
        }
        // If no restore point is left, signatures show which existed.
        None if listed.is_empty() => {
            let gone = catalog.hidden(&[], None).await.unwrap_or_default();
            if let Some(last) = gone.last() {
                run.finding(findings, faults::gone(last, gone.len()));
            }
        }
        None => {}
    }
    let kitless = search.seeks_kit();
    Ok(EarlierPoints {
        parents: search.parents,
        newest: search.newest,
        kit: search.kit,
        kitless,
    })
}

/// Components and kit to search for, and the restore points found so far.
struct ParentSearch<'c> {
    wanted: Vec<&'c ComponentName>,
    parents: Vec<RestorePoint>,
    newest: Option<RestorePoint>,
    kit: Option<RestorePoint>,
    takes_kit: bool,
    sound: usize,
    /// Time when a run searched and found no kit, by the store's clock if known.
    known_without: Option<Timestamp>,
}

impl<'c> ParentSearch<'c> {
    fn new(components: &[&'c ComponentName]) -> Self {
        Self {
            wanted: components.to_vec(),
            parents: Vec::new(),
            newest: None,
            kit: None,
            takes_kit: components.contains(&&ComponentName::kit()),
            sound: 0,
            known_without: None,
        }
    }

    fn seeks_kit(&self) -> bool {
        !self.takes_kit && self.kit.is_none()
    }

    fn seeks_parents(&self) -> bool {
        !self.wanted.is_empty() && self.sound < LOOK_BACK
    }

    fn is_over(&self) -> bool {
        !self.seeks_parents() && !self.seeks_kit()
    }

    /// Whether a restore point may have a wanted component or kit.
    fn wants(&self, entry: &CatalogEntry) -> bool {
        self.seeks_parents() || self.seeks_kit() && self.may_have_kit(entry)
    }

    /// Whether a restore point may have a kit. One that existed when a run found no kit has none; one that
    /// was put later may have one.
    fn may_have_kit(&self, entry: &CatalogEntry) -> bool {
        let knew = self
            .known_without
            .and_then(|began| began.checked_sub(SKEW).ok());
        let put = entry.put.or_else(|| {
            let began = entry.id.began()?;
            began.checked_add(LONGEST).ok()
        });
        match (knew, put) {
            (Some(knew), Some(put)) => put >= knew,
            _ => true,
        }
    }

    fn add(&mut self, point: RestorePoint) {
        self.sound = self.sound.saturating_add(1);
        if self.newest.is_none() {
            self.newest = Some(point.clone());
        }
        if self.known_without.is_none() && point.manifest.kitless {
            self.known_without = Some(looked_at(&point));
        }
        self.take_in_kit(point.clone());
        if !self.seeks_parents() {
            return;
        }
        let before = self.wanted.len();
        self.wanted
            .retain(|name| point.manifest.component(name).is_none());
        if self.wanted.len() < before {
            self.parents.push(point);
        }
    }

    fn take_in_kit(&mut self, point: RestorePoint) {
        if self.seeks_kit() && point.manifest.component(&ComponentName::kit()).is_some() {
            self.kit = Some(point);
        }
    }
}

/// Returns when the run of `point` searched, by the same clock that dates other restore points.
fn looked_at(point: &RestorePoint) -> Timestamp {
    let manifest = &point.manifest;
    let took = manifest.ended.duration_since(manifest.began);
    let put = point.entry.put;
    let looked = put.and_then(|put| put.checked_sub(took.max(jiff::SignedDuration::ZERO)).ok());
    looked.unwrap_or(manifest.began)
}

/// Upper bound of a run's duration, for stores that do not record when an object was put.
const LONGEST: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
