//! Layout of bbolt pages: headers, element tables and meta pages, read with all bounds checked.

use crate::num::to_usize;

/// Size of a page header in bytes.
pub(crate) const HEADER: usize = 16;
/// Size of a row in the element table of a leaf or branch, in bytes.
pub(crate) const ROW: usize = 16;
/// Page size of a file that does not state one.
pub(crate) const DEFAULT_PAGE_SIZE: usize = 4096;
/// Largest page with its overflow that is held in memory. etcd accepts requests of 1.5 MiB, so that a leaf of
/// two elements is far below.
pub(crate) const MAX_UNIT: usize = 24 << 20;

/// Header flag of a branch page.
pub(crate) const BRANCH: u16 = 1;
/// Header flag of a leaf page.
pub(crate) const LEAF: u16 = 2;
/// Header flag of a meta page.
pub(crate) const META: u16 = 4;
/// Header flag of a freelist page.
pub(crate) const FREELIST: u16 = 16;
/// Count from which a freelist stores its count as a separate number.
pub(crate) const FREELIST_LONG: u16 = 0xFFFF;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// Converts a number of bytes from a file; a number above the address space becomes the largest `usize`,
/// which exceeds every limit.
pub(crate) fn size(n: u32) -> usize {
    to_usize(n.into())
}

/// First 16 bytes of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn read(page: &[u8]) -> Option<Self> {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = page.first_chunk::<HEADER>()?;
        Some(Self {
            id: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            flags: u16::from_le_bytes([i, j]),
            count: u16::from_le_bytes([k, l]),
            overflow: u32::from_le_bytes([m, n, o, p]),
        })
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let [a, b, c, d, e, f, g, h] = self.id.to_le_bytes();
        let [i, j] = self.flags.to_le_bytes();
        let [k, l] = self.count.to_le_bytes();
        let [m, n, o, p] = self.overflow.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// Returns the size of the page with its overflow in bytes; `None` above [`MAX_UNIT`].
    pub(crate) fn unit(self, page_size: usize) -> Option<usize> {
        let bytes = size(self.overflow).checked_add(1)?.checked_mul(page_size)?;
        (bytes <= MAX_UNIT).then_some(bytes)
    }
}

/// Returns the rows of the element table after the header, if `unit` is long enough for `count`.
pub(crate) fn rows(unit: &[u8], count: u16) -> Option<&[[u8; ROW]]> {
    let (_, rest) = unit.split_at_checked(HEADER)?;
    rest.as_chunks::<ROW>().0.get(..usize::from(count))
}

/// Row in the table of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeafRow {
    pub(crate) flags: u32,
    pub(crate) position: u32,
    pub(crate) key: u32,
    pub(crate) value: u32,
}

impl LeafRow {
    pub(crate) fn read(row: &[u8; ROW]) -> Self {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = row;
        Self {
            flags: u32::from_le_bytes([a, b, c, d]),
            position: u32::from_le_bytes([e, f, g, h]),
            key: u32::from_le_bytes([i, j, k, l]),
            value: u32::from_le_bytes([m, n, o, p]),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; ROW] {
        let [a, b, c, d] = self.flags.to_le_bytes();
        let [e, f, g, h] = self.position.to_le_bytes();
        let [i, j, k, l] = self.key.to_le_bytes();
        let [m, n, o, p] = self.value.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// Row in the table of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BranchRow {
    pub(crate) position: u32,
    pub(crate) key: u32,
    pub(crate) child: u64,
}

impl BranchRow {
    pub(crate) fn read(row: &[u8; ROW]) -> Self {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = row;
        Self {
            position: u32::from_le_bytes([a, b, c, d]),
            key: u32::from_le_bytes([e, f, g, h]),
            child: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; ROW] {
        let [a, b, c, d] = self.position.to_le_bytes();
        let [e, f, g, h] = self.key.to_le_bytes();
        let [i, j, k, l, m, n, o, p] = self.child.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// Content of a meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: usize,
    /// Root page of the bucket of buckets.
    pub(crate) root: u64,
    /// Page with the list of free pages; `None` if the file has none.
    pub(crate) freelist: Option<u64>,
    /// Number of pages in the file (the high water mark).
    pub(crate) pages: u64,
    pub(crate) txid: u64,
    /// Whether the FNV-1a checksum at its end is correct.
    pub(crate) intact: bool,
}

impl Meta {
    /// Size in bytes of the meta in a page, with the header.
    pub(crate) const LEN: usize = HEADER + 64;
    /// Number of bytes of a page that determine its size.
    pub(crate) const SIZE_LEN: usize = HEADER + 12;

    /// Parses the meta in a meta page; `None` if bbolt would not write it.
    pub(crate) fn read(page: &[u8]) -> Option<Self> {
        let page_size = Self::page_size(page)?;
        let (body, sum) = page.get(HEADER..Self::LEN)?.split_at_checked(56)?;
        let number = |at: usize| {
            body.get(at..)?
                .first_chunk()
                .copied()
                .map(u64::from_le_bytes)
        };
        Some(Self {
            page_size,
            root: number(16)?,
            freelist: number(32).filter(|page| *page != u64::MAX),
            pages: number(40)?,
            txid: number(48)?,
            intact: Header::read(page)?.flags & META != 0
                && sum.first_chunk().copied().map(u64::from_le_bytes) == Some(fnv1a(body)),
        })
    }

    /// Returns the page size from the beginning of a meta page, if it is valid.
    pub(crate) fn page_size(page: &[u8]) -> Option<usize> {
        let &[a, b, c, d, e, f, g, h, i, j, k, l] = page.get(HEADER..)?.first_chunk::<12>()?;
        let sound = u32::from_le_bytes([a, b, c, d]) == MAGIC
            && u32::from_le_bytes([e, f, g, h]) == VERSION;
        let page_size = size(u32::from_le_bytes([i, j, k, l]));
        (sound && page_size.is_power_of_two() && (1 << 10..=64 << 10).contains(&page_size))
            .then_some(page_size)
    }
}

/// Returns the FNV-1a hash, 64 bits: the checksum of a meta page.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
