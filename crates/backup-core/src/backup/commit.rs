//! The beginning and the end of a run: its epoch, and the objects that make it a restore point.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::memory::Memory;
use super::recorder::Seen;
use super::stages::Spent;
use super::work::Work;
use super::{BackupError, Committed, Protection, Run, check, put};
use crate::catalog::RestorePoint;
use crate::crypt::{Sealer, Verdict, new_epoch};
use crate::digest::Digest;
use crate::format::export::ArchiveFacts;
use crate::format::index::{self, MAX_CHUNKS, PackChunks};
use crate::format::manifest::{
    Component, Cost, Encryption, Epoch, EtcdFacts, Lineage, MAX_MANIFEST, Manifest, PackRef,
    Parent, StoredObject,
};
use crate::format::{FormatError, VERSION, layout};
use crate::id::{ComponentName, RestorePointId};
use crate::progress::Phase;

/// A run reads one small index of each earlier run; from this many on it writes one for all.
const MAX_INDEXES: usize = 96;

/// Runs that take longer look at what they put before they commit. Most are over by then, and leftovers
/// that are removed are older.
const UNLOOKED: SignedDuration = SignedDuration::from_secs(30);

/// What is decided of a restore point before its bytes come.
pub(super) struct Draft {
    began: Timestamp,
    epoch: Option<Epoch>,
}

impl Draft {
    /// Notes the time and finds or makes the epoch. A parent's epoch goes on for its month, if its
    /// recipients are still the same and this run's own key vouches for the parent.
    pub(super) async fn begin(
        run: &Run,
        parent: Option<&RestorePoint>,
    ) -> Result<(Self, Sealer, Spent), BackupError> {
        let began = run.clock.now();
        let Protection::Recipients(recipients) = &run.protection else {
            return Ok((
                Self { began, epoch: None },
                Sealer::plain(),
                Spent::default(),
            ));
        };
        let mut recipients = recipients.clone();
        recipients.sort();
        recipients.dedup();
        let goes_on = |e: &&Epoch| e.recipients == recipients && month(e.began) == month(began);
        let parent = parent.filter(|p| p.verdict == Verdict::Trusted);
        if let Some(epoch) = parent
            .and_then(|p| p.manifest.epochs().last())
            .filter(goes_on)
        {
            let sealer = Sealer::to(std::slice::from_ref(&epoch.recipient));
            let epoch = Some(epoch.clone());
            return Ok((Self { began, epoch }, sealer, Spent::default()));
        }
        let new = new_epoch(&recipients)?;
        let sealer = Sealer::to(std::slice::from_ref(&new.recipient));
        let key = layout::epoch_key(new.digest);
        let key = put(run.store.as_ref(), &key, new.key_object, new.digest).await?;
        let spent = Spent {
            objects: 1,
            bytes: key.bytes,
        };
        let epoch = Some(Epoch {
            recipient: new.recipient,
            key,
            recipients,
            began,
        });
        Ok((Self { began, epoch }, sealer, spent))
    }

    /// The public half of the epoch; empty without encryption.
    pub(super) fn epoch_text(&self) -> String {
        self.epoch
            .as_ref()
            .map(|e| e.recipient.to_string())
            .unwrap_or_default()
    }
}

fn month(time: Timestamp) -> (i16, i8) {
    let date = time.to_zoned_datetime(TimeZone::UTC);
    (date.year(), date.month())
}

/// A component whose bytes are stored.
pub(super) struct Part {
    pub(super) name: ComponentName,
    pub(super) media_type: String,
    pub(super) plain_bytes: u64,
    pub(super) plain_sha256: Digest,
    pub(super) seen: Seen,
    pub(super) recipes: Vec<StoredObject>,
    pub(super) etcd: Option<EtcdFacts>,
    pub(super) archive: Option<ArchiveFacts>,
    pub(super) kube_system_uid: Option<String>,
}

