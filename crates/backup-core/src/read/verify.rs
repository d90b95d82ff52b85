//! Verification of one restore point: that it is complete, and comes back unchanged.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::archive::ObjectReader;
use super::assemble::{Assembly, assemble, mismatch};
use super::keys::PointKeys;
use super::objects::PointObjects;
use crate::archive::{ArchiveError, StoredJson};
use crate::audit::{self, NeededObject};
use crate::catalog::RestorePoint;
use crate::etcd::{Inspector, SnapshotFacts, TrailerCheck};
use crate::format::manifest::{Component, Finding, Severity};
use crate::format::{index, layout};
use crate::progress::Progress;
use crate::store::{MAX_OBJECT, Store};

/// Objects of a component that cannot be restored and are listed one by one.
const MAX_FLAWS: usize = 20;

/// Depth of a verification.
#[derive(Debug)]
pub enum VerifyDepth {
    /// Presence, size and recorded checksum of every object; needs no key.
    Quick,
    /// Everything: digests, decryption, recipes, every plain byte, trailer and bbolt walk.
    Full(PointKeys),
}

/// Result of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Number of objects that were checked.
    pub objects: u64,
    /// Size of the stored bytes of these objects.
    pub stored_bytes: u64,
    /// Plain bytes that were assembled and checked; 0 for a quick verification.
    pub plain_bytes: u64,
    /// Faults that were found; none if the restore point is sound.
    pub findings: Vec<Finding>,
}

