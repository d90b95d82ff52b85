//! Inspector that reads revision, key count and cluster identity from a snapshot's pages in one pass.
//!
//! Pages come in any order, and freed pages keep their old content, so a page counts only if a tree reaches
//! it. For each page a short summary is kept (about 16 bytes for each revision, 25 for each page); at the end
//! the trees are walked over the summaries.
//!
//! Every entry is decoded as etcd decodes it when it starts: a page may be complete while a value on it is
//! cut off. The bucket of a leaf is unknown before the walk, so its summary records the buckets that its
//! entries may belong to.
//!
//! etcd does not inspect Kubernetes objects; the API server fails on one that is cut off. So each object is
//! decoded as far as its form is known. A live object that cannot be decoded is a fact of the snapshot, and
//! does not make it corrupt.
//!
//! Keys in folders other than that of Kubernetes cost 2 more bytes for each revision.
//!
//! Memory: about 30 MB for a 2 GiB snapshot of Kubernetes, 120 MB for 8 GiB. Beyond 16 million revisions the
//! keys are no longer counted, and only 25 bytes a page are added.

mod bucket;
mod content;
mod entry;
mod free;
mod live;
mod page;
mod revision;
mod summary;
mod torn;
mod tree;
mod value;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

pub use self::value::uid as stored_uid;

use std::collections::BTreeSet;
use std::convert::Infallible;

use self::free::Freelist;
use self::summary::{PageDefect, PageSummary, Summaries};
use super::facts::{Contents, SnapshotError, TornObjects};
use crate::chunk::bbolt::page::{BRANCH, FREELIST, LEAF, Meta};
use crate::chunk::bbolt::window::{Unit, UnitVisitor, VisitedPart, Window};
use crate::digest::Digest;
use crate::num::to_u64;

/// Facts from the pages of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageFacts {
    /// Size of a page in bytes.
    pub page_size: u64,
    /// See [`super::SnapshotFacts::revision`].
    pub revision: u64,
    /// See [`super::SnapshotFacts::compact_revision`].
    pub compact_revision: Option<u64>,
    /// See [`super::SnapshotFacts::total_keys`].
    pub total_keys: Option<u64>,
    /// See [`super::SnapshotFacts::content`].
    pub content: Option<Digest>,
    /// See [`super::SnapshotFacts::kube_system_uid`].
    pub kube_system_uid: Option<String>,
    /// See [`super::SnapshotFacts::storage_version`].
    pub storage_version: Option<String>,
    /// See [`super::SnapshotFacts::encryption_prefixes`].
    pub encryption_prefixes: BTreeSet<String>,
    /// See [`super::SnapshotFacts::plain_secrets`].
    pub plain_secrets: u64,
    /// See [`super::SnapshotFacts::contents`].
    pub contents: Contents,
    /// See [`super::SnapshotFacts::torn`].
    pub torn: TornObjects,
}

/// Inspector that takes a snapshot's bytes in order and keeps what it needs to walk the trees.
#[derive(Debug, Default)]
pub struct Inspector {
    window: Window,
    pages: PageSurvey,
}

impl Inspector {
    /// Creates an inspector at the beginning of a snapshot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, of any length. Holds at most one page with its overflow (24 MiB).
    pub fn push(&mut self, bytes: &[u8]) {
        let Ok(()) = self.window.push(bytes, &mut self.pages);
    }

    /// Ends the stream: walks the trees.
    ///
    /// # Errors
    /// [`SnapshotError::Empty`], `Truncated`, `NoMeta`, `BrokenTree`, `BrokenEntry`, `KeyBucketMissing`,
    /// `BucketMissing` or `VersionsDiffer`. The trailer is not checked; see [`super::TrailerCheck`].
    pub fn finish(self) -> Result<PageFacts, SnapshotError> {
        let Self { window, mut pages } = self;
        let Ok(end) = window.finish(&mut pages);
        let page_size = to_u64(end.page_size);
        let size = end
            .pages
            .saturating_mul(page_size)
            .saturating_add(to_u64(end.bytes.len()));
        if size == 0 {
            return Err(SnapshotError::Empty);
        }
        if end.pages < 2 {
            // A meta page that is cut off after its last field still states the length of the file.
            pages.meta(&end.bytes, end.page_size);
        }
        let meta = pages.meta.ok_or(SnapshotError::NoMeta { size })?;
        if end.pages < meta.pages {
            let expected = meta
                .pages
                .checked_mul(page_size)
                .and_then(|n| n.checked_add(32));
            return Err(SnapshotError::Truncated { size, expected });
        }
        let freelist = pages.freelist.as_ref();
        walk::walk(pages.summaries, &meta, freelist, end.pages, page_size)
    }
}

/// Newest sound meta page, and the summaries of all other pages.
#[derive(Debug, Default)]
struct PageSurvey {
    meta: Option<Meta>,
    freelist: Option<Freelist>,
    summaries: Summaries,
}

impl PageSurvey {
    fn meta(&mut self, page: &[u8], page_size: usize) {
        let meta = Meta::read(page).filter(|meta| meta.intact && meta.page_size == page_size);
        if meta.map(|meta| meta.txid) > self.meta.map(|meta| meta.txid) {
            self.meta = meta;
        }
    }
}

impl UnitVisitor for PageSurvey {
    type Error = Infallible;

    fn visit(&mut self, unit: Unit<'_>) -> Result<VisitedPart, Infallible> {
        if unit.number < 2 {
            self.meta(unit.page(), unit.page_size);
            return Ok(VisitedPart::Page);
        }
        let Some(header) = unit.header else {
            return Ok(VisitedPart::Page);
        };
        let whole = header.unit(unit.page_size) == Some(unit.bytes.len());
        let root = self.meta.is_some_and(|meta| meta.root == unit.number);
        let free = self.meta.and_then(|meta| meta.freelist) == Some(unit.number);
        match header.flags {
            LEAF | BRANCH if !whole => {
                self.summaries.add(
                    unit.number,
                    header.overflow,
                    PageSummary::Fault(PageDefect::TooLong),
                );
            }
            LEAF => page::leaf(&mut self.summaries, unit.number, header, unit.bytes, root),
            BRANCH => page::branch(&mut self.summaries, unit.number, header, unit.bytes),
            FREELIST if whole && free => self.freelist = Freelist::read(header, unit.bytes),
            _ => {}
        }
        // A freed page may claim overflow pages that are now in use, so each page is inspected.
        Ok(VisitedPart::Page)
    }
}
