//! Table of stored chunks and their places, which makes the next snapshot cheap.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::format::index::{ChunkAt, ChunkId, PackChunks};

/// Position of a pack in a [`ChunkTable`].
pub(super) type PackNumber = u32;

/// Place of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkPlace {
    pub(super) pack: PackNumber,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Facts about a chunk, in 24 bytes.
struct ChunkEntry {
    id: ChunkId,
    /// Number of the pack; the top bit marks that this run used the chunk.
    pack: u32,
    offset: u32,
    length: u32,
}

const USED: u32 = 1 << 31;

/// Entries in a block of [`ChunkEntries`]: 384 KiB. The first block grows to that size, so a small table costs
/// little.
const BLOCK: usize = 1 << 14;

/// Entries by number. They are in blocks that do not move: a table that doubles and moves would need three
/// times its size meanwhile, 150 MiB for a database of 8 GiB.
#[derive(Default)]
struct ChunkEntries(Vec<Vec<ChunkEntry>>);

impl ChunkEntries {
    /// Appends an entry and returns its number; `None` after 2^32 entries.
    fn push(&mut self, entry: ChunkEntry) -> Option<u32> {
        let full = self.0.last().is_none_or(|block| block.len() == BLOCK);
        let blocks = self.0.len();
        if full {
            self.0
                .push(Vec::with_capacity(if blocks == 0 { 0 } else { BLOCK }));
        }
        let before = self.0.len().saturating_sub(1).saturating_mul(BLOCK);
        let block = self.0.last_mut()?;
        let number = u32::try_from(before.saturating_add(block.len())).ok()?;
        block.push(entry);
        Some(number)
    }

    fn get(&self, number: u32) -> Option<&ChunkEntry> {
        let number = usize::try_from(number).ok()?;
        self.0.get(number / BLOCK)?.get(number % BLOCK)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut ChunkEntry> {
        let number = usize::try_from(number).ok()?;
        self.0.get_mut(number / BLOCK)?.get_mut(number % BLOCK)
    }

    fn iter(&self) -> impl Iterator<Item = &ChunkEntry> {
        self.0.iter().flatten()
    }
}

/// Facts about a pack.
#[derive(Debug, Clone)]
pub(super) struct PackFacts {
    /// Digest and number of the stored bytes; `None` until the pack is stored.
    pub(super) stored: Option<(Digest, u64)>,
    pub(super) plain_bytes: u64,
    /// Public half of the pack's epoch; empty if the pack is not encrypted.
    pub(super) epoch: String,
    /// Whether this run made the pack.
    pub(super) new: bool,
}

/// Chunks of a prefix that a run may refer to.
pub(super) struct ChunkTable {
    key: Zeroizing<[u8; 32]>,
    packs: Vec<PackFacts>,
    entries: ChunkEntries,
    /// Numbers of entries, by the hash of their ids: 5 bytes for each slot, and half of the slots are used.
    by_id: HashTable<u32>,
}

fn hash(id: &ChunkId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    // Ids are keyed hashes, so their own bytes are as good as another hash of them.
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl ChunkTable {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key,
            packs: Vec::new(),
            entries: ChunkEntries::default(),
            by_id: HashTable::new(),
        }
    }

    /// Returns the id of a chunk.
    pub(super) fn id(&self, bytes: &[u8]) -> ChunkId {
        let hash = blake3::keyed_hash(&self.key, bytes);
        let mut id = [0; 12];
        id.copy_from_slice(hash.as_bytes().split_at(12).0);
        id
    }

    /// Adds the chunks that an index lists for one pack.
    pub(super) fn add_chunks(&mut self, pack: &PackChunks) {
        let Some(number) = self.add_pack(PackFacts {
            stored: Some((pack.pack, pack.stored_bytes)),
            plain_bytes: pack.plain_bytes,
            epoch: pack.epoch.clone(),
            new: false,
        }) else {
            return;
        };
        for chunk in &pack.chunks {
            let place = ChunkPlace {
                pack: number,
                offset: chunk.offset,
                length: chunk.length,
            };
            self.insert(chunk.id, place, 0);
        }
    }