/// Verifies `point`. `scratch` is a folder with room for the largest component; the files in it are
/// encrypted.
///
/// # Errors
/// If the store fails, or a full verification finds damage; a quick one collects findings.
pub async fn verify(
    store: Arc<dyn Store>,
    point: &RestorePoint,
    depth: VerifyDepth,
    scratch: &Path,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<VerifyReport, RestoreError> {
    let expected = NeededObject::of(point);
    let mut verified = VerifyReport::default();
    progress.step("looking at every object", None);
    let mut looks = futures::stream::iter(&expected)
        .map(|e| audit::look_at(store.as_ref(), e))
        .buffer_unordered(audit::MAX_PARALLEL);
    while let Some(finding) =
        looks
            .try_next()
            .await
            .map_err(|(key, source)| RestoreError::Store {
                id: point.entry.id.clone(),
                key,
                source,
            })?
    {
        verified.findings.extend(finding);
    }
    drop(looks);
    for e in &expected {
        verified.objects = verified.objects.saturating_add(1);
        verified.stored_bytes = verified.stored_bytes.saturating_add(e.bytes);
    }
    let VerifyDepth::Full(unlocked) = depth else {
        return Ok(verified);
    };
    if !verified.findings.is_empty() {
        // Objects that are missing or have another size cannot be read; the findings already report them.
        return Ok(verified);
    }
    let objects = PointObjects {
        store,
        id: point.entry.id.clone(),
        folder: None,
    };
    let assembly = Assembly {
        objects,
        unlocked: Arc::new(unlocked),
        progress,
        cancel,
        file: None,
    };
    read_indexes(&assembly, point).await?;
    for component in &point.manifest.components {
        if component
            .archive
            .as_ref()
            .is_some_and(|a| !a.kinds.is_empty())
        {
            match check_objects(&assembly, (point, scratch), component).await {
                Err(closed @ RestoreError::Closed { .. }) => {
                    verified.findings.push(not_read(component, &closed));
                    continue;
                }
                read => verified.findings.extend(read?),
            }
            verified.plain_bytes = verified.plain_bytes.saturating_add(component.plain_bytes);
            continue;
        }
        let watch = SnapshotWriter::default();
        let watch = match assemble(&assembly, component, scratch, watch).await {
            Err(closed @ RestoreError::Closed { .. }) => {
                verified.findings.push(not_read(component, &closed));
                continue;
            }
            read => read?,
        };
        verified.plain_bytes = verified.plain_bytes.saturating_add(component.plain_bytes);
        if component.etcd.is_some() {
            let facts = check_snapshot(component, watch)?;
            let torn = audit::torn(&component.name, &facts.torn, Severity::Warning);
            verified.findings.extend(torn);
        }
    }
    Ok(verified)
}

/// Reads every object of a component as a restore does, and returns a finding for each that cannot be
/// restored.
async fn check_objects(
    assembly: &Assembly,
    (point, scratch): (&RestorePoint, &Path),
    component: &Component,
) -> Result<Vec<Finding>, RestoreError> {
    let reader = ObjectReader {
        store: Arc::clone(&assembly.objects.store),
        point: Arc::new(point.clone()),
        unlocked: Arc::clone(&assembly.unlocked),
        scratch: scratch.to_owned(),
        progress: Arc::clone(&assembly.progress),
        cancel: assembly.cancel.clone(),
    };
    let checked = reader.fold(&component.name, (Vec::new(), 0_u64), |found, object| {
        let (flaws, more) = found;
        match object.check() {
            Ok(()) => {}
            Err(e) if flaws.len() < MAX_FLAWS => flaws.push(flaw(&object, &e)),
            Err(_) => *more = more.saturating_add(1),
        }
        ControlFlow::Continue(())
    });
    let (mut flaws, more) = checked.await?;
    if more > 0 {
        flaws.push(Finding::warning(
            component.name.to_string(),
            format!("{more} more of its objects cannot be restored"),
            "see those above",
        ));
    }
    Ok(flaws)
}

/// Returns the finding for an object that has the captured bytes, but that no restore can write.
fn flaw(object: &StoredJson, error: &ArchiveError) -> Finding {
    Finding::warning(
        object.path.to_string(),
        format!("it is stored as it was captured, but this one object cannot be restored: {error}"),
        "create it by hand from what `restore-cli fetch` returns",
    )
}

/// Returns the finding for a carried component older than the reader's key, which is not damage.
fn not_read(component: &Component, closed: &RestoreError) -> Finding {
    Finding::warning(
        component.name.to_string(),
        format!("it exists, but was not read: {closed}"),
        "read it with one of those keys, or store it again: `backupd kit add FILE`",
    )
}

async fn read_indexes(assembly: &Assembly, point: &RestorePoint) -> Result<(), RestoreError> {
    for object in &point.manifest.indexes {
        let key = layout::index(object.sha256);
        let bytes = assembly.objects.get(&key, object.sha256).await?;
        // An index of an earlier month is encrypted to an epoch that this restore point may not need. Its
        // digest was checked, and only the daemon reads it.
        let Ok(opened) = assembly.unlocked.own_opener().open(&bytes, MAX_OBJECT) else {
            continue;
        };
        index::decode(&opened).map_err(|source| RestoreError::Format { key, source })?;
    }
    Ok(())
}

/// Returns the facts about a snapshot that was read back. It must be sound, and match the manifest.
pub(super) fn check_snapshot(
    component: &Component,
    watch: SnapshotWriter,
) -> Result<SnapshotFacts, RestoreError> {
    let facts = SnapshotFacts::join(watch.trailer.finish(), watch.pages.finish());
    let facts = facts.map_err(|source| RestoreError::Snapshot {
        component: component.name.clone(),
        source,
    })?;
    let Some(etcd) = &component.etcd else {
        return Ok(facts);
    };
    if facts.revision != etcd.revision || facts.total_keys != etcd.total_keys {
        let what = format!(
            "it has revision {} and {:?} keys, the manifest says {} and {:?}",
            facts.revision, facts.total_keys, etcd.revision, etcd.total_keys
        );
        return Err(mismatch(component, what));
    }
    Ok(facts)
}

/// Writer that checks a snapshot and keeps nothing of it.
#[derive(Default)]
pub(super) struct SnapshotWriter {
    trailer: TrailerCheck,
    pages: Inspector,
}

impl Write for SnapshotWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.trailer.push(buf);
        self.pages.push(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
