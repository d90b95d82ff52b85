//! Summaries of leaf and branch pages.

use super::bucket::{AUTH, BucketSet, CLUSTER_VERSION, COMPACTED, VERSION};
use super::content;
use super::entry::{EntryDefect, KeyValue};
use super::revision::{Mark, Revision};
use super::summary::{PageDefect, PageSummary, Summaries, put, short, take};
use super::torn;
use super::tree::{Child, put_child};
use super::value::{self, Folders};
use crate::chunk::bbolt::page::{BranchRow, HEADER, Header, LeafRow, ROW, rows, size};

/// Element that is kept unchanged: a bucket, or an element of bucket `meta`.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptElement<'a> {
    pub(super) bucket: bool,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> KeptElement<'a> {
    /// Takes the next element off the front.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (&bucket, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(Self {
            bucket: bucket == 1,
            key: take(bytes)?,
            value: take(bytes)?,
        })
    }

    fn put(self, to: &mut Vec<u8>) {
        to.push(self.bucket.into());
        put(self.key, to);
        put(self.value, to);
    }
}

/// Element of a leaf.
struct Element<'a> {
    bucket: bool,
    key: &'a [u8],
    value: &'a [u8],
}

fn elements<'a>(
    unit: &'a [u8],
    rows: &'a [[u8; ROW]],
) -> impl Iterator<Item = Option<Element<'a>>> {
    rows.iter()
        .zip((HEADER..).step_by(ROW))
        .map(|(row, place)| {
            let row = LeafRow::read(row);
            let from = unit.get(place.checked_add(size(row.position))?..)?;
            let (key, rest) = from.split_at_checked(size(row.key))?;
            let value = rest.get(..size(row.value))?;
            Some(Element {
                bucket: row.flags & 1 != 0,
                key,
                value,
            })
        })
}

/// Adds the summary of a leaf. `root` means that it is the root of all buckets.
pub(super) fn leaf(to: &mut Summaries, page: u64, header: Header, unit: &[u8], root: bool) {
    let mut scratch = std::mem::take(&mut to.scratch);
    scratch.clear();
    let kind = summarise(to, page, header, unit, root, &mut scratch);
    to.add(
        page,
        header.overflow,
        kind.unwrap_or_else(PageSummary::Fault),
    );
    to.scratch = scratch;
}

/// Returns the summary of a leaf; its larger parts are written to `scratch`.
pub(super) fn summarise<'a>(
    to: &mut Summaries,
    page: u64,
    header: Header,
    unit: &'a [u8],
    root: bool,
    scratch: &'a mut Vec<u8>,
) -> Result<PageSummary<'a>, PageDefect> {
    let rows = rows(unit, header.count).ok_or(PageDefect::OutOfPage)?;
    if let Some(kind) = revisions(to, page, unit, rows, scratch)? {
        let LeafData {
            first,
            last,
            marks,
            wrong,
            fits,
        } = kind;
        let (marks, folders) = scratch.split_at_checked(marks).unwrap_or_default();
        return Ok(PageSummary::Revisions {
            first,
            last,
            marks,
            folders,
            wrong,
            fits,
        });
    }
    scratch.clear();
    let mut first: &[u8] = &[];
    let mut last: &[u8] = &[];
    let mut fits = BucketSet::ALL;
    for (i, element) in elements(unit, rows).enumerate() {
        let Element { bucket, key, value } = element.ok_or(PageDefect::OutOfPage)?;
        if i == 0 {
            first = key;
        } else if key <= last {
            return Err(PageDefect::KeyOrder);
        }
        last = key;
        fits.narrow(bucket, key, value);
        let wanted =
            [COMPACTED, VERSION, AUTH, CLUSTER_VERSION].contains(&key) && value.len() <= 64;
        // Users and roles repeat their name in their value, which contains a password's hash and is not kept.
        let named = !bucket && !wanted && value::name(value) == Some(key);
        let value = if named { &[] } else { value };
        if bucket || wanted || (named && to.keeps_name(key)) {
            KeptElement { bucket, key, value }.put(scratch);
            if !to.keeps(scratch.len(), root) {
                return Err(PageDefect::TooManyBuckets);
            }
        }
    }
    Ok(PageSummary::Leaf {
        first: short(first),
        last: short(last),
        kept: scratch,
        fits,
    })
}

