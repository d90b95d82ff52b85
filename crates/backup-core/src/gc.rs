//! Orphans: objects of runs that died before their commit. One whole listing and all manifests show them,
//! and they are removed once they are older than any run can be.
//!
//! A deletion cannot be undone, so every doubt stops it: a manifest that cannot be read or trusted, a listing
//! that lacks a needed object, a missing or wrong clock, more orphans than dead runs can explain.
//! [`plan_removal`] only reads. [`remove`] reads the manifests again before each batch, and spares the
//! objects that new ones name. It can be interrupted at any point, and repeated.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};

use crate::audit::{NeededObjects, ObjectRelation, about_object, hidden, stranger, unreadable};
use crate::catalog::{Catalog, CatalogError, RestorePoint, list_pages};
use crate::clock::Clock;
use crate::crypt::{Trust, Verdict};
use crate::digest::Digest;
use crate::format::layout;
use crate::format::manifest::{Encryption, Finding};
use crate::format::owner_marker::OwnerMarker;
use crate::id::{ClusterName, RestorePointId};
use crate::num::to_u64;
use crate::progress::Progress;
use crate::store::{Key, ObjectInfo, Store, StoreError};

mod findings;
mod remove;
mod safety_limit;

pub use remove::{RemovalReport, remove};

/// Largest number of orphans that one plan removes: some 200 bytes each in memory. The next plan takes the
/// rest.
const MOST: usize = 10_000;
/// Manifests held at the same time while they are read: at most 4 MiB each, mostly some KiB.
const MANIFESTS: usize = 32;
/// Unknown names that are listed one by one.
const STRANGERS: usize = 20;
/// Largest difference between two clocks that can still determine an age; S3 itself refuses requests beyond
/// 15 minutes.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Time for which an object may be newer than the start of the listing, because it may be put meanwhile.
const LISTING: SignedDuration = SignedDuration::from_hours(1);

/// Rules for what may be removed.
#[derive(Debug, Clone)]
pub struct RemovalRules {
    /// Cluster that the prefix must belong to.
    pub cluster: ClusterName,
    /// Keys whose signatures are trusted. One restore point that none of them signed holds the plan.
    pub trust: Trust,
    /// Smallest age of an orphan to remove: longer than any run takes from its first object to its manifest.
    pub grace: SignedDuration,
    /// Whether runs are made without encryption. Two such runs give equal bytes the same name.
    pub unencrypted: bool,
    /// Whether to continue where the safety limit holds, because a person has checked.
    pub force: bool,
    /// Clock of this machine, which must agree with the store's.
    pub clock: Arc<dyn Clock>,
}

/// Number of objects, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Number of objects.
    pub objects: u64,
    /// Size of the objects in bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Object to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Key of the object.
    pub key: Key,
    /// Size in bytes.
    pub bytes: u64,
    /// Time when it was put, by the store's clock.
    pub put: Timestamp,
}

/// Contents of a prefix, and the objects that would be removed.
#[derive(Debug, Default)]
pub struct RemovalPlan {
    /// Number of restore points.
    pub restore_points: u64,
    /// Objects that they need, including their manifests and signatures.
    pub needed: Tally,
    /// All orphans, whatever their age.
    pub left: Tally,
    /// Orphans that are older than the grace time.
    pub old: Tally,
    /// Whether a rule holds the plan; then nothing is removed, and a finding has the reason.
    pub held: bool,
    /// Faults and notes.
    pub findings: Vec<Finding>,
    /// Objects that would be removed if no rule held the plan, in the order of the listing; at most ten
    /// thousand.
    pub orphans: Vec<Orphan>,
    /// Manifests that were taken into account.
    known: HashSet<Digest>,
}

impl RemovalPlan {
    fn hold(&mut self, finding: Finding) {
        self.held = true;
        self.findings.push(finding);
    }

    /// Reports whether [`remove`] would remove anything.
    #[must_use]
    pub fn removes(&self) -> bool {
        !self.held && !self.orphans.is_empty()
    }
}

