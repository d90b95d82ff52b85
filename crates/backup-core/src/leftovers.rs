//! Leftovers: objects that runs put and did not live to commit. They are found by one whole listing and all
//! manifests, and removed once they are older than any run can be.
//!
//! Deleting is the one thing here that cannot be made good again, so every doubt ends it: a manifest that
//! cannot be read or trusted, a listing that lacks what it should show, a clock that tells nothing, more
//! leftovers than runs that died can explain. [`look`] only reads; [`remove`] asks for the manifests
//! once more before each batch, and spares what new ones name. It can be broken off anywhere, and made again.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};

use crate::audit::{Needs, Place, about_object, hidden, stranger, unreadable};
use crate::catalog::{Catalog, CatalogError, RestorePoint, list_pages};
use crate::clock::Clock;
use crate::crypt::{Trust, Verdict};
use crate::digest::Digest;
use crate::format::claim::Claim;
use crate::format::layout;
use crate::format::manifest::{Encryption, Finding};
use crate::id::{ClusterName, RestorePointId};
use crate::progress::Progress;
use crate::store::{Key, ObjectInfo, Store, StoreError};

mod brake;
mod findings;
mod remove;

pub use remove::{Removed, remove};

/// Leftovers that one plan removes: some 200 bytes each in memory. The next one takes the rest.
const MOST: usize = 10_000;
/// Manifests held at the same time while they are read: at most 4 MiB each, mostly some KiB.
const MANIFESTS: usize = 32;
/// Names of others that are told one by one.
const STRANGERS: usize = 20;
/// Two clocks that differ by more cannot tell an age; S3 itself refuses requests beyond 15 minutes.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// An object that was put while the listing went on is younger than its beginning.
const LISTING: SignedDuration = SignedDuration::from_hours(1);

/// What may be removed.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whose prefix it must be.
    pub cluster: ClusterName,
    /// Whose signatures are believed. One restore point that none of them signed ends it.
    pub trust: Trust,
    /// How old a leftover must be: longer than any run takes from its first object to its manifest.
    pub grace: SignedDuration,
    /// Whether runs are made without encryption. Two of them give equal bytes one name.
    pub unencrypted: bool,
    /// Whether to go on where the brake holds: a person has looked.
    pub past_the_brake: bool,
    /// This machine's clock, which must agree with the store's.
    pub clock: Arc<dyn Clock>,
}

/// How many objects, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// An object to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its key.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// When it was put, by the store's clock.
    pub put: Timestamp,
}

/// What there is, and what of it would be removed.
#[derive(Debug, Default)]
pub struct Plan {
    /// Restore points that are there.
    pub restore_points: u64,
    /// What they lead to, their manifests and signatures included.
    pub needed: Tally,
    /// All that no restore point leads to, however young.
    pub left: Tally,
    /// What of it is older than the grace time.
    pub old: Tally,
    /// Whether a rule holds it; then nothing is removed, and a finding says why.
    pub held: bool,
    /// What is wrong or worth knowing.
    pub findings: Vec<Finding>,
    /// What would be removed if no rule held it, in the order of the listing; at most ten thousand.
    pub leftovers: Vec<Leftover>,
    /// The manifests that were taken into account.
    known: HashSet<Digest>,
}

impl Plan {
    fn hold(&mut self, finding: Finding) {
        self.held = true;
        self.findings.push(finding);
    }

    /// Whether [`remove`] would remove anything.
    #[must_use]
    pub fn removes(&self) -> bool {
        !self.held && !self.leftovers.is_empty()
    }
}

/// Why a look could not be made, or a removal not be begun.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    /// The store cannot be listed or read.
    #[error("cannot look at {what}")]
    Store {
        /// What was looked at.
        what: String,
        /// The failure.
        source: StoreError,
    },
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Looks for leftovers below the prefix of `store`. Changes nothing.
///
/// # Errors
/// When the store cannot be asked or not be listed to its end; all else is a finding.
pub async fn look(
    store: &Arc<dyn Store>,
    rules: &Rules,
    progress: &dyn Progress,
) -> Result<Plan, LeftoversError> {
    let mut plan = Plan::default();
    // Before the listing: what is put while it goes on must not look older than it is.
    let now = time(store.as_ref(), rules, &mut plan).await?;
    progress.step("reading restore points", None);
    let catalog = Catalog::new(Arc::clone(store));
    let entries = catalog.list().await?;
    plan.restore_points = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    let claim = claim(store.as_ref(), rules, &mut plan).await?;
    let mut needs = Needs::default();
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
        plan.hold(findings::no_claim());
    }
    if plan.old.objects > 0 {
        if rules.unencrypted || judge.unencrypted {
            plan.hold(findings::unencrypted());
        }
        if let Some(finding) = brake::judge(&plan).filter(|_| !rules.past_the_brake) {
            plan.hold(finding);
        }
    }
    plan.findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok(plan)
}