/// Data of a leaf of bucket `key` beside its marks.
struct LeafData {
    first: Revision,
    last: Revision,
    /// Number of bytes of marks that were kept; the folders follow them.
    marks: usize,
    /// The first revision that etcd does not start from.
    wrong: Option<(Revision, EntryDefect)>,
    fits: BucketSet,
}

/// Reads a leaf of bucket `key`; `None` if it is another leaf.
fn revisions(
    to: &mut Summaries,
    page: u64,
    unit: &[u8],
    rows: &[[u8; ROW]],
    marks: &mut Vec<u8>,
) -> Result<Option<LeafData>, PageDefect> {
    let room = to.room(rows.len());
    let mut folders = std::mem::take(&mut to.folder_scratch);
    folders.clear();
    let mut several = false;
    let mut ends: Option<(Revision, Revision)> = None;
    let mut wrong = None;
    let mut fits = BucketSet::ALL;
    for element in elements(unit, rows) {
        let Element { bucket, key, value } = element.ok_or(PageDefect::OutOfPage)?;
        let (false, Some(revision)) = (bucket, Revision::read(key)) else {
            return Ok(None);
        };
        fits.narrow(bucket, key, value);
        let before = ends.map(|(_, last)| last);
        ends = match ends {
            None => Some((revision, revision)),
            Some((_, last)) if revision <= last => return Err(PageDefect::KeyOrder),
            Some((first, _)) => Some((first, revision)),
        };
        let entry = KeyValue::read(value).unwrap_or_default();
        if wrong.is_none() {
            wrong = fault(revision, before, value).map(|wrong| (revision, wrong));
        }
        let etcd_key = entry.key;
        if room {
            let secret = to.prefixes.of(etcd_key, entry.object);
            let mark = Mark::new(value::fingerprint(etcd_key), secret, revision.tombstone);
            marks.extend_from_slice(&mark.0.to_le_bytes());
            marks.extend_from_slice(&content::of_entry(value).to_le_bytes());
            let folder = to.folders.of(etcd_key);
            several |= folder != Folders::FIRST;
            folders.extend_from_slice(&folder.to_le_bytes());
        }
        if torn::is_torn(etcd_key, entry.object) {
            let mark = Mark::new(value::fingerprint(etcd_key), 0, false);
            let place = (mark, content::of_entry(value));
            to.torn.note(page, revision.main, place, etcd_key);
        }
        if etcd_key == value::KUBE_SYSTEM {
            value::NamespaceRevision::note(&mut to.candidates, page, revision, entry.object);
        }
    }
    let kept = marks.len();
    if several {
        marks.extend_from_slice(&folders);
    }
    to.folder_scratch = folders;
    Ok(ends.map(|(first, last)| LeafData {
        first,
        last,
        marks: kept,
        wrong,
        fits,
    }))
}

/// Returns the reason why etcd does not start from this entry, which follows the revision `before`.
fn fault(revision: Revision, before: Option<Revision>, value: &[u8]) -> Option<EntryDefect> {
    if before.is_some_and(|before| before.same_write(revision)) {
        return Some(EntryDefect::Twice);
    }
    let read = KeyValue::read(value).ok_or(EntryDefect::Torn);
    read.and_then(|entry| entry.check(revision)).err()
}

/// Adds the summary of a branch.
pub(super) fn branch(to: &mut Summaries, page: u64, header: Header, unit: &[u8]) {
    let mut scratch = std::mem::take(&mut to.scratch);
    scratch.clear();
    let kind = match children(header, unit, &mut scratch) {
        Ok(()) => PageSummary::Branch(&scratch),
        Err(fault) => PageSummary::Fault(fault),
    };
    to.add(page, header.overflow, kind);
    to.scratch = scratch;
}

fn children(header: Header, unit: &[u8], to: &mut Vec<u8>) -> Result<(), PageDefect> {
    let rows = rows(unit, header.count).ok_or(PageDefect::OutOfPage)?;
    let mut before = Child::default();
    let mut last: Option<&[u8]> = None;
    for (row, place) in rows.iter().zip((HEADER..).step_by(ROW)) {
        let row = BranchRow::read(row);
        let key = place
            .checked_add(size(row.position))
            .and_then(|from| unit.get(from..)?.get(..size(row.key)))
            .ok_or(PageDefect::OutOfPage)?;
        if last.is_some_and(|last| key <= last) {
            return Err(PageDefect::KeyOrder);
        }
        last = Some(key);
        before = put_child(&before, row.child, key, to);
    }
    Ok(())
}
