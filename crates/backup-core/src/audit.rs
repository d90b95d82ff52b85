//! Audit of a whole prefix, without a key and without changes, that finds missing and changed objects,
//! restore points without a trusted signature, and objects that no restore point needs.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};

pub(crate) use crate::catalog::about_object;
use crate::catalog::{Catalog, CatalogEntry, CatalogError, RestorePoint, is_future, list_pages};
use crate::crypt::Trust;
use crate::digest::Digest;
use crate::format::layout;
use crate::format::manifest::{Encryption, Finding, Severity};
use crate::format::owner_marker::OwnerMarker;
use crate::id::RestorePointId;
use crate::num::to_u64;
use crate::progress::Progress;
use crate::store::{Access, Key, Store, StoreError};

mod components;
mod findings;
mod needs;
mod torn;

use components::ComponentStates;
pub(crate) use findings::{hidden, stranger, unreadable};
pub(crate) use needs::{NeededObjects, ObjectRelation};
pub use torn::{torn, torn_in};

/// Objects checked at the same time: each check is a round trip and takes no memory.
pub(crate) const MAX_PARALLEL: usize = 32;

/// Manifests held at the same time while they are read: at most 4 MiB each, mostly some KiB.
const MANIFESTS: usize = 32;

/// Settings of an audit.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys whose signatures are trusted.
    pub trust: Trust,
    /// Whether to download every object and take its digest.
    pub deep: bool,
    /// Largest age of the newest restore point; an older one is a warning.
    pub max_age: Option<SignedDuration>,
    /// Current time.
    pub now: Timestamp,
}

/// Result of an audit.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Number of restore points with a trusted signature, and of those that cannot be read.
    pub restore_points: u64,
    /// Newest of them that can be read and is not of the future.
    pub newest: Option<RestorePointId>,
    /// Number of objects below the prefix.
    pub objects: u64,
    /// Size of these objects in bytes.
    pub bytes: u64,
    /// Number of objects that no restore point needs.
    pub unreferenced: u64,
    /// Size of these objects in bytes.
    pub unreferenced_bytes: u64,
    /// Faults and notes, worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the worst severity among the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }
}