    /// Adds a pack and returns its number; `None` after 2^31 packs, because an entry has 31 bits for it.
    pub(super) fn add_pack(&mut self, facts: PackFacts) -> Option<PackNumber> {
        let number = u32::try_from(self.packs.len()).ok().filter(|n| *n < USED)?;
        self.packs.push(facts);
        Some(number)
    }

    /// Reports whether a pack of that name is known.
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

    /// Finds a chunk and marks it as used by this run.
    pub(super) fn find(&mut self, id: &ChunkId, length: usize) -> Option<ChunkPlace> {
        let entries = &self.entries;
        let same = |n: &u32| entries.get(*n).is_some_and(|e| e.id == *id);
        let number = *self.by_id.find(hash(id), same)?;
        let entry = self.entries.get_mut(number)?;
        if usize::try_from(entry.length) != Ok(length) {
            return None;
        }
        entry.pack |= USED;
        Some(ChunkPlace {
            pack: entry.pack & !USED,
            offset: entry.offset,
            length: entry.length,
        })
    }

    /// Records where a new chunk lies or will lie, and marks it as used by this run.
    pub(super) fn put(&mut self, id: ChunkId, place: ChunkPlace) {
        self.insert(id, place, USED);
    }

    fn insert(&mut self, id: ChunkId, place: ChunkPlace, used: u32) {
        let entry = ChunkEntry {
            id,
            pack: place.pack | used,
            offset: place.offset,
            length: place.length,
        };
        let entries = &self.entries;
        let same = |n: &u32| entries.get(*n).is_some_and(|e| e.id == id);
        let hash_of = |n: &u32| entries.get(*n).map_or(0, |e| hash(&e.id));
        match self.by_id.entry(hash(&id), same, hash_of) {
            Slot::Occupied(slot) => {
                let number = *slot.get();
                if let Some(known) = self.entries.get_mut(number) {
                    *known = entry;
                }
            }
            Slot::Vacant(slot) => {
                // A chunk that does not fit here is stored again by the next run, with no other effect.
                if let Some(number) = self.entries.push(entry) {
                    slot.insert(number);
                }
            }
        }
    }

    /// Returns how many chunks are known, and how many of them this run used.
    pub(super) fn counts(&self) -> (usize, usize) {
        (
            self.by_id.len(),
            self.entries.iter().filter(|e| e.pack & USED != 0).count(),
        )
    }

    /// Returns the chunks that the next run should know: those of packs that this run made, or with `all`
    /// every chunk that this run used. They come pack by pack, so that they are not in memory twice. Packs
    /// without such chunks are left out.
    pub(super) fn index(&self, all: bool) -> impl Iterator<Item = PackChunks> {
        let wanted = move |e: &&ChunkEntry| {
            e.pack & USED != 0 && (all || self.pack(e.pack & !USED).is_some_and(|p| p.new))
        };
        let mut entries: Vec<&ChunkEntry> = self.entries.iter().filter(wanted).collect();
        entries.sort_unstable_by_key(|e| (e.pack & !USED, e.offset));
        let mut rest = entries.into_iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let first = rest.next()?;
                let number = first.pack & !USED;
                let at = |e: &ChunkEntry| ChunkAt {
                    id: e.id,
                    offset: e.offset,
                    length: e.length,
                };
                let mut chunks = vec![at(first)];
                while let Some(next) = rest.next_if(|e| e.pack & !USED == number) {
                    chunks.push(at(next));
                }
                let facts = self.pack(number);
                if let Some((facts, (pack, stored_bytes))) =
                    facts.and_then(|f| Some((f, f.stored?)))
                {
                    return Some(PackChunks {
                        pack,
                        stored_bytes,
                        plain_bytes: facts.plain_bytes,
                        epoch: facts.epoch.clone(),
                        chunks,
                    });
                }
            }
        })
    }
}