/// Stores the index, the signature and, last, the manifest.
pub(super) async fn commit(work: Work<'_>) -> Result<Committed, BackupError> {
    let Work {
        run,
        findings,
        parts,
        missing,
        claimed,
        draft,
        memory,
        mut spent,
        kubernetes,
        ..
    } = work;
    run.progress.phase(Phase::Storing);
    run.progress.step("committing", None);
    let indexes = put_indexes(run, &draft, &memory, &mut spent).await?;
    let parent = memory.parent.as_ref();
    let uid = kubernetes.as_ref().map(|k| k.uid.clone());
    let lineage = lineage(run, parent, &parts, uid);
    let (components, epochs) = components(&draft, &memory, &parts)?;
    let sum = |of: fn(&Part) -> u64| parts.iter().map(of).fold(0, u64::saturating_add);
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
        kitless: memory.kitless,
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
) -> Result<Committed, BackupError> {
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
    // What was put that long ago may have been taken for a leftover. The grace time should forbid that, and
    // a restore point with a hole is worse than none.
    if run.clock.now().duration_since(began) > UNLOOKED {
        check::before(run, &manifest).await?;
    }
    if run.cancel.is_cancelled() {
        return Err(BackupError::Cancelled);
    }
    put(store, &layout::manifest(began, digest), bytes, digest).await?;
    Ok(Committed {
        id,
        digest,
        manifest,
    })
}

async fn put_indexes(
    run: &Run,
    draft: &Draft,
    memory: &Memory,
    spent: &mut Spent,
) -> Result<Vec<StoredObject>, BackupError> {
    let (known, used) = memory.table.counts();
    // Chunks that no newer snapshot uses pile up in the indexes of old runs: once they are as
    // many as those in use, or the indexes many, one index of what is in use replaces them all.
    let all = memory.indexes.len() >= MAX_INDEXES || known > used.saturating_mul(2);
    let mut indexes = if all {
        Vec::new()
    } else {
        memory.indexes.clone()
    };
    let sealer = match (&draft.epoch, &memory.index_recipient) {
        (None, _) => Sealer::plain(),
        (Some(epoch), None) => Sealer::to(std::slice::from_ref(&epoch.recipient)),
        (Some(epoch), Some(own)) => Sealer::to(&[epoch.recipient.clone(), own.clone()]),
    };
    for packs in split(memory.table.index(all)) {
        let bytes = Bytes::from(sealer.seal(&index::encode(&packs)?)?);
        // What an object was made of need not wait for its upload.
        drop(packs);
        let digest = Digest::of(&bytes);
        let object = put(run.store.as_ref(), &layout::index(digest), bytes, digest).await?;
        *spent = spent.plus(Spent {
            objects: 1,
            bytes: object.bytes,
        });
        indexes.push(object);
    }
    Ok(indexes)
}

/// Splits an index so that no part holds more chunks than an object may; makes one part at a time.
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

