//! Builder of small bbolt files for tests, page by page, valid or not.

#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

use proptest::prelude::*;

use super::page::{
    BRANCH, BranchRow, FREELIST, FREELIST_LONG, HEADER, Header, LEAF, LeafRow, META, ROW, fnv1a,
};

/// bbolt file under construction. Pages 0 and 1 are reserved for the metas.
pub(crate) struct FileBuilder {
    pub(crate) page_size: usize,
    pub(crate) bytes: Vec<u8>,
}

impl FileBuilder {
    pub(crate) fn new(page_size: usize) -> Self {
        let mut file = Self {
            page_size,
            bytes: vec![0; 2 * page_size],
        };
        file.metas(2, 1);
        file
    }

    pub(crate) fn pages(&self) -> u64 {
        (self.bytes.len() / self.page_size) as u64
    }

    /// Writes both metas, the first one newer.
    pub(crate) fn metas(&mut self, root: u64, txid: u64) {
        self.meta(0, root, txid + 1);
        self.meta(1, root, txid);
    }

    pub(crate) fn meta(&mut self, page: usize, root: u64, txid: u64) {
        let mut body = Vec::new();
        body.extend(0xED0C_DAED_u32.to_le_bytes());
        body.extend(2_u32.to_le_bytes());
        body.extend((self.page_size as u32).to_le_bytes());
        body.extend(0_u32.to_le_bytes());
        body.extend(root.to_le_bytes());
        body.extend(0_u64.to_le_bytes());
        body.extend(u64::MAX.to_le_bytes());
        body.extend(self.pages().to_le_bytes());
        body.extend(txid.to_le_bytes());
        let sum = fnv1a(&body);
        body.extend(sum.to_le_bytes());
        let header = Header {
            id: page as u64,
            flags: META,
            count: 0,
            overflow: 0,
        };
        let at = page * self.page_size;
        self.bytes[at..at + HEADER].copy_from_slice(&header.to_bytes());
        self.bytes[at + HEADER..at + HEADER + body.len()].copy_from_slice(&body);
    }

    pub(crate) fn leaf(&mut self, elements: &[(u32, Vec<u8>, Vec<u8>)]) -> u64 {
        let body = leaf_body(elements);
        self.page(LEAF, elements.len(), &body, 0)
    }

    pub(crate) fn branch(&mut self, children: &[(Vec<u8>, u64)]) -> u64 {
        let mut table = Vec::new();
        let mut data: Vec<u8> = Vec::new();
        for (i, (key, child)) in children.iter().enumerate() {
            let position = ((children.len() - i) * ROW + data.len()) as u32;
            let row = BranchRow {
                position,
                key: key.len() as u32,
                child: *child,
            };
            table.extend(row.to_bytes());
            data.extend(key);
        }
        table.extend(data);
        self.page(BRANCH, children.len(), &table, 0)
    }

    pub(crate) fn freelist(&mut self, ids: &[u64], spare: usize) -> u64 {
        let mut body = Vec::new();
        if ids.len() >= usize::from(FREELIST_LONG) {
            body.extend((ids.len() as u64).to_le_bytes());
        }
        body.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        self.page(FREELIST, ids.len().min(0xFFFF), &body, spare)
    }

    /// Adds a page with its overflow and `spare` extra pages; returns its id.
    fn page(&mut self, flags: u16, count: usize, body: &[u8], spare: usize) -> u64 {
        let id = self.pages();
        let pages = (HEADER + body.len()).div_ceil(self.page_size) + spare;
        let header = Header {
            id,
            flags,
            count: count as u16,
            overflow: pages as u32 - 1,
        };
        self.bytes.extend(header.to_bytes());
        self.bytes.extend(body);
        self.bytes.resize((id as usize + pages) * self.page_size, 0);
        id
    }
}