/// Reason why an audit could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be listed or read.
    #[error("cannot look at {key}")]
    Store {
        /// Object or store that was read.
        key: String,
        /// Error of the store.
        source: StoreError,
    },
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Object that a restore point needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededObject {
    pub(crate) key: Key,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

impl NeededObject {
    /// Returns all objects that `point` needs, each once, including its own manifest and signatures.
    pub(crate) fn of(point: &RestorePoint) -> Vec<Self> {
        let manifest = &point.manifest;
        let mut all = vec![Self {
            key: point.entry.key.clone(),
            digest: point.entry.digest,
            bytes: point.entry.bytes,
        }];
        let mut add = |key: Key, digest: Digest, bytes: u64| all.push(Self { key, digest, bytes });
        for s in &point.signatures {
            add(
                layout::signature(point.entry.digest, s.sha256),
                s.sha256,
                s.bytes,
            );
        }
        for epoch in manifest.epochs() {
            add(
                layout::epoch_key(epoch.key.sha256),
                epoch.key.sha256,
                epoch.key.bytes,
            );
        }
        for component in &manifest.components {
            for pack in &component.packs {
                add(layout::pack(pack.sha256), pack.sha256, pack.bytes);
            }
            for recipe in &component.recipes {
                add(layout::recipe(recipe.sha256), recipe.sha256, recipe.bytes);
            }
        }
        for index in &manifest.indexes {
            add(layout::index(index.sha256), index.sha256, index.bytes);
        }
        let mut seen = HashSet::new();
        all.retain(|e| seen.insert(e.key.clone()));
        all
    }
}

/// Checks the head of one object: whether it exists, with this size and this recorded checksum.
pub(crate) async fn look_at(
    store: &dyn Store,
    expected: &NeededObject,
) -> Result<Option<Finding>, (Key, StoreError)> {
    match store.head(&expected.key).await {
        Ok(info) => Ok(match &info.access {
            // A copy that exists for only some days is reported if nothing worse is found.
            Access::Archived(archived) if archived.copied => {
                let found = findings::judge(expected, info.size, info.recorded);
                found.or_else(|| Some(findings::archived(expected, archived)))
            }
            Access::Archived(archived) => Some(findings::archived(expected, archived)),
            Access::AtOnce | Access::Tiered => findings::judge(expected, info.size, info.recorded),
        }),
        Err(StoreError::NotFound { .. }) => Ok(Some(findings::missing(expected))),
        Err(e) => Err((expected.key.clone(), e)),
    }
}

/// Audits the prefix of `store`.
///
/// # Errors
/// Only if the store cannot be listed or read; everything else is a finding.
pub async fn run(
    store: Arc<dyn Store>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report, AuditError> {
    let mut report = Report::default();
    progress.step("reading restore points", None);
    let catalog = Catalog::new(Arc::clone(&store));
    let entries = catalog.list().await?;
    let now = catalog.time(&entries, options.now).await;
    let mut needs = NeededObjects::default();
    let mut claims: Vec<(RestorePointId, Digest)> = Vec::new();
    let listed: HashSet<Digest> = entries.iter().map(|entry| entry.digest).collect();
    let mut newest = ComponentStates::default();
    let mut future: Vec<&RestorePointId> = Vec::new();
    for entries in entries.chunks(MANIFESTS) {
        let points = catalog.all_trusted(entries, &options.trust).await;
        for (entry, point) in entries.iter().zip(points) {
            needs.manifest(entry);
            let is_future = is_future(&entry.id, now);
            if is_future {
                future.push(&entry.id);
            }
            match point {
                Ok(point) => {
                    report.restore_points = report.restore_points.saturating_add(1);
                    report.findings.extend(about_point(&point));
                    let lost = point.lost_parent(&listed);
                    let lost = lost.map(|parent| findings::lost_parent(&point, parent));
                    report.findings.extend(lost);
                    if !is_future {
                        newest.add(&point);
                        report.newest = Some(entry.id.clone());
                    }
                    claims.push((entry.id.clone(), point.manifest.claim));
                    needs.point(&point);
                }
                Err(CatalogError::Distrusted { id, verdict }) => {
                    report.findings.extend(findings::signature(&id, verdict));
                }
                Err(CatalogError::Store { source, .. }) if !about_object(&source) => {
                    return Err(AuditError::Store {
                        key: entry.key.to_string(),
                        source,
                    });
                }
                Err(e) => {
                    // It exists, whatever its content is.
                    report.restore_points = report.restore_points.saturating_add(1);
                    report.findings.push(findings::unreadable(entry, &e));
                }
            }
        }
    }
    report.findings.extend(findings::future(&future));
    let age = findings::age(report.newest.as_ref(), &entries, options);
    report.findings.extend(age);
    report.findings.extend(newest.findings());
    let hidden = catalog.hidden(&entries, report.newest.as_ref()).await?;
    report.findings.extend(hidden.iter().map(findings::hidden));
    report
        .findings
        .extend(owner_marker(store.as_ref(), &claims).await?);
    list_all(store.as_ref(), &mut needs, &mut report, options, progress).await?;
    let missing = needs.missing();
    report
        .findings
        .extend(missing.map(|gone| findings::missing(&gone)));
    let sound = newest_sound(&catalog, &entries, options, &report.findings).await;
    report.findings.extend(sound);
    report
        .findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then(a.object.cmp(&b.object)));
    Ok(report)
}

/// Returns which restore points need no damaged object; `None` if no restore point needs one.
async fn newest_sound(
    catalog: &Catalog,
    entries: &[CatalogEntry],
    options: &Options,
    found: &[Finding],
) -> Option<Finding> {
    let errors = found.iter().filter(|f| f.severity == Severity::Error);
    let damaged: HashSet<&str> = errors.map(|f| f.object.as_str()).collect();
    if damaged.is_empty() {
        return None;
    }
    let now = catalog.time(entries, options.now).await;
    let (mut newest, mut touched, mut all) = (None, 0_usize, 0_usize);
    for entries in entries.chunks(MANIFESTS) {
        for point in catalog.all_trusted(entries, &options.trust).await {
            if let Err(CatalogError::Distrusted { .. }) = point {
                continue;
            }
            all = all.saturating_add(1);
            let sound = point.ok().filter(|point| {
                let needs = NeededObject::of(point);
                !needs.iter().any(|e| damaged.contains(e.key.as_str()))
            });
            match sound {
                Some(point) if is_future(&point.entry.id, now) => {}
                Some(point) => newest = Some(point.entry.id),
                None => touched = touched.saturating_add(1),
            }
        }
    }
    (touched > 0).then(|| findings::sound(touched, all, newest.as_ref()))
}

fn about_point(point: &RestorePoint) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(findings::signature(&point.entry.id, point.verdict));
    if matches!(point.manifest.encryption, Encryption::None) {
        found.push(findings::not_encrypted(point));
    }
    found
}

