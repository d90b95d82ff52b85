//! Reader for the indexes of earlier restore points: the chunks that are stored, and their packs.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _};
use zeroize::Zeroizing;

use super::super::owner_marker::StoredMarker;
use super::super::table::ChunkTable;
use super::super::{Protection, Run};
use crate::catalog::{RestorePoint, list_pages};
use crate::crypt::{Identities, Opener, Recipient, SigningKey};
use crate::digest::Digest;
use crate::format::index;
use crate::format::layout::{self, ObjectKind};
use crate::format::manifest::StoredObject;
use crate::store::{Access, MAX_OBJECT, StoreError};

/// Indexes read at the same time: hides round trips, and holds some tens of MiB at most.
const READS: usize = 4;
/// Heads requested at the same time: each answer is only some headers.
const HEADS: usize = 16;

/// Keys that open indexes, and the key of the chunk ids in them.
pub(super) struct IndexReader {
    identities: Option<Identities>,
    pub(super) recipient: Option<Recipient>,
    pub(super) chunk_id_key: Zeroizing<[u8; 32]>,
    encrypted: bool,
}

impl IndexReader {
    pub(super) fn new(run: &Run, claimed: &StoredMarker) -> Self {
        let encrypted = matches!(run.protection, Protection::Recipients(_));
        let (identities, recipient) = run
            .signing_key
            .as_ref()
            .and_then(SigningKey::index_identity)
            .map_or((None, None), |(identities, recipient)| {
                (Some(identities), Some(recipient))
            });
        let chunk_id_key = match &run.signing_key {
            Some(key) => key.chunk_id_key(),
            // A run that encrypts without a secret of its own can never read its indexes again, and a run
            // that does not encrypt has nothing to hide: any stable key works.
            None => Zeroizing::new(blake3::derive_key(
                "butler-backup v1 chunk ids of an unsigned prefix",
                claimed.marker.id.as_bytes(),
            )),
        };
        Self {
            identities,
            recipient,
            chunk_id_key,
            encrypted,
        }
    }

    /// Whether this run can use the parent's indexes: they must be encrypted as this run encrypts. Turning
    /// encryption on or off starts again without them.
    pub(super) fn can_read(&self, parent: &RestorePoint) -> bool {
        let parent_encrypted = !parent.manifest.epochs().is_empty();
        parent_encrypted == self.encrypted && (!self.encrypted || self.identities.is_some())
    }

    fn opener(&self) -> Opener<'_> {
        match &self.identities {
            Some(identities) if self.encrypted => Opener::with(identities),
            _ => Opener::plain(),
        }
    }
}

/// Returns the parent's packs that every recipient of this run can read. Recipients added later cannot unwrap
/// older epochs, so they could not read a restore point that needs one.
pub(super) fn shared_packs(run: &Run, parent: &RestorePoint) -> Vec<(Digest, u64)> {
    let recipients = run.protection.recipients();
    let shared: Vec<bool> = parent
        .manifest
        .epochs()
        .iter()
        .map(|e| recipients.iter().all(|r| e.recipients.contains(r)))
        .collect();
    let packs = parent.manifest.components.iter().flat_map(|c| &c.packs);
    packs
        .filter(|p| {
            let epoch = usize::try_from(p.epoch).ok().and_then(|e| shared.get(e));
            epoch.copied().unwrap_or(shared.is_empty())
        })
        .map(|p| (p.sha256, p.bytes))
        .collect()
}

/// Learns the chunks in `indexes` that lie in `shared` packs, if those packs still exist and can be read at
/// once. Returns how many packs are archived.
pub(super) async fn load_indexes(
    run: &Run,
    reader: &IndexReader,
    indexes: &[&StoredObject],
    shared: Vec<(Digest, u64)>,
    table: &mut ChunkTable,
) -> Result<usize, String> {
    let mut wanted: HashMap<Digest, u64> = shared.into_iter().collect();
    // A pack known from another restore point would get a second number.
    wanted.retain(|digest, _| !table.has_pack(digest));
    let (present, archived) = present_packs(run, &wanted)
        .await
        .map_err(|e| e.to_string())?;
    wanted.retain(|digest, _| present.contains(digest));
    let store = run.store.as_ref();
    // Not the references: the compiler could not prove that the future is `Send`.
    let digests: Vec<Digest> = indexes.iter().map(|object| object.sha256).collect();
    let mut indexes = futures::stream::iter(digests)
        .map(|digest| async move {
            let bytes = store
                .get(&layout::index(digest))
                .await
                .map_err(|e| e.to_string())?;
            if Digest::of(&bytes) != digest {
                return Err(format!("index {digest} was changed"));
            }
            let opened = reader
                .opener()
                .open(&bytes, MAX_OBJECT)
                .map_err(|e| e.to_string())?;
            index::decode(&opened).map_err(|e| e.to_string())
        })
        .buffered(READS);
    while let Some(packs) = indexes.try_next().await? {
        // A pack that is gone, or that the parent no longer refers to, must not be built upon.
        for pack in packs
            .iter()
            .filter(|p| wanted.get(&p.pack) == Some(&p.stored_bytes))
        {
            table.add_chunks(pack);
        }
    }
    Ok(archived)
}

/// Returns the packs of `wanted` that the store has at their recorded size and can return at once, and the
/// number of those that are archived.
async fn present_packs(
    run: &Run,
    wanted: &HashMap<Digest, u64>,
) -> Result<(HashSet<Digest>, usize), StoreError> {
    let store = run.store.as_ref();
    let (mut present, mut archived) = (HashSet::new(), 0_usize);
    let mut pages = std::pin::pin!(list_pages(run.store.as_ref(), "packs/"));
    while let Some(page) = pages.try_next().await? {
        let mut tiered = Vec::new();
        for object in page.objects {
            if let Some(ObjectKind::Pack(digest)) = ObjectKind::of(&object.key)
                && wanted.get(&digest) == Some(&object.size)
            {
                match object.access {
                    Access::AtOnce => drop(present.insert(digest)),
                    Access::Tiered => tiered.push((digest, object.key)),
                    // An archived object may be restored, but the restored copy expires after some days.
                    Access::Archived(_) => archived = archived.saturating_add(1),
                }
            }
        }
        let mut heads = futures::stream::iter(tiered)
            .map(|(digest, key)| async move { (digest, store.head(&key).await) })
            .buffer_unordered(HEADS);
        while let Some((digest, head)) = heads.next().await {
            match head {
                Ok(info) if info.access == Access::AtOnce => drop(present.insert(digest)),
                Ok(_) => archived = archived.saturating_add(1),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((present, archived))
}
