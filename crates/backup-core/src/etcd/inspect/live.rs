//! Count of the live keys after all revisions, as in etcd: a put adds a key, a tombstone removes it.

use std::collections::HashSet;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::content::Content;
use super::revision::Mark;
use super::value::Folders;
use crate::num::to_u64;

/// Number of marks that are counted in one pass. Their table has at most 40 MB; all keys of a large snapshot
/// at once would need more memory than all summaries.
const PART: usize = 1 << 20;

/// Live entries.
#[derive(Debug, Default)]
pub(super) struct LiveEntries {
    /// Number of distinct keys; `None` if marks are missing.
    pub(super) keys: Option<u64>,
    /// Number of live keys by [`Mark::secret`].
    secrets: [u64; 16],
    /// Number of live keys by the numbers of [`Folders`]; the last entry counts all further folders.
    pub(super) folders: Vec<u64>,
    /// Digest of all live entries.
    pub(super) content: Content,
    /// Requested entries that are live.
    pub(super) found: HashSet<EntryId>,
}

/// Identity of an entry: [`Mark::fingerprint`] of its key, and its digest.
pub(super) type EntryId = (u64, u64);

impl LiveEntries {
    /// Returns the number of Secrets stored in this way.
    pub(super) fn secrets(&self, way: u8) -> u64 {
        self.secrets.get(usize::from(way)).copied().unwrap_or(0)
    }

    /// Reports whether keys are in folders that are not listed.
    pub(super) fn more_folders(&self) -> bool {
        self.folders
            .get(Folders::MOST)
            .is_some_and(|count| *count > 0)
    }

    /// Updates the count of a folder. A tombstone has its key, so it is subtracted from the same folder.
    fn moved(&mut self, folder: u16, change: CountChange) {
        let at = usize::from(folder).min(Folders::MOST);
        if let Some(count) = self.folders.get_mut(at) {
            *count = match change {
                CountChange::More => count.saturating_add(1),
                CountChange::Same => *count,
                CountChange::Less => count.saturating_sub(1),
            };
        }
    }
}

/// Marks of a leaf, and the folders of their keys, as in [`super::summary::PageSummary`].
pub(super) type LeafMarks<'a> = (&'a [u8], &'a [u8]);

/// Counts the live entries. `leaves` returns the marks of each leaf in the order of revisions; it is called
/// for each pass. The live entries of `asked` are in [`LiveEntries::found`].
pub(super) fn count<'a, I: Iterator<Item = LeafMarks<'a>>>(
    leaves: impl Fn() -> I,
    asked: &HashSet<EntryId>,
) -> LiveEntries {
    let mut live = LiveEntries {
        folders: vec![0; Folders::MOST.saturating_add(1)],
        ..LiveEntries::default()
    };
    let mut all = 0_usize;
    let mut complete = true;
    for (marks, _) in leaves() {
        all = all.saturating_add(marks.len() / Mark::BYTES);
        complete &= !marks.is_empty();
    }
    let parts = to_u64(all.div_ceil(PART)).max(1);
    let mut keys = 0_u64;
    let mut table: HashTable<MarkedEntry> = HashTable::new();
    for part in 0..parts {
        table.clear();
        for (marks, folders) in leaves() {
            let mut folders = folders.as_chunks::<2>().0.iter();
            for kept in marks.as_chunks::<{ Mark::BYTES }>().0 {
                let entry = MarkedEntry::read(kept);
                let mark = entry.mark;
                let folder = folders.next().map(|folder| u16::from_le_bytes(*folder));
                if mark.fingerprint() % parts == part {
                    let change = put(&mut table, entry);
                    live.moved(folder.unwrap_or(Folders::FIRST), change);
                }
            }
        }
        keys = keys.saturating_add(to_u64(table.len()));
        for MarkedEntry { mark, digest } in &table {
            live.content.add(*digest);
            let place = (mark.fingerprint(), *digest);
            if !asked.is_empty() && asked.contains(&place) {
                live.found.insert(place);
            }
            if let Some(count) = live.secrets.get_mut(usize::from(mark.secret())) {
                *count = count.saturating_add(1);
            }
        }
    }
    live.keys = complete.then_some(keys);
    live
}

/// Mark, and the digest of its entry.
#[derive(Debug, Clone, Copy)]
struct MarkedEntry {
    mark: Mark,
    digest: u64,
}

impl MarkedEntry {
    fn read(kept: &[u8; Mark::BYTES]) -> Self {
        let (mark, digest) = kept.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self {
            mark: Mark(u64::from_le_bytes(*mark)),
            digest: digest.first_chunk().map_or(0, |d| u64::from_le_bytes(*d)),
        }
    }
}

/// Effect of a mark on the number of live keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CountChange {
    More,
    Same,
    Less,
}

fn put(table: &mut HashTable<MarkedEntry>, entry: MarkedEntry) -> CountChange {
    let mark = entry.mark;
    let hash = |e: &MarkedEntry| e.mark.fingerprint().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let same = |other: &MarkedEntry| other.mark.fingerprint() == mark.fingerprint();
    match table.entry(hash(&entry), same, hash) {
        Slot::Occupied(found) if mark.tombstone() => {
            found.remove();
            CountChange::Less
        }
        Slot::Occupied(mut found) => {
            *found.get_mut() = entry;
            CountChange::Same
        }
        Slot::Vacant(_) if mark.tombstone() => CountChange::Same,
        Slot::Vacant(place) => {
            place.insert(entry);
            CountChange::More
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_keys_than_one_pass_holds_are_counted() {
        let keys = to_u64(PART) * 2 + 1000;
        let mark = |key: u64, gone| Mark::new(key.wrapping_mul(0x2545_F491_4F6C_DD1D), 1, gone).0;
        let entry = |key, gone| {
            let mut kept = [0; Mark::BYTES];
            kept[..8].copy_from_slice(&u64::to_le_bytes(mark(key, gone)));
            kept[8..].copy_from_slice(&key.to_le_bytes());
            kept
        };
        let puts = (0..keys).flat_map(|key| entry(key, false));
        let first: Vec<u8> = puts.collect();
        let gone = (0..keys).step_by(2).flat_map(|key| entry(key, true));
        let second: Vec<u8> = gone.collect();
        let none: &[u8] = &[];
        // Every third key is in the second folder.
        let folder = |key: u64| u16::from(key.is_multiple_of(3)).to_le_bytes();
        let in_first: Vec<u8> = (0..keys).flat_map(folder).collect();
        let in_second: Vec<u8> = (0..keys).step_by(2).flat_map(folder).collect();
        let both = [
            (first.as_slice(), in_first.as_slice()),
            (&second, &in_second),
        ];
        let place = |key: u64| (Mark(mark(key, false)).fingerprint(), key);
        let asked = HashSet::from([place(0), place(1)]);
        let live = count(|| both.into_iter(), &asked);
        assert_eq!(live.keys, Some(keys / 2));
        assert_eq!(live.secrets(1), keys / 2);
        assert_eq!(live.found, HashSet::from([place(1)]));
        let third = (0..keys).filter(|key| key % 2 == 1 && key % 3 == 0).count();
        assert_eq!(live.folders[1], to_u64(third));
        assert_eq!(live.folders[0], keys / 2 - to_u64(third));
        assert!(!live.more_folders());
        let mut content = Content::default();
        (0..keys)
            .filter(|key| key % 2 == 1)
            .for_each(|key| content.add(key));
        assert_eq!(live.content.digest(), content.digest());
        let unknown = count(
            || [(first.as_slice(), none), (none, none)].into_iter(),
            &asked,
        );
        assert_eq!(unknown.keys, None);
    }
}
