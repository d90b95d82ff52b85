//! Table of the kept objects of a kind and their positions: 32 bytes for each, and its name.

/// Position of an object's body, and the revision at which it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The object's resourceVersion.
    pub(super) revision: u64,
    /// Start of its JSON in the scratch file.
    pub(super) at: u64,
    /// Length of the JSON.
    pub(super) length: u32,
    /// CRC-32 of the JSON: data from a faulty disk must not get into a restore point.
    pub(super) sum: u32,
}

/// Objects of one kind by their names, in the order of an archive.
#[derive(Default)]
pub(super) struct Table {
    /// All names, one after the other.
    names: String,
    entries: Vec<TableEntry>,
    bytes: u64,
}

struct TableEntry {
    slot: Slot,
    /// End of its name. 4 GiB of names are more than 500 000 of the longest.
    end: u32,
}

impl Table {
    /// Adds an object after all others.
    ///
    /// Returns false if its name does not sort after the previous one, or if there is no room.
    #[must_use]
    pub(super) fn push(&mut self, name: &str, slot: Slot) -> bool {
        if self
            .name(self.len().wrapping_sub(1))
            .is_some_and(|last| last >= name)
        {
            return false;
        }
        let end = self.names.len().saturating_add(name.len());
        let Ok(end) = u32::try_from(end) else {
            return false;
        };
        self.names.push_str(name);
        self.entries.push(TableEntry { slot, end });
        self.bytes = self.bytes.saturating_add(u64::from(slot.length));
        true
    }

    /// Releases the memory that growing reserved and that is not needed.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the total size of the JSON in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn name(&self, index: usize) -> Option<&str> {
        let end = self.entries.get(index)?.end;
        let begin = match index.checked_sub(1) {
            Some(before) => self.entries.get(before)?.end,
            None => 0,
        };
        self.names
            .get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)
    }

    pub(super) fn get(&self, index: usize) -> Option<(&str, Slot)> {
        Some((self.name(index)?, self.entries.get(index)?.slot))
    }

    pub(super) fn find(&self, name: &str) -> Option<Slot> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle)?.cmp(name) {
                std::cmp::Ordering::Equal => return self.entries.get(middle).map(|e| e.slot),
                std::cmp::Ordering::Less => low = middle.saturating_add(1),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Slot)> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Returns this table with `changes`: each name with its new position, or without one if it was deleted.
    /// Returns `None` if there is no room.
    pub(super) fn changed(
        &self,
        changes: &std::collections::BTreeMap<Box<str>, Option<Slot>>,
    ) -> Option<Self> {
        let mut next = Self::default();
        let mut changes = changes.iter().peekable();
        for (name, slot) in self.iter() {
            while let Some((new, slot)) = changes.next_if(|(changed, _)| ***changed < *name) {
                if let Some(slot) = slot
                    && !next.push(new, *slot)
                {
                    return None;
                }
            }
            let slot = match changes.next_if(|(changed, _)| ***changed == *name) {
                Some((_, changed)) => *changed,
                None => Some(slot),
            };
            if let Some(slot) = slot
                && !next.push(name, slot)
            {
                return None;
            }
        }
        for (new, slot) in changes {
            if let Some(slot) = slot
                && !next.push(new, *slot)
            {
                return None;
            }
        }
        next.shrink();
        Some(next)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} objects)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(revision: u64) -> Slot {
        Slot {
            revision,
            at: 7 * revision,
            length: 10,
            sum: 0,
        }
    }

    fn table(names: &[&str]) -> Table {
        let mut table = Table::default();
        for (name, revision) in names.iter().zip(1..) {
            assert!(table.push(name, slot(revision)));
        }
        table
    }

    #[test]
    fn every_object_is_found_and_no_other() {
        let table = table(&["a", "a-b/x", "a/x", "b/y"]);
        for (index, name) in ["a", "a-b/x", "a/x", "b/y"].into_iter().enumerate() {
            assert_eq!(table.name(index), Some(name));
            assert_eq!(table.find(name), table.get(index).map(|(_, slot)| slot));
        }
        for other in ["", "a/", "a/xx", "c"] {
            assert_eq!(table.find(other), None, "{other}");
        }
        assert_eq!((table.len(), table.bytes()), (4, 40));
        assert_eq!(Table::default().find("a"), None);
    }

    #[test]
    fn an_object_out_of_order_or_told_twice_is_refused() {
        let mut table = table(&["b"]);
        assert!(!table.push("a", slot(9)));
        assert!(!table.push("b", slot(9)));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn changes_are_merged_in_order() {
        let changes = [
            ("a", Some(slot(11))),
            ("c", None),
            ("d", Some(slot(12))),
            ("e", None),
            ("z", Some(slot(13))),
        ];
        let changes = changes.map(|(name, slot)| (Box::from(name), slot));
        let next = table(&["b", "c", "d"]).changed(&changes.into()).unwrap();
        let told: Vec<_> = next.iter().map(|(name, s)| (name, s.revision)).collect();
        assert_eq!(told, [("a", 11), ("b", 1), ("d", 12), ("z", 13)]);
        assert_eq!(next.bytes(), 40);
    }

    #[test]
    fn a_hundred_thousand_objects_take_ten_megabytes() {
        let mut table = Table::default();
        for number in 0..100_000_u64 {
            let name = format!("tenant-{:04}/an-object-{number:06}", number / 100);
            assert!(table.push(&name, slot(number)));
        }
        table.shrink();
        let bytes = table.names.capacity() + table.entries.capacity() * size_of::<TableEntry>();
        assert!(bytes < 10_000_000, "{bytes}");
    }
}
