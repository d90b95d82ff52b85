//! Reads revision, key count and cluster identity out of a snapshot's pages while they stream past.
//!
//! Pages come in any order, and freed pages keep their old content, so what a page says counts
//! only if the trees lead to it. Of each page a short summary is kept (about 16 bytes for each
//! revision, 25 for each page); at the end the trees are walked over the summaries.
//!
//! Every entry is decoded as etcd decodes it when it starts: a page may be whole, and a value on it
//! cut. What a page is a leaf of is not known before the walk, so its summary says which buckets its
//! entries may be of.
//!
//! etcd does not look into an object of Kubernetes; the API server fails over one that is cut. So each
//! object is decoded as far as its form is known. A live one that cannot be decoded is a fact of the
//! snapshot, and does not make it corrupt.
//!
//! What keys are in a folder besides that of Kubernetes cost 2 bytes more for each revision.
//!
//! Memory: about 30 MB for a 2 GiB snapshot of Kubernetes, 120 MB for 8 GiB. Beyond
//! 16 million revisions the keys are not counted any more, and nothing grows but 25 bytes a page.

mod bucket;
mod content;
mod entry;
mod free;
mod live;
mod page;
mod summary;
mod torn;
mod tree;
mod value;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use self::value::uid as stored_uid;

use std::collections::BTreeSet;
use std::convert::Infallible;

use self::free::Freelist;
use self::summary::{Fault, Kind, Summaries};
use super::facts::{Contents, SnapshotError, Torn};
use crate::chunk::bbolt::page::{BRANCH, FREELIST, LEAF, Meta, wide};
use crate::chunk::bbolt::window::{Taken, Unit, Visit, Window};
use crate::digest::Digest;

/// What the pages of a snapshot say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageFacts {
    /// Bytes of a page.
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
    pub torn: Torn,
}

/// Takes a snapshot's bytes in order and remembers what is needed to walk its trees.
#[derive(Debug, Default)]
pub struct Inspector {
    window: Window,
    pages: Pages,
}

impl Inspector {
    /// Starts at the beginning of a snapshot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, of any length. Holds at most one page with its overflow (24 MiB).
    pub fn push(&mut self, bytes: &[u8]) {
        let Ok(()) = self.window.push(bytes, &mut self.pages);
    }

    /// The stream has ended: walks the trees.
    ///
    /// # Errors
    /// [`SnapshotError::Empty`], `Truncated`, `NoMeta`, `BrokenTree`, `BrokenEntry`,
    /// `KeyBucketMissing`, `BucketMissing` or `VersionsDiffer`. The trailer is not looked at; see [`super::TrailerCheck`].
    pub fn finish(self) -> Result<PageFacts, SnapshotError> {
        let Self { window, mut pages } = self;
        let Ok(end) = window.finish(&mut pages);
        let page_size = wide(end.page_size);
        let size = end
            .pages
            .saturating_mul(page_size)
            .saturating_add(wide(end.bytes.len()));
        if size == 0 {
            return Err(SnapshotError::Empty);
        }
        if end.pages < 2 {
            // A meta that is cut off behind its last field still tells how long the file was.
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

/// The newest sound meta page and the summaries of all others.
#[derive(Debug, Default)]
struct Pages {
    meta: Option<Meta>,
    freelist: Option<Freelist>,
    summaries: Summaries,
}

impl Pages {
    fn meta(&mut self, page: &[u8], page_size: usize) {
        let meta = Meta::read(page).filter(|meta| meta.intact && meta.page_size == page_size);
        if meta.map(|meta| meta.txid) > self.meta.map(|meta| meta.txid) {
            self.meta = meta;
        }
    }
}

impl Visit for Pages {
    type Error = Infallible;

    fn visit(&mut self, unit: Unit<'_>) -> Result<Taken, Infallible> {
        if unit.number < 2 {
            self.meta(unit.page(), unit.page_size);
            return Ok(Taken::Page);
        }
        let Some(header) = unit.header else {
            return Ok(Taken::Page);
        };
        let whole = header.unit(unit.page_size) == Some(unit.bytes.len());
        let root = self.meta.is_some_and(|meta| meta.root == unit.number);
        let free = self.meta.and_then(|meta| meta.freelist) == Some(unit.number);
        match header.flags {
            LEAF | BRANCH if !whole => {
                self.summaries
                    .add(unit.number, header.overflow, Kind::Fault(Fault::TooLong));
            }
            LEAF => page::leaf(&mut self.summaries, unit.number, header, unit.bytes, root),
            BRANCH => page::branch(&mut self.summaries, unit.number, header, unit.bytes),
            FREELIST if whole && free => self.freelist = Freelist::read(header, unit.bytes),
            _ => {}
        }
        // A freed page may claim overflow that others use by now: each page is looked at.
        Ok(Taken::Page)
    }
}