/// The parts as the manifest has them, and the epochs that their packs are encrypted to.
fn components(
    draft: &Draft,
    memory: &Memory,
    parts: &[Part],
) -> Result<(Vec<Component>, Vec<Epoch>), BackupError> {
    let all: BTreeMap<&str, &Epoch> = memory
        .epochs
        .iter()
        .chain(&draft.epoch)
        .chain(memory.kit.iter().flat_map(|kit| &kit.epochs))
        .map(|e| (e.recipient.as_str(), e))
        .collect();
    let missing = |what: &str| FormatError::damaged("run", format!("a {what} is not known"));
    let table = &memory.table;
    let current = draft.epoch.as_ref().map(|e| e.recipient.clone());
    let mut used: Vec<&Epoch> = Vec::new();
    for number in parts.iter().flat_map(|p| &p.seen.packs) {
        let pack = table.pack(*number).ok_or_else(|| missing("pack"))?;
        if pack.epoch.is_empty() {
            continue;
        }
        let epoch = all.get(pack.epoch.as_str());
        let epoch = epoch.ok_or_else(|| missing("pack's epoch"))?;
        if !used.contains(epoch) {
            used.push(epoch);
        }
    }
    let kit = memory.kit.as_ref();
    for position in kit.iter().flat_map(|kit| epochs_of(&kit.component)) {
        let epoch = kit.and_then(|kit| kit.epochs.get(position));
        let epoch = epoch.ok_or_else(|| missing("kit's epoch"))?;
        if !used.iter().any(|u| u.recipient == epoch.recipient) {
            used.push(epoch);
        }
    }
    // The run's own epoch is always listed, and last: recipes are encrypted to it.
    used.retain(|e| Some(&e.recipient) != current.as_ref());
    used.sort_by_key(|e| e.began);
    let epochs: Vec<Epoch> = used.into_iter().chain(&draft.epoch).cloned().collect();
    let position = |text: &str| epochs.iter().position(|e| e.recipient.as_str() == text);
    let mut components = Vec::with_capacity(parts.len());
    for part in parts {
        let mut packs = Vec::with_capacity(part.seen.packs.len());
        for number in &part.seen.packs {
            let pack = table.pack(*number).ok_or_else(|| missing("pack"))?;
            let (sha256, bytes) = pack.stored.ok_or_else(|| missing("pack's digest"))?;
            packs.push(PackRef {
                sha256,
                bytes,
                plain_bytes: pack.plain_bytes,
                epoch: position(&pack.epoch)
                    .and_then(|p| u64::try_from(p).ok())
                    .unwrap_or(0),
            });
        }
        components.push(Component {
            name: part.name.clone(),
            media_type: part.media_type.clone(),
            plain_bytes: part.plain_bytes,
            plain_sha256: part.plain_sha256,
            packs,
            recipes: part.recipes.clone(),
            recipe_epoch: None,
            carried_from: None,
            etcd: part.etcd.clone(),
            archive: part.archive.clone(),
            more: BTreeMap::new(),
        });
    }
    if let Some(kit) = kit {
        let mut component = kit.component.clone();
        // Positions were those of its own restore point.
        let moved = |old: u64| {
            let old = usize::try_from(old).ok();
            let epoch = old.and_then(|old| kit.epochs.get(old))?;
            u64::try_from(position(epoch.recipient.as_str())?).ok()
        };
        for pack in &mut component.packs {
            pack.epoch = moved(pack.epoch).unwrap_or(0);
        }
        component.recipe_epoch = component.recipe_epoch.and_then(moved);
        components.push(component);
    }
    Ok((components, epochs))
}

/// The positions of the epochs that a component needs; none without encryption.
fn epochs_of(component: &Component) -> impl Iterator<Item = usize> {
    let encrypted = component.recipe_epoch.is_some();
    let packs = component.packs.iter().map(|pack| pack.epoch);
    let packs = packs.filter(move |_| encrypted);
    let all = packs.chain(component.recipe_epoch);
    all.filter_map(|position| usize::try_from(position).ok())
}

/// Tells whether this is still the parent's incarnation of the cluster.
fn lineage(
    run: &Run,
    parent: Option<&RestorePoint>,
    parts: &[Part],
    uid: Option<String>,
) -> Lineage {
    let own = parts.iter().find(|p| p.name == ComponentName::etcd());
    let uid = uid.or_else(|| own?.kube_system_uid.clone());
    let etcd = own.and_then(|p| p.etcd.as_ref());
    let revision = etcd.map(|e| e.revision);
    let begin = |because: Option<String>| {
        if let Some(because) = &because {
            run.progress
                .note(&format!("a new lineage begins: {because}"));
        }
        Lineage {
            id: uuid::Uuid::new_v4().to_string(),
            kube_system_uid: uid.clone(),
            revision,
            begun_because: because,
        }
    };
    let Some(before) = parent.map(|p| &p.manifest.lineage) else {
        return begin(None);
    };
    if let (Some(old), Some(new)) = (&before.kube_system_uid, &uid)
        && old != new
    {
        return begin(Some(format!(
            "the UID of kube-system was {old} and is {new}"
        )));
    }
    // A file that is imported may be older than the newest restore point.
    let imported = etcd.is_some_and(|e| e.origin == "import");
    if let (Some(old), Some(new)) = (before.revision, revision)
        && new < old
        && !imported
    {
        return begin(Some(format!(
            "etcd's revision went back from {old} to {new}"
        )));
    }
    Lineage {
        id: before.id.clone(),
        kube_system_uid: uid.or_else(|| before.kube_system_uid.clone()),
        revision: revision.max(before.revision),
        begun_because: None,
    }
}
