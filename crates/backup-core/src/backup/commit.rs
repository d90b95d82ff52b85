//! End of a run: the objects that make it a restore point.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::draft::Draft;
use super::history::RunHistory;
use super::run_state::RunState;
use super::stages::UploadTotals;
use super::stored_component::StoredComponent;
use super::{BackupError, NewRestorePoint, Protection, Run, check, put};
use crate::crypt::Sealer;
use crate::digest::Digest;
use crate::format::index::{self, MAX_CHUNKS, PackChunks};
use crate::format::manifest::{Cost, Encryption, MAX_MANIFEST, Manifest, Parent, StoredObject};
use crate::format::{FormatError, VERSION, layout};
use crate::id::RestorePointId;
use crate::progress::Phase;

mod components;
mod lineage;

use self::components::components;
use self::lineage::lineage;

/// Number of indexes at which a run replaces them with one, because each run reads all of them.
const MAX_INDEXES: usize = 96;

/// Duration above which a run checks the objects that it put before it commits. Most runs end sooner, and
/// leftovers are older when they are removed.
const UNLOOKED: SignedDuration = SignedDuration::from_secs(30);

/// Stores the indexes, the signature and, last, the manifest.
pub(super) async fn commit(work: RunState<'_>) -> Result<NewRestorePoint, BackupError> {
    let RunState {
        run,
        findings,
        parts,
        missing,
        claimed,
        draft,
        history,
        mut spent,
        kubernetes,
        ..
    } = work;
    run.progress.phase(Phase::Storing);
    run.progress.step("committing", None);
    let indexes = put_indexes(run, &draft, &history, &mut spent).await?;
    let parent = history.parent.as_ref();
    let uid = kubernetes.as_ref().map(|k| k.uid.clone());
    let lineage = lineage(run, parent, &parts, uid);
    let (components, epochs) = components(&draft, &history, &parts)?;
    let sum = |of: fn(&StoredComponent) -> u64| parts.iter().map(of).fold(0, u64::saturating_add);
    let cost = Cost {
        read_bytes: sum(|p| p.plain_bytes),
        chunks: sum(|p| p.seen.chunks),
        new_chunks: sum(|p| p.seen.new_chunks),
        objects: spent.objects,
        stored_bytes: spent.bytes,
    };
    let manifest = Manifest {
        version: VERSION,
        tool: run.tool.clone(),
        cluster: run.cluster.clone(),
        claim: claimed.digest,
        began: draft.began,
        ended: run.clock.now(),
        reason: run.reason.clone(),
        pinned: run.pinned,
        lineage,
        parent: parent.map(|p| Parent {
            id: p.entry.id.clone(),
            manifest: p.entry.digest,
        }),
        encryption: match run.protection {
            Protection::None => Encryption::None,
            Protection::Recipients(_) => Encryption::Age { epochs },
        },
        components,
        missing,
        kitless: history.kitless,
        kubernetes,
        indexes,
        findings,
        cost,
    };
    put_manifest(run, draft.began, manifest).await
}

async fn put_manifest(
    run: &Run,
    began: Timestamp,
    manifest: Manifest,
) -> Result<NewRestorePoint, BackupError> {
    manifest.check()?;
    let bytes = Bytes::from(manifest.to_bytes()?);
    if bytes.len() > MAX_MANIFEST {
        let what = format!("it would have {} bytes, above {MAX_MANIFEST}", bytes.len());
        return Err(FormatError::damaged("manifest", what).into());
    }
    let digest = Digest::of(&bytes);
    let id = RestorePointId::new(began, digest);
    let store = run.store.as_ref();
    if let Some(key) = &run.signing_key {
        let comment = format!("butler-backup restore point {id} of {}", run.cluster);
        let signature = Bytes::from(key.sign(&bytes, &comment)?);
        let name = Digest::of(&signature);
        put(store, &layout::signature(digest, name), signature, name).await?;
    }
    // After that long, a removal of leftovers may have deleted what this run put. The grace time should
    // prevent that, but a restore point with a hole is worse than none.
    if run.clock.now().duration_since(began) > UNLOOKED {
        check::before(run, &manifest).await?;
    }
    if run.cancel.is_cancelled() {
        return Err(BackupError::Cancelled);
    }
    put(store, &layout::manifest(began, digest), bytes, digest).await?;
    Ok(NewRestorePoint {
        id,
        digest,
        manifest,
    })
}

async fn put_indexes(
    run: &Run,
    draft: &Draft,
    history: &RunHistory,
    spent: &mut UploadTotals,
) -> Result<Vec<StoredObject>, BackupError> {
    let (known, used) = history.table.counts();
    // Chunks that no newer snapshot uses pile up in the indexes of old runs. Once they outnumber the chunks
    // in use, or the indexes are too many, one index of the chunks in use replaces all of them.
    let all = history.indexes.len() >= MAX_INDEXES || known > used.saturating_mul(2);
    let mut indexes = if all {
        Vec::new()
    } else {
        history.indexes.clone()
    };
    let sealer = match (&draft.epoch, &history.index_recipient) {
        (None, _) => Sealer::plain(),
        (Some(epoch), None) => Sealer::to(std::slice::from_ref(&epoch.recipient)),
        (Some(epoch), Some(own)) => Sealer::to(&[epoch.recipient.clone(), own.clone()]),
    };
    for packs in split(history.table.index(all)) {
        let bytes = Bytes::from(sealer.seal(&index::encode(&packs)?)?);
        // Frees the memory before the upload.
        drop(packs);
        let digest = Digest::of(&bytes);
        let object = put(run.store.as_ref(), &layout::index(digest), bytes, digest).await?;
        *spent = spent.plus(UploadTotals {
            objects: 1,
            bytes: object.bytes,
        });
        indexes.push(object);
    }
    Ok(indexes)
}

/// Splits an index so that no part has more chunks than an object may; makes one part at a time.
fn split(packs: impl Iterator<Item = PackChunks>) -> impl Iterator<Item = Vec<PackChunks>> {
    let mut packs = packs.peekable();
    std::iter::from_fn(move || {
        let first = packs.next()?;
        let mut room = MAX_CHUNKS.saturating_sub(first.chunks.len());
        let mut part = vec![first];
        while let Some(pack) = packs.next_if(|pack| pack.chunks.len() <= room) {
            room = room.saturating_sub(pack.chunks.len());
            part.push(pack);
        }
        Some(part)
    })
}
