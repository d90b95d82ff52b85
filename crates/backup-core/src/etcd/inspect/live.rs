//! Counts the keys that are there after all revisions, as etcd tells: a put adds, a tombstone removes.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::summary::Mark;
use crate::chunk::bbolt::page::wide;

/// Marks that are counted in one pass. Their table has at most 20 MB; all keys of a large
/// snapshot at once would need more than all summaries.
const PART: usize = 1 << 20;

/// What is live.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Distinct keys; `None` if marks are missing.
    pub(super) keys: Option<u64>,
    /// Live keys by [`Mark::secret`].
    secrets: [u64; 16],
}

impl Live {
    /// Secrets stored in this way.
    pub(super) fn secrets(&self, way: u8) -> u64 {
        self.secrets.get(usize::from(way)).copied().unwrap_or(0)
    }
}

/// Counts what is live. `leaves` gives the marks of each leaf in the order of revisions; it is
/// called for each pass.
pub(super) fn count<'a, I: Iterator<Item = &'a [u8]>>(leaves: impl Fn() -> I) -> Live {
    let mut live = Live::default();
    let mut all = 0_usize;
    let mut complete = true;
    for marks in leaves() {
        all = all.saturating_add(marks.len() / 8);
        complete &= !marks.is_empty();
    }
    let parts = wide(all.div_ceil(PART)).max(1);
    let mut keys = 0_u64;
    let mut table = HashTable::new();
    for part in 0..parts {
        table.clear();
        for marks in leaves() {
            for mark in marks.as_chunks::<8>().0 {
                let mark = Mark(u64::from_le_bytes(*mark));
                if mark.fingerprint() % parts == part {
                    put(&mut table, mark);
                }
            }
        }
        keys = keys.saturating_add(wide(table.len()));
        for mark in &table {
            if let Some(count) = live.secrets.get_mut(usize::from(mark.secret())) {
                *count = count.saturating_add(1);
            }
        }
    }
    live.keys = complete.then_some(keys);
    live
}

fn put(table: &mut HashTable<Mark>, mark: Mark) {
    let hash = |mark: &Mark| mark.fingerprint().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let same = |other: &Mark| other.fingerprint() == mark.fingerprint();
    match table.entry(hash(&mark), same, hash) {
        Entry::Occupied(found) if mark.tombstone() => drop(found.remove()),
        Entry::Occupied(mut found) => *found.get_mut() = mark,
        Entry::Vacant(_) if mark.tombstone() => {}
        Entry::Vacant(place) => drop(place.insert(mark)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_keys_than_one_pass_holds_are_counted() {
        let keys = wide(PART) * 2 + 1000;
        let mark = |key: u64, gone| Mark::new(key.wrapping_mul(0x2545_F491_4F6C_DD1D), 1, gone).0;
        let puts = (0..keys).flat_map(|key| mark(key, false).to_le_bytes());
        let first: Vec<u8> = puts.collect();
        let gone = (0..keys)
            .step_by(2)
            .flat_map(|key| mark(key, true).to_le_bytes());
        let second: Vec<u8> = gone.collect();
        let live = count(|| [first.as_slice(), second.as_slice()].into_iter());
        assert_eq!(live.keys, Some(keys / 2));
        assert_eq!(live.secrets(1), keys / 2);
        let unknown = count(|| [first.as_slice(), &[]].into_iter());
        assert_eq!(unknown.keys, None);
    }
}