/// Reason why orphans could not be searched, or a removal could not start.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// The store cannot be listed or read.
    #[error("cannot look at {what}")]
    Store {
        /// Object or store that was read.
        what: String,
        /// Error of the store.
        source: StoreError,
    },
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Searches for orphans below the prefix of `store`. Changes nothing.
///
/// # Errors
/// If the store cannot be read, or cannot be listed to its end; everything else is a finding.
pub async fn plan_removal(
    store: &Arc<dyn Store>,
    rules: &RemovalRules,
    progress: &dyn Progress,
) -> Result<RemovalPlan, OrphanError> {
    let mut plan = RemovalPlan::default();
    // Before the listing: an object that is put during it must not look older than it is.
    let now = time(store.as_ref(), rules, &mut plan).await?;
    progress.step("reading restore points", None);
    let catalog = Catalog::new(Arc::clone(store));
    let entries = catalog.list().await?;
    plan.restore_points = to_u64(entries.len());
    let claim = owner_marker(store.as_ref(), rules, &mut plan).await?;
    let mut needs = NeededObjects::default();
    let mut judge = Judge::new(rules, claim);
    for entries in entries.chunks(MANIFESTS) {
        for (entry, point) in entries
            .iter()
            .zip(catalog.all_trusted(entries, &rules.trust).await)
        {
            needs.manifest(entry);
            plan.known.insert(entry.digest);
            match point {
                Ok(point) => {
                    judge.point(&point);
                    needs.point(&point);
                }
                Err(CatalogError::Distrusted { id, verdict }) => judge.distrust(&id, verdict),
                Err(CatalogError::Store { store, source }) if !about_object(&source) => {
                    return Err(CatalogError::Store { store, source }.into());
                }
                Err(error) => plan.hold(unreadable(entry, &error)),
            }
        }
    }
    for finding in judge.findings() {
        plan.hold(finding);
    }
    progress.step("listing every object", None);
    list(store.as_ref(), &mut needs, rules, now, &mut plan).await?;
    let missing = needs.missing().fold((None, 0_u64), |(first, more), gone| {
        (first.or(Some(gone.key)), more.saturating_add(1))
    });
    if let (Some(first), count) = missing {
        plan.hold(findings::not_listed(&first, count));
    }
    let newest = entries.last().map(|entry| &entry.id);
    let hidden_there = catalog.hidden(&entries, newest).await?;
    for finding in hidden_there.iter().filter(|h| h.there) {
        plan.hold(hidden(finding));
    }
    if claim.is_none() && !plan.held && (plan.restore_points > 0 || plan.left.objects > 0) {
        plan.hold(findings::no_owner_marker());
    }
    if plan.old.objects > 0 {
        if rules.unencrypted || judge.unencrypted {
            plan.hold(findings::unencrypted());
        }
        if let Some(finding) = safety_limit::judge(&plan).filter(|_| !rules.force) {
            plan.hold(finding);
        }
    }
    plan.findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok(plan)
}

/// Returns the time that ages are computed from: that of the store, or of this machine if it is behind,
/// because a younger age spares more. `None` holds the plan.
async fn time(
    store: &dyn Store,
    rules: &RemovalRules,
    plan: &mut RemovalPlan,
) -> Result<Option<Timestamp>, OrphanError> {
    let told = store.date().await.map_err(|source| failed(store, source))?;
    let Some(theirs) = told else {
        plan.hold(findings::no_time(store));
        return Ok(None);
    };
    let ours = rules.clock.now();
    let skew = ours.duration_since(theirs);
    if skew.abs() > SKEW {
        plan.hold(findings::skewed(skew));
        return Ok(None);
    }
    Ok(Some(theirs.min(ours)))
}

fn failed(store: &dyn Store, source: StoreError) -> OrphanError {
    OrphanError::Store {
        what: store.describe(),
        source,
    }
}

/// Checks which cluster has the prefix, and returns the digest of its owner marker.
async fn owner_marker(
    store: &dyn Store,
    rules: &RemovalRules,
    plan: &mut RemovalPlan,
) -> Result<Option<Digest>, OrphanError> {
    let key = layout::owner_marker();
    match store.get(&key).await {
        Ok(bytes) => {
            match OwnerMarker::parse(&bytes) {
                Ok(claim) if claim.cluster == rules.cluster => return Ok(Some(Digest::of(&bytes))),
                Ok(claim) => plan.hold(findings::of_another(&claim.cluster, &rules.cluster)),
                Err(error) => plan.hold(findings::bad_owner_marker(&error)),
            }
            Ok(None)
        }
        // This is normal for an empty prefix.
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(source) => Err(OrphanError::Store {
            what: key.to_string(),
            source,
        }),
    }
}