/// Checks the owner marker, and compares it with the owner markers that the restore points name.
async fn owner_marker(
    store: &dyn Store,
    named: &[(RestorePointId, Digest)],
) -> Result<Option<Finding>, AuditError> {
    let key = layout::owner_marker();
    match store.get(&key).await {
        Ok(bytes) => {
            let found = Digest::of(&bytes);
            let mut others = named.iter().filter(|(_, digest)| *digest != found);
            Ok(match (OwnerMarker::parse(&bytes), others.next()) {
                (Err(e), _) => Some(findings::bad_owner_marker(&e)),
                (Ok(_), Some((first, _))) => {
                    let more = others.count();
                    Some(findings::other_owner_marker(first, more))
                }
                (Ok(_), None) => None,
            })
        }
        Err(StoreError::NotFound { .. }) => Ok((!named.is_empty()).then(findings::no_owner_marker)),
        Err(source) => Err(AuditError::Store {
            key: key.to_string(),
            source,
        }),
    }
}

/// Walks the whole listing: removes the listed objects from `needs`, and reports the others.
async fn list_all(
    store: &dyn Store,
    needs: &mut NeededObjects,
    report: &mut Report,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), AuditError> {
    progress.step("looking at every object", None);
    let (mut markers, mut first) = (0_usize, None);
    let mut pages = std::pin::pin!(list_pages(store, ""));
    let listing = |source| AuditError::Store {
        key: store.describe(),
        source,
    };
    while let Some(page) = pages.try_next().await.map_err(listing)? {
        let mut looks = Vec::new();
        report
            .findings
            .extend(page.foreign.iter().map(|name| findings::stranger(name)));
        markers = markers.saturating_add(page.markers.len());
        first = first.or_else(|| page.markers.into_iter().next());
        for object in page.objects {
            report.objects = report.objects.saturating_add(1);
            report.bytes = report.bytes.saturating_add(object.size);
            match needs.place(&object) {
                ObjectRelation::Needed(expected) => looks.push(expected),
                // Its name still states its digest.
                ObjectRelation::Apart(expected) => looks.extend(expected),
                ObjectRelation::Orphan(expected) => {
                    report.unreferenced = report.unreferenced.saturating_add(1);
                    report.unreferenced_bytes =
                        report.unreferenced_bytes.saturating_add(object.size);
                    looks.push(expected);
                }
                ObjectRelation::Foreign => report
                    .findings
                    .push(findings::stranger(object.key.as_str())),
            }
        }
        let seen = looks
            .iter()
            .fold(0_u64, |sum, e| sum.saturating_add(e.bytes));
        let mut looks = futures::stream::iter(looks)
            .map(|e| async move {
                if options.deep {
                    download(store, &e).await
                } else {
                    look_at(store, &e).await
                }
            })
            .buffer_unordered(if options.deep { 4 } else { MAX_PARALLEL });
        let failed = |(key, source): (Key, StoreError)| AuditError::Store {
            key: key.to_string(),
            source,
        };
        while let Some(finding) = looks.try_next().await.map_err(failed)? {
            report.findings.extend(finding);
        }
        progress.advance(seen);
    }
    if report.unreferenced > 0 {
        report.findings.push(findings::unreferenced(report));
    }
    report
        .findings
        .extend(first.map(|first| findings::markers(&first, markers)));
    Ok(())
}

async fn download(
    store: &dyn Store,
    expected: &NeededObject,
) -> Result<Option<Finding>, (Key, StoreError)> {
    match store.get(&expected.key).await {
        Ok(bytes) => {
            let size = to_u64(bytes.len());
            Ok(findings::judge(expected, size, Some(Digest::of(&bytes))))
        }
        Err(StoreError::NotFound { .. }) => Ok(Some(findings::missing(expected))),
        Err(StoreError::TooLarge { size, .. }) => Ok(findings::judge(expected, size, None)),
        Err(StoreError::Checksum { .. }) => Ok(Some(findings::changed(expected))),
        Err(StoreError::Archived { archived, .. }) => {
            Ok(Some(findings::archived(expected, &archived)))
        }
        Err(e) => Err((expected.key.clone(), e)),
    }
}
