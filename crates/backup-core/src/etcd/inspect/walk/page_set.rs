//! Set of the pages that trees have reached: no page belongs to two.

use super::broken;
use crate::etcd::facts::SnapshotError;

/// Pages that trees have reached: one bit each.
pub(super) struct PageSet {
    bits: Vec<u64>,
    pages: u64,
}

impl PageSet {
    /// Creates a set with the first two pages, which are metas.
    pub(super) fn new(pages: u64) -> Self {
        let words = usize::try_from(pages / 64).unwrap_or(0).saturating_add(1);
        let mut bits = vec![0; words];
        if let Some(first) = bits.first_mut() {
            *first = 3;
        }
        Self { bits, pages }
    }

    /// Adds a page with its overflow pages, which must not be there yet.
    pub(super) fn mark(&mut self, page: u64, overflow: u32) -> Result<(), SnapshotError> {
        for id in page..=page.saturating_add(overflow.into()) {
            let word = usize::try_from(id / 64)
                .ok()
                .and_then(|at| self.bits.get_mut(at));
            let Some(word) = word.filter(|_| id < self.pages) else {
                return broken(page, "goes beyond the end of the file");
            };
            if *word >> (id % 64) & 1 == 1 {
                return broken(id, "is part of two pages, or of a tree twice");
            }
            *word |= 1 << (id % 64);
        }
        Ok(())
    }
}
