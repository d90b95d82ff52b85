//! Summaries of pages: a few bytes each in an arena, found by page number.

use prost::encoding::{decode_varint, encode_varint};

use super::bucket::BucketSet;
use super::entry::EntryDefect;
use super::revision::{Mark, Revision};
use super::torn;
use super::value::{Folders, NamespaceRevision, Prefixes};
use crate::num::to_u64;

/// Largest number of revisions whose key and content are remembered, in 16 bytes each: 256 MiB. A Kubernetes
/// snapshot of 8 GiB has about 2 500 000.
pub(super) const MAX_MARKS: usize = 16 << 20;
/// Limit on bytes of elements that are kept unchanged: buckets, and elements of bucket `meta`.
const MAX_KEPT: usize = 16 << 20;
/// Same limit for one page: etcd has ten buckets of at most a quarter page.
const MAX_KEPT_PAGE: usize = 256 << 10;
/// Limit on bytes of users' and roles' names that are kept: 10 000 tenants' on their own pages, and on some
/// freed pages.
const MAX_NAMES: usize = 4 << 20;
/// Number of bytes of a key that are compared across pages; etcd's keys are shorter, except user names.
pub(super) const KEY: usize = 32;

/// Size of a block. The arena grows by blocks, so that growth never needs two copies.
const BLOCK: usize = 1 << 20;
const BLOCK_BITS: u32 = 20;

const BRANCH: u8 = 4;
const REVISIONS: u8 = 5;
const LEAF: u8 = 6;

/// Reason why a page cannot be part of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageDefect {
    TooLong,
    OutOfPage,
    KeyOrder,
    TooManyBuckets,
}

impl PageDefect {
    fn tag(self) -> u8 {
        match self {
            Self::TooLong => 0,
            Self::OutOfPage => 1,
            Self::KeyOrder => 2,
            Self::TooManyBuckets => 3,
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        let all = [
            Self::TooLong,
            Self::OutOfPage,
            Self::KeyOrder,
            Self::TooManyBuckets,
        ];
        all.into_iter().find(|fault| fault.tag() == tag)
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::TooLong => "has more overflow than the file has pages, or more than 24 MiB",
            Self::OutOfPage => "has elements outside its bounds",
            Self::KeyOrder => "has keys that are not in order",
            Self::TooManyBuckets => "has more buckets than etcd makes",
        }
    }
}

/// Summary of a page.
#[derive(Debug, Clone, Copy)]
pub(super) enum PageSummary<'a> {
    Fault(PageDefect),
    /// A branch: its children, read by [`super::tree::children`].
    Branch(&'a [u8]),
    /// A leaf whose keys are all revisions: its first and last key and, if they were kept, the marks of its
    /// elements.
    Revisions {
        first: Revision,
        last: Revision,
        marks: &'a [u8],
        /// Folder of each mark, in two bytes; empty if all are in the first: see [`Folders`].
        folders: &'a [u8],
        /// The first revision that etcd does not start from, if this is a leaf of bucket `key`.
        wrong: Option<(Revision, EntryDefect)>,
        /// Other buckets that it may be a leaf of.
        fits: BucketSet,
    },
    /// Any other leaf: its first and last key, at most [`KEY`] bytes of each, and elements kept unchanged:
    /// read by [`super::page::KeptElement`].
    Leaf {
        first: &'a [u8],
        last: &'a [u8],
        kept: &'a [u8],
        /// Buckets that it may be a leaf of.
        fits: BucketSet,
    },
}

/// All summaries, and findings in the values.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    /// Page number and place in the arena, in increasing order of pages.
    index: Vec<(u32, u32)>,
    blocks: Vec<Vec<u8>>,
    marks: usize,
    kept: usize,
    names: usize,
    /// Whether names of users or roles were left out.
    pub(super) more_names: bool,
    pub(super) prefixes: Prefixes,
    pub(super) folders: Folders,
    pub(super) candidates: Vec<NamespaceRevision>,
    pub(super) torn: torn::TornValues,
    /// Buffer that is reused for each page.
    pub(super) scratch: Vec<u8>,
    pub(super) folder_scratch: Vec<u8>,
    head: Vec<u8>,
}

impl Summaries {
    /// Reports whether this many more marks may be kept.
    pub(super) fn room(&self, marks: usize) -> bool {
        self.marks.saturating_add(marks) <= MAX_MARKS
    }

    /// Reports whether this many more bytes of `page` may be kept. The root of all buckets always may, so
    /// that its freed copies cannot use up its room.
    pub(super) fn keeps(&self, bytes: usize, root: bool) -> bool {
        bytes <= MAX_KEPT_PAGE && (root || self.kept.saturating_add(bytes) <= MAX_KEPT)
    }

    /// Reports whether a name of a user or role may be kept.
    pub(super) fn keeps_name(&mut self, name: &[u8]) -> bool {
        self.names = self.names.saturating_add(name.len()).saturating_add(4);
        let room = self.names <= MAX_NAMES;
        self.more_names |= !room;
        room
    }

