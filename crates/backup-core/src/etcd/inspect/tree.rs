//! Children of a branch in a summary: their pages and their first keys.

use prost::encoding::{decode_varint, encode_varint};

use super::revision::Revision;
use super::summary::{KEY, put, short, take};

const OTHER: u8 = 0;
const REVISION: u8 = 1;

/// Child of a branch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Child {
    pub(super) page: u64,
    main: u64,
    key: [u8; KEY],
    length: usize,
}

impl Child {
    /// Returns the root of a tree, whose first key is unknown.
    pub(super) fn root(page: u64) -> Self {
        Self {
            page,
            ..Self::default()
        }
    }

    fn behind(self, page: u64, key: &[u8]) -> Self {
        let mut child = Self { page, ..self };
        child.length = 0;
        for (to, from) in child.key.iter_mut().zip(short(key)) {
            *to = *from;
            child.length = child.length.saturating_add(1);
        }
        if let Some(revision) = Revision::read(key) {
            child.main = revision.main;
        }
        child
    }

    /// Returns the first key of the child, at most [`KEY`] bytes of it; empty for a root.
    pub(super) fn key(&self) -> &[u8] {
        self.key.get(..self.length).unwrap_or_default()
    }
}

/// Appends a child, as its difference from the previous one; returns it.
pub(super) fn put_child(before: &Child, page: u64, key: &[u8], to: &mut Vec<u8>) -> Child {
    let up = page.wrapping_sub(before.page);
    // Zigzag, so that a page before its neighbour takes as few bytes as one after it.
    let zigzag = up << 1 ^ if up >> 63 == 1 { u64::MAX } else { 0 };
    encode_varint(zigzag, to);
    match Revision::read(key) {
        Some(revision) => {
            to.push(REVISION);
            encode_varint(revision.main.wrapping_sub(before.main), to);
            encode_varint(revision.tail(), to);
        }
        None => {
            to.push(OTHER);
            put(short(key), to);
        }
    }
    before.behind(page, key)
}

/// Returns the children of a branch, in the order of keys.
pub(super) fn children(mut bytes: &[u8]) -> impl Iterator<Item = Child> {
    let mut before = Child::default();
    std::iter::from_fn(move || {
        before = take_child(before, &mut bytes)?;
        Some(before)
    })
}

fn take_child(before: Child, bytes: &mut &[u8]) -> Option<Child> {
    let zigzag = decode_varint(bytes).ok()?;
    let up = zigzag >> 1 ^ if zigzag & 1 == 1 { u64::MAX } else { 0 };
    let page = before.page.wrapping_add(up);
    let (&tag, rest) = bytes.split_first()?;
    *bytes = rest;
    if tag == OTHER {
        return Some(before.behind(page, take(bytes)?));
    }
    let main = before.main.wrapping_add(decode_varint(bytes).ok()?);
    let revision = Revision::join(main, decode_varint(bytes).ok()?);
    Some(before.behind(page, &revision.key()))
}
