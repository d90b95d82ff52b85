//! Revision of an entry of bucket `key`, and the mark that stands for the entry in a summary.

/// Key of bucket `key`; its order is that of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Revision {
    pub(super) main: u64,
    pub(super) sub: u64,
    pub(super) tombstone: bool,
}

impl Revision {
    /// Parses the key; `None` if etcd would not write it.
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let (&[a, b, c, d, e, f, g, h, b'_', i, j, k, l, m, n, o, p], tombstone) =
            key.split_first_chunk::<17>()?
        else {
            return None;
        };
        let tombstone = match tombstone {
            [] => false,
            b"t" => true,
            _ => return None,
        };
        let main = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let sub = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
        // etcd's numbers have 63 bits; one bit less leaves room for the tombstone.
        (main >> 62 == 0 && sub >> 62 == 0).then_some(Self {
            main,
            sub,
            tombstone,
        })
    }

    pub(super) fn key(self) -> Vec<u8> {
        let mut key = self.main.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend(self.sub.to_be_bytes());
        key.extend(self.tombstone.then_some(b't'));
        key
    }

    /// Reports whether both are of one write: etcd gives each write its own number.
    pub(super) fn same_write(self, other: Self) -> bool {
        self.main == other.main && self.sub == other.sub
    }

    pub(super) fn tail(self) -> u64 {
        self.sub << 1 | u64::from(self.tombstone)
    }

    pub(super) fn join(main: u64, tail: u64) -> Self {
        Self {
            main,
            sub: tail >> 1,
            tombstone: tail & 1 == 1,
        }
    }
}

/// Summary of an element of bucket `key`: the fingerprint of its etcd key, and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

impl Mark {
    const TOMBSTONE: u64 = 1;
    /// Stored size of a mark: the mark itself, followed by the digest of the entry.
    pub(super) const BYTES: usize = 16;
    /// Number of bits below the fingerprint.
    const BITS: u32 = 5;

    /// Creates a mark. `secret` is below 16: see [`super::value::Prefixes`].
    pub(super) fn new(fingerprint: u64, secret: u8, tombstone: bool) -> Self {
        Self(fingerprint << Self::BITS | u64::from(secret & 15) << 1 | u64::from(tombstone))
    }

    pub(super) fn tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    pub(super) fn secret(self) -> u8 {
        u8::try_from(self.0 >> 1 & 15).unwrap_or(0)
    }

    pub(super) fn fingerprint(self) -> u64 {
        self.0 >> Self::BITS
    }
}
