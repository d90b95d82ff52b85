//! Digest over the live entries, independent of their order.

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Returns the first eight bytes of the SHA-256 of an `mvccpb.KeyValue` as stored: key, value, revisions and
/// lease.
pub(super) fn of_entry(value: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(value).into();
    digest
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first))
}

/// Sum and number of the digests of live entries.
#[derive(Debug, Default)]
pub(super) struct Content {
    sum: u128,
    entries: u64,
}

impl Content {
    /// Adds a live entry, by its result of [`of_entry`].
    pub(super) fn add(&mut self, entry: u64) {
        self.sum = self.sum.wrapping_add(entry.into());
        self.entries = self.entries.saturating_add(1);
    }

    /// Returns the SHA-256 of sum and number, each in little-endian order.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(self.sum.to_le_bytes());
        hasher.update(self.entries.to_le_bytes());
        Digest::from_bytes(hasher.finalize().into())
    }
}