/// The time that ages are told by: that of the store, or of this machine if it is behind, as a younger age
/// spares more. `None` holds the plan.
async fn time(
    store: &dyn Store,
    rules: &Rules,
    plan: &mut Plan,
) -> Result<Option<Timestamp>, LeftoversError> {
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

fn failed(store: &dyn Store, source: StoreError) -> LeftoversError {
    LeftoversError::Store {
        what: store.describe(),
        source,
    }
}

/// Looks whose prefix it is; gives the digest of its claim.
async fn claim(
    store: &dyn Store,
    rules: &Rules,
    plan: &mut Plan,
) -> Result<Option<Digest>, LeftoversError> {
    let key = layout::claim();
    match store.get(&key).await {
        Ok(bytes) => {
            match Claim::parse(&bytes) {
                Ok(claim) if claim.cluster == rules.cluster => return Ok(Some(Digest::of(&bytes))),
                Ok(claim) => plan.hold(findings::of_another(&claim.cluster, &rules.cluster)),
                Err(error) => plan.hold(findings::bad_claim(&error)),
            }
            Ok(None)
        }
        // Where there is nothing yet, that is as it should be.
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(source) => Err(LeftoversError::Store {
            what: key.to_string(),
            source,
        }),
    }
}

/// Judges the restore points, and keeps of each kind of doubt the first.
struct Judge<'r> {
    rules: &'r Rules,
    claim: Option<Digest>,
    distrusted: Option<(String, u64)>,
    strangers: Option<(String, u64)>,
    unencrypted: bool,
}

impl<'r> Judge<'r> {
    fn new(rules: &'r Rules, claim: Option<Digest>) -> Self {
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
        let strangers = self.strangers.as_ref().map(findings::other_claim);
        distrusted.into_iter().chain(strangers)
    }
}

fn count(doubt: &mut Option<(String, u64)>, text: String) {
    let (_, count) = doubt.get_or_insert((text, 0));
    *count = count.saturating_add(1);
}

/// Walks the whole listing, and puts down what is left over.
async fn list(
    store: &dyn Store,
    needs: &mut Needs,
    rules: &Rules,
    now: Option<Timestamp>,
    plan: &mut Plan,
) -> Result<(), LeftoversError> {
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
                Place::Needed(_) => plan.needed.add(object.size),
                Place::Apart(_) => {}
                Place::Foreign => stranger_is(object.key.as_str()),
                Place::Leftover(_) => {
                    plan.left.add(object.size);
                    match now.zip(object.modified) {
                        Some((now, put)) => old(plan, rules, now, object, put),
                        None => ageless = ageless.saturating_add(1),
                    }
                }
            }
        }
    }
    // A later version may have manifests that this one does not know.
    if unknown_manifests {
        plan.hold(findings::unknown_manifests());
    }
    plan.findings.extend(strangers);
    if ageless > 0 && now.is_some() {
        plan.findings.push(findings::no_age(ageless));
    }
    Ok(())
}

/// Puts down a leftover that is older than the grace time.
fn old(plan: &mut Plan, rules: &Rules, now: Timestamp, object: ObjectInfo, put: Timestamp) {
    let age = now.duration_since(put);
    if age < rules.grace {
        if age.abs() > LISTING && age.is_negative() && !plan.held {
            plan.hold(findings::from_the_future(&object.key, put));
        }
        return;
    }
    plan.old.add(object.size);
    if plan.leftovers.len() < MOST {
        plan.leftovers.push(Leftover {
            key: object.key,
            bytes: object.size,
            put,
        });
    }
}