/// Judge of the restore points, which keeps the first doubt of each kind.
struct Judge<'r> {
    rules: &'r RemovalRules,
    claim: Option<Digest>,
    distrusted: Option<(String, u64)>,
    strangers: Option<(String, u64)>,
    unencrypted: bool,
}

impl<'r> Judge<'r> {
    fn new(rules: &'r RemovalRules, claim: Option<Digest>) -> Self {
        Self {
            rules,
            claim,
            distrusted: None,
            strangers: None,
            unencrypted: false,
        }
    }

    fn distrust(&mut self, id: &RestorePointId, verdict: Verdict) {
        count(&mut self.distrusted, format!("{id} is {verdict}"));
    }

    fn point(&mut self, point: &RestorePoint) {
        let id = &point.entry.id;
        if point.verdict != Verdict::Trusted {
            self.distrust(id, point.verdict);
        }
        let manifest = &point.manifest;
        let claimed = self.claim.is_none_or(|claim| claim == manifest.claim);
        if manifest.cluster != self.rules.cluster || !claimed {
            count(&mut self.strangers, id.to_string());
        }
        self.unencrypted |= matches!(manifest.encryption, Encryption::None);
    }

    fn findings(&self) -> impl Iterator<Item = Finding> {
        let distrusted = self.distrusted.as_ref().map(findings::distrusted);
        let strangers = self.strangers.as_ref().map(findings::other_owner_marker);
        distrusted.into_iter().chain(strangers)
    }
}

fn count(doubt: &mut Option<(String, u64)>, text: String) {
    let (_, count) = doubt.get_or_insert((text, 0));
    *count = count.saturating_add(1);
}

/// Walks the whole listing, and records the orphans in the plan.
async fn list(
    store: &dyn Store,
    needs: &mut NeededObjects,
    rules: &RemovalRules,
    now: Option<Timestamp>,
    plan: &mut RemovalPlan,
) -> Result<(), OrphanError> {
    let mut strangers = Vec::new();
    let (mut unknown_manifests, mut ageless) = (false, 0_u64);
    let mut stranger_is = |name: &str| {
        unknown_manifests |= name.starts_with(layout::MANIFESTS);
        if strangers.len() < STRANGERS {
            strangers.push(stranger(name));
        }
    };
    let mut pages = std::pin::pin!(list_pages(store, ""));
    while let Some(page) = pages.try_next().await.map_err(|e| failed(store, e))? {
        for name in &page.foreign {
            stranger_is(name);
        }
        for object in page.objects {
            match needs.place(&object) {
                ObjectRelation::Needed(_) => plan.needed.add(object.size),
                ObjectRelation::Apart(_) => {}
                ObjectRelation::Foreign => stranger_is(object.key.as_str()),
                ObjectRelation::Orphan(_) => {
                    plan.left.add(object.size);
                    match now.zip(object.modified) {
                        Some((now, put)) => old(plan, rules, now, object, put),
                        None => ageless = ageless.saturating_add(1),
                    }
                }
            }
        }
    }
    // These may be manifests of a later version.
    if unknown_manifests {
        plan.hold(findings::unknown_manifests());
    }
    plan.findings.extend(strangers);
    if ageless > 0 && now.is_some() {
        plan.findings.push(findings::no_age(ageless));
    }
    Ok(())
}

/// Records an orphan that is older than the grace time.
fn old(
    plan: &mut RemovalPlan,
    rules: &RemovalRules,
    now: Timestamp,
    object: ObjectInfo,
    put: Timestamp,
) {
    let age = now.duration_since(put);
    if age < rules.grace {
        if age.abs() > LISTING && age.is_negative() && !plan.held {
            plan.hold(findings::from_the_future(&object.key, put));
        }
        return;
    }
    plan.old.add(object.size);
    if plan.orphans.len() < MOST {
        plan.orphans.push(Orphan {
            key: object.key,
            bytes: object.size,
            put,
        });
    }
}