/// Returns table and data of a leaf.
pub(crate) fn leaf_body(elements: &[(u32, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (i, (flags, key, value)) in elements.iter().enumerate() {
        let row = LeafRow {
            flags: *flags,
            position: ((elements.len() - i) * ROW + data.len()) as u32,
            key: key.len() as u32,
            value: value.len() as u32,
        };
        table.extend(row.to_bytes());
        data.extend(key);
        data.extend(value);
    }
    table.extend(data);
    table
}

/// Returns the key of a revision in bucket `key`.
pub(crate) fn revision(main: u64, sub: u64, tombstone: bool) -> Vec<u8> {
    let mut key = main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend(sub.to_be_bytes());
    key.extend(tombstone.then_some(b't'));
    key
}

/// Returns an `mvccpb.KeyValue` with its key and value only.
pub(crate) fn key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    use prost::encoding::bytes::encode;
    let mut out = Vec::new();
    encode(1, &key.to_vec(), &mut out);
    if !value.is_empty() {
        encode(5, &value.to_vec(), &mut out);
    }
    out
}

#[derive(Debug, Clone)]
pub(crate) enum SampleUnit {
    Leaf(Vec<(u32, Vec<u8>, Vec<u8>)>),
    Branch(Vec<(Vec<u8>, u64)>),
    Freelist(Vec<u64>, usize),
    Zero(usize),
    Raw(Vec<u8>),
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..most.min(200)),
        1 => (any::<u8>(), 0..most).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn element() -> impl Strategy<Value = (u32, Vec<u8>, Vec<u8>)> {
    let revision = (
        any::<u64>(),
        0..9_u64,
        any::<bool>(),
        bytes(60),
        bytes(9_000),
    )
        .prop_map(|(main, sub, tombstone, key, value)| {
            (0, revision(main, sub, tombstone), key_value(&key, &value))
        });
    prop_oneof![
        6 => revision,
        3 => (prop_oneof![9 => Just(0_u32), 1 => any::<u32>()], bytes(40), bytes(40)),
        1 => (Just(0), bytes(40), bytes(3 << 20)),
    ]
}

fn piece() -> impl Strategy<Value = SampleUnit> {
    let child = prop_oneof![9 => 0..1_u64 << 20, 1 => any::<u64>()];
    let ids = prop::collection::btree_set(0..1_u64 << 30, 0..300);
    prop_oneof![
        8 => prop::collection::vec(element(), 0..12).prop_map(SampleUnit::Leaf),
        3 => prop::collection::vec((bytes(2_000), child), 0..60).prop_map(SampleUnit::Branch),
        1 => (ids, 0..4_usize).prop_map(|(ids, spare)| SampleUnit::Freelist(ids.into_iter().collect(), spare)),
        1 => (1..700_usize).prop_map(SampleUnit::Zero),
        1 => prop::collection::vec(any::<u8>(), 1..5_000).prop_map(SampleUnit::Raw),
    ]
}

/// Generates a file of any pages, in any order.
pub(crate) fn file() -> impl Strategy<Value = SampleFile> {
    (0..7_u32, prop::collection::vec(piece(), 0..12)).prop_map(|(shift, pieces)| {
        let page_size = 1024 << shift;
        let mut file = FileBuilder::new(page_size);
        for piece in &pieces {
            match piece {
                SampleUnit::Leaf(elements) => drop(file.leaf(elements)),
                SampleUnit::Branch(children) => drop(file.branch(children)),
                SampleUnit::Freelist(ids, spare) => drop(file.freelist(ids, *spare)),
                SampleUnit::Zero(pages) => {
                    let pages = (*pages * 1024).div_ceil(page_size);
                    file.bytes.resize(file.bytes.len() + pages * page_size, 0);
                }
                SampleUnit::Raw(bytes) => {
                    file.bytes.extend(bytes);
                    file.bytes
                        .resize(file.bytes.len().next_multiple_of(page_size), 7);
                }
            }
        }
        file.metas(2, 1);
        SampleFile(file.page_size, file.bytes)
    })
}

/// Page size and bytes of a generated file; its `Debug` output is short.
#[derive(Clone)]
pub(crate) struct SampleFile(pub(crate) usize, pub(crate) Vec<u8>);

impl std::fmt::Debug for SampleFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file of {} bytes in pages of {}", self.1.len(), self.0)
    }
}

/// Defect that a damaged or hostile file may have.
#[derive(Debug, Clone)]
pub(crate) enum SampleDefect {
    /// Changes a byte, at a share of the length.
    Byte(prop::sample::Index, u8),
    /// Changes a header field of a page, or of a row after it.
    Field(prop::sample::Index, usize, u32),
    /// Copies a page over another.
    Copy(prop::sample::Index, prop::sample::Index),
    /// Cuts the file here.
    Cut(prop::sample::Index),
    /// Appends bytes to the end.
    More(Vec<u8>),
}

pub(crate) fn harm() -> impl Strategy<Value = SampleDefect> {
    use prop::sample::Index;
    let number = prop_oneof![Just(u32::MAX), Just(0xFFFF), 0..70_000_u32, any::<u32>()];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| SampleDefect::Byte(at, byte)),
        4 => (any::<Index>(), 0..24_usize, number).prop_map(|(page, at, to)| SampleDefect::Field(page, at * 2, to)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| SampleDefect::Copy(from, to)),
        1 => any::<Index>().prop_map(SampleDefect::Cut),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(SampleDefect::More),
    ]
}

impl SampleDefect {
    pub(crate) fn apply(&self, page_size: usize, bytes: &mut Vec<u8>) {
        let pages = bytes.len() / page_size;
        match self {
            Self::More(more) => bytes.extend(more),
            _ if pages == 0 => {}
            Self::Byte(at, byte) => bytes[at.index(pages * page_size)] = *byte,
            Self::Field(page, at, to) => {
                let at = page.index(pages) * page_size + at;
                let width = if at.is_multiple_of(4) { 4 } else { 2 };
                bytes[at..at + width].copy_from_slice(&to.to_le_bytes()[..width]);
            }
            Self::Copy(from, to) => {
                let from = from.index(pages) * page_size;
                bytes.copy_within(from..from + page_size, to.index(pages) * page_size);
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}