    /// Adds the summary of a page. Pages come in increasing order.
    pub(super) fn add(&mut self, page: u64, overflow: u32, kind: PageSummary<'_>) {
        self.head.clear();
        encode_varint(overflow.into(), &mut self.head);
        let tail = encode(kind, &mut self.head);
        match kind {
            PageSummary::Revisions { marks, .. } => {
                self.marks = self.marks.saturating_add(marks.len() / Mark::BYTES);
            }
            PageSummary::Leaf { kept, .. } => self.kept = self.kept.saturating_add(kept.len()),
            PageSummary::Fault(_) | PageSummary::Branch(_) => {}
        }
        let need = self.head.len().saturating_add(tail.len());
        let full = |block: &Vec<u8>| block.len().saturating_add(need) > BLOCK;
        if self.blocks.last().is_none_or(full) {
            self.blocks.push(Vec::with_capacity(BLOCK.max(need)));
        }
        let block = to_u64(self.blocks.len().saturating_sub(1));
        let Some(last) = self.blocks.last_mut() else {
            return;
        };
        let place = u32::try_from(block << BLOCK_BITS | to_u64(last.len()));
        // Above 16 TiB, or 4 GiB of summaries, a page is not remembered, so a tree that needs it is broken.
        if let (Ok(page), Ok(place)) = (u32::try_from(page), place) {
            self.index.push((page, place));
            last.extend_from_slice(&self.head);
            last.extend_from_slice(tail);
        }
    }

    /// Returns the place of the summary of a page; `None` if the page does not look like a branch or leaf.
    pub(super) fn find(&self, page: u64) -> Option<u32> {
        let page = u32::try_from(page).ok()?;
        let at = self.index.binary_search_by_key(&page, |&(page, _)| page);
        Some(self.index.get(at.ok()?)?.1)
    }

    /// Returns the overflow and the summary at a place from [`Summaries::find`].
    pub(super) fn at(&self, place: u32) -> Option<(u32, PageSummary<'_>)> {
        let block = self
            .blocks
            .get(usize::try_from(place >> BLOCK_BITS).ok()?)?;
        let mut bytes = block.get(usize::try_from(place & ((1 << BLOCK_BITS) - 1)).ok()?..)?;
        let overflow = u32::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        Some((overflow, decode(bytes)?))
    }
}

/// Writes all of `kind` except its largest part, which it returns.
fn encode<'a>(kind: PageSummary<'a>, head: &mut Vec<u8>) -> &'a [u8] {
    let (tag, tail): (u8, &[u8]) = match kind {
        PageSummary::Fault(fault) => (fault.tag(), &[]),
        PageSummary::Branch(children) => (BRANCH, children),
        PageSummary::Revisions { marks, .. } => (REVISIONS, marks),
        PageSummary::Leaf { kept, .. } => (LEAF, kept),
    };
    head.push(tag);
    encode_varint(to_u64(tail.len()), head);
    match kind {
        PageSummary::Fault(_) | PageSummary::Branch(_) => {}
        PageSummary::Revisions {
            first,
            last,
            folders,
            wrong,
            fits,
            ..
        } => {
            encode_varint(fits.0.into(), head);
            head.push(wrong.map_or(0, |(_, wrong)| wrong.tag()));
            if let Some((at, _)) = wrong {
                encode_varint(at.main, head);
                encode_varint(at.tail(), head);
            }
            put(folders, head);
            encode_varint(first.main, head);
            encode_varint(first.tail(), head);
            encode_varint(last.main.wrapping_sub(first.main), head);
            encode_varint(last.tail(), head);
        }
        PageSummary::Leaf {
            first, last, fits, ..
        } => {
            encode_varint(fits.0.into(), head);
            put(first, head);
            put(last, head);
        }
    }
    tail
}

fn decode(mut bytes: &[u8]) -> Option<PageSummary<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    bytes = rest;
    let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
    Some(match tag {
        BRANCH => PageSummary::Branch(bytes.get(..length)?),
        REVISIONS => {
            let fits = take_fits(&mut bytes)?;
            let (&tag, rest) = bytes.split_first()?;
            bytes = rest;
            let wrong = match EntryDefect::from_tag(tag) {
                None => None,
                Some(wrong) => Some((take_revision(&mut bytes)?, wrong)),
            };
            let folders = take(&mut bytes)?;
            let first = take_revision(&mut bytes)?;
            let main = first.main.wrapping_add(decode_varint(&mut bytes).ok()?);
            let last = Revision::join(main, decode_varint(&mut bytes).ok()?);
            PageSummary::Revisions {
                first,
                last,
                marks: bytes.get(..length)?,
                folders,
                wrong,
                fits,
            }
        }
        LEAF => {
            let fits = take_fits(&mut bytes)?;
            let first = take(&mut bytes)?;
            let last = take(&mut bytes)?;
            PageSummary::Leaf {
                first,
                last,
                kept: bytes.get(..length)?,
                fits,
            }
        }
        tag => PageSummary::Fault(PageDefect::from_tag(tag)?),
    })
}

fn take_fits(bytes: &mut &[u8]) -> Option<BucketSet> {
    let fits = decode_varint(bytes).ok()?;
    Some(BucketSet(u16::try_from(fits).ok()?))
}

fn take_revision(bytes: &mut &[u8]) -> Option<Revision> {
    let main = decode_varint(bytes).ok()?;
    Some(Revision::join(main, decode_varint(bytes).ok()?))
}

/// Returns the part of a key that is compared across pages.
pub(super) fn short(key: &[u8]) -> &[u8] {
    key.get(..KEY).unwrap_or(key)
}

/// Appends the length of `part`, then `part`.
pub(super) fn put(part: &[u8], to: &mut Vec<u8>) {
    encode_varint(to_u64(part.len()), to);
    to.extend_from_slice(part);
}

/// Takes a length, and that many bytes, off the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}
