//! Which chunks are stored already, and where: the memory that makes the next snapshot cheap.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::format::index::{ChunkAt, ChunkId, PackChunks};

/// A pack's position in a [`Table`].
pub(super) type PackNumber = u32;

/// Where a chunk lies. 24 bytes each: 600 000 chunks, a 2 GiB database, take about 30 MiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) pack: PackNumber,
    pub(super) offset: u32,
    pub(super) length: u32,
}

struct Entry {
    id: ChunkId,
    /// The top bit tells that this run used the chunk.
    pack: u32,
    offset: u32,
    length: u32,
}

const USED: u32 = 1 << 31;

/// What is known of a pack.
#[derive(Debug, Clone)]
pub(super) struct PackFacts {
    /// Digest and number of the stored bytes; `None` until it is stored.
    pub(super) stored: Option<(Digest, u64)>,
    pub(super) plain_bytes: u64,
    /// The public half of its epoch; empty if it is not encrypted.
    pub(super) epoch: String,
    /// Whether this run made it.
    pub(super) new: bool,
}

/// The chunks of a prefix that a run may refer to.
pub(super) struct Table {
    key: Zeroizing<[u8; 32]>,
    packs: Vec<PackFacts>,
    chunks: HashTable<Entry>,
}

fn hash(id: &ChunkId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    // Ids are keyed hashes, so their own bytes are as good as any further hash of them.
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Table {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key,
            packs: Vec::new(),
            chunks: HashTable::new(),
        }
    }

    /// The id of a chunk.
    pub(super) fn id(&self, bytes: &[u8]) -> ChunkId {
        let hash = blake3::keyed_hash(&self.key, bytes);
        let mut id = [0; 12];
        id.copy_from_slice(hash.as_bytes().split_at(12).0);
        id
    }

    /// Takes over what an index says of one pack.
    pub(super) fn learn(&mut self, pack: &PackChunks) {
        let Some(number) = self.add_pack(PackFacts {
            stored: Some((pack.pack, pack.stored_bytes)),
            plain_bytes: pack.plain_bytes,
            epoch: pack.epoch.clone(),
            new: false,
        }) else {
            return;
        };
        self.chunks.reserve(pack.chunks.len(), |e| hash(&e.id));
        for chunk in &pack.chunks {
            let place = Place {
                pack: number,
                offset: chunk.offset,
                length: chunk.length,
            };
            self.insert(chunk.id, place, 0);
        }
    }

    /// Gives a pack its number; `None` when there are 2^31, which no bucket holds.
    pub(super) fn add_pack(&mut self, facts: PackFacts) -> Option<PackNumber> {
        let number = u32::try_from(self.packs.len()).ok().filter(|n| *n < USED)?;
        self.packs.push(facts);
        Some(number)
    }

    /// Whether a pack of that name is known.
    pub(super) fn has_pack(&self, name: &Digest) -> bool {
        let stored = self.packs.iter().filter_map(|p| p.stored.as_ref());
        stored.into_iter().any(|(digest, _)| digest == name)
    }

    pub(super) fn pack(&self, number: PackNumber) -> Option<&PackFacts> {
        self.packs.get(usize::try_from(number).ok()?)
    }

    pub(super) fn pack_mut(&mut self, number: PackNumber) -> Option<&mut PackFacts> {
        self.packs.get_mut(usize::try_from(number).ok()?)
    }

    /// Finds a chunk and notes that this run uses it.
    pub(super) fn find(&mut self, id: &ChunkId, length: usize) -> Option<Place> {
        let same = |e: &Entry| e.id == *id && usize::try_from(e.length).is_ok_and(|l| l == length);
        let entry = self.chunks.find_mut(hash(id), same)?;
        entry.pack |= USED;
        Some(Place {
            pack: entry.pack & !USED,
            offset: entry.offset,
            length: entry.length,
        })
    }

    /// Notes where a new chunk lies or will lie, and that this run uses it.
    pub(super) fn put(&mut self, id: ChunkId, place: Place) {
        self.insert(id, place, USED);
    }

    fn insert(&mut self, id: ChunkId, place: Place, used: u32) {
        let same = |e: &Entry| e.id == id;
        let entry = Entry {
            id,
            pack: place.pack | used,
            offset: place.offset,
            length: place.length,
        };
        match self.chunks.entry(hash(&id), same, |e| hash(&e.id)) {
            Slot::Occupied(mut slot) => *slot.get_mut() = entry,
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
        }
    }

    /// How many chunks are known, and how many of them this run used.
    pub(super) fn counts(&self) -> (usize, usize) {
        (
            self.chunks.len(),
            self.chunks.iter().filter(|e| e.pack & USED != 0).count(),
        )
    }

    /// The chunks that the next run should know: those of packs that this run made, or with
    /// `all` every chunk that this run used. Packs without such chunks are left out.
    pub(super) fn index(&self, all: bool) -> Vec<PackChunks> {
        let wanted = |e: &&Entry| {
            e.pack & USED != 0 && (all || self.pack(e.pack & !USED).is_some_and(|p| p.new))
        };
        let mut entries: Vec<&Entry> = self.chunks.iter().filter(wanted).collect();
        entries.sort_unstable_by_key(|e| (e.pack & !USED, e.offset));
        let mut packs: Vec<PackChunks> = Vec::new();
        for group in entries.chunk_by(|a, b| a.pack & !USED == b.pack & !USED) {
            let Some(facts) = group.first().and_then(|e| self.pack(e.pack & !USED)) else {
                continue;
            };
            let Some((pack, stored_bytes)) = facts.stored else {
                continue;
            };
            let at = |e: &&Entry| ChunkAt {
                id: e.id,
                offset: e.offset,
                length: e.length,
            };
            packs.push(PackChunks {
                pack,
                stored_bytes,
                plain_bytes: facts.plain_bytes,
                epoch: facts.epoch.clone(),
                chunks: group.iter().map(at).collect(),
            });
        }
        packs
    }
}
