//! Walk of the trees over the summaries: every bucket, from the root that the meta page names.

use super::bucket::{AUTH, BucketRole, CLUSTER_VERSION, COMPACTED, EtcdVersion, VERSION};
use super::free::Freelist;
use super::live;
use super::page::{KeptElement, summarise};
use super::revision::Revision;
use super::summary::{KEY, PageSummary, Summaries};
use super::torn;
use super::tree::{Child, children};
use super::value::{Folders, NamespaceRevision, Prefixes};
use super::{Contents, PageFacts};
use crate::chunk::bbolt::page::{Header, LEAF, Meta};
use crate::etcd::facts::SnapshotError;

mod page_set;

use page_set::PageSet;

/// Walks all trees of a file with `pages` pages, from the root that `meta` names.
pub(super) fn walk(
    mut summaries: Summaries,
    meta: &Meta,
    freelist: Option<&Freelist>,
    pages: u64,
    page_size: u64,
) -> Result<PageFacts, SnapshotError> {
    let candidates = std::mem::take(&mut summaries.candidates);
    let prefixes = std::mem::take(&mut summaries.prefixes);
    let folders = std::mem::take(&mut summaries.folders);
    let torn = std::mem::take(&mut summaries.torn);
    let contents = Contents {
        more_names: summaries.more_names,
        ..Contents::default()
    };
    let mut walk = TreeWalk {
        seen: PageSet::new(pages),
        trees: vec![(BucketRole::Root, PendingBucket::Page(meta.root))],
        found: Vec::new(),
        versions: (None, None),
        leaves: Vec::new(),
        inline: (Vec::new(), Vec::new()),
        facts: PageFacts {
            page_size,
            contents,
            ..PageFacts::default()
        },
        candidates,
        torn,
        led: Vec::new(),
        prefixes,
        folders,
    };
    if let Some(page) = meta.freelist {
        let Some(freelist) = freelist else {
            return broken(page, "is not the list of free pages that the file names");
        };
        walk.seen.mark(page, freelist.overflow)?;
    }
    while let Some((role, tree)) = walk.trees.pop() {
        match tree {
            PendingBucket::Page(root) => walk.tree(&summaries, role, root)?,
            PendingBucket::Inline { page, bytes } => walk.inline(role, page, &bytes)?,
        }
    }
    for page in freelist.into_iter().flat_map(|freelist| &freelist.pages) {
        // A page in use must not be free: etcd would write into it.
        walk.seen.mark(*page, 0)?;
    }
    if !walk.found.contains(&BucketRole::Key) {
        return Err(SnapshotError::KeyBucketMissing);
    }
    if let Some(role) = BucketRole::MADE
        .iter()
        .find(|role| !walk.found.contains(role))
    {
        return Err(SnapshotError::BucketMissing {
            bucket: role.name(),
        });
    }
    let (storage, cluster) = &walk.versions;
    if !EtcdVersion::agree(storage.as_deref(), cluster.as_deref()) {
        return Err(SnapshotError::VersionsDiffer);
    }
    Ok(walk.finish(&summaries))
}

/// Bucket that waits to be walked.
enum PendingBucket {
    Page(u64),
    /// A small bucket inside its parent: on this page, as these bytes.
    Inline {
        page: u64,
        bytes: Vec<u8>,
    },
}

struct TreeWalk {
    seen: PageSet,
    trees: Vec<(BucketRole, PendingBucket)>,
    /// Buckets in the root.
    found: Vec<BucketRole>,
    /// Storage version and cluster version.
    versions: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Places of the summaries of bucket `key`'s leaves, in the order of revisions.
    leaves: Vec<u32>,
    /// Marks and folders of bucket `key`, if it is inside its parent.
    inline: (Vec<u8>, Vec<u8>),
    facts: PageFacts,
    candidates: Vec<NamespaceRevision>,
    torn: torn::TornValues,
    /// Torn values that the tree reaches.
    led: Vec<torn::TornValue>,
    prefixes: Prefixes,
    folders: Folders,
}

impl TreeWalk {
    fn tree(
        &mut self,
        summaries: &Summaries,
        role: BucketRole,
        root: u64,
    ) -> Result<(), SnapshotError> {
        let mut last = Vec::new();
        let mut stack = vec![Child::root(root)];
        while let Some(child) = stack.pop() {
            let page = child.page;
            if !behind(child.key(), &last) {
                return broken(page, "begins before the end of its neighbour");
            }
            let found = summaries.find(page);
            let Some((overflow, kind)) = found.and_then(|place| summaries.at(place)) else {
                return broken(page, "is neither a branch nor a leaf, or not in the file");
            };
            self.seen.mark(page, overflow)?;
            if let PageSummary::Branch(bytes) = kind {
                let from = stack.len();
                stack.extend(children(bytes));
                let inner = stack.get_mut(from..).unwrap_or_default();
                match inner.first() {
                    None => return broken(page, "is a branch without children"),
                    Some(first) if first.key() < child.key() => {
                        return broken(page, "begins before the key that its parent has for it");
                    }
                    Some(_) => inner.reverse(),
                }
                continue;
            }
            if let Some(first) = first_key(&kind).filter(|_| page != root)
                && (first.is_empty() || first.as_slice() < child.key())
            {
                return broken(page, "begins before the key that its parent has for it");
            }
            self.leaf(role, page, found, kind, &mut last)?;
        }
        Ok(())
    }

    fn inline(&mut self, role: BucketRole, page: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        let header = Header::read(bytes).filter(|header| header.flags == LEAF);
        let Some(header) = header else {
            return broken(page, "holds a small bucket that is not a leaf");
        };
        // Values are read as on a separate page.
        let mut own = Summaries::default();
        own.prefixes = std::mem::take(&mut self.prefixes);
        own.folders = std::mem::take(&mut self.folders);
        let mut scratch = Vec::new();
        let kind = summarise(&mut own, page, header, bytes, true, &mut scratch);
        self.prefixes = std::mem::take(&mut own.prefixes);
        self.folders = std::mem::take(&mut own.folders);
        self.facts.contents.more_names |= own.more_names;
        let outer = std::mem::replace(&mut self.candidates, own.candidates);
        let outer_torn = std::mem::replace(&mut self.torn, own.torn);
        let done = match kind {
            Ok(kind) => self.leaf(role, page, None, kind, &mut Vec::new()),
            Err(fault) => broken(page, fault.text()),
        };
        self.candidates = outer;
        self.torn = outer_torn;
        done
    }

    /// Processes a leaf of a tree, in the order of keys; `last` is the last key before it. `place` is the
    /// place of its summary, unless the leaf is inside its parent.
    fn leaf(
        &mut self,
        role: BucketRole,
        page: u64,
        place: Option<u32>,
        kind: PageSummary<'_>,
        last: &mut Vec<u8>,
    ) -> Result<(), SnapshotError> {
        match kind {
            PageSummary::Fault(fault) => broken(page, fault.text()),
            PageSummary::Branch(_) => broken(page, "is a branch where a leaf is wanted"),
            PageSummary::Revisions {
                first,
                last: end,
                marks,
                folders,
                wrong,
                fits,
            } => {
                follow(page, &first.key(), &end.key(), last)?;
                if role == BucketRole::Key {
                    if let Some((revision, wrong)) = wrong {
                        return Err(SnapshotError::BrokenEntry {
                            bucket: role.name(),
                            page,
                            revision: Some(revision.main),
                            what: wrong.text(),
                        });
                    }
                    match place {
                        Some(place) => self.leaves.push(place),
                        None => self.inline = (marks.to_vec(), folders.to_vec()),
                    }
                    self.revisions(page, end);
                } else if !fits.has(role) {
                    return not_etcds(role, page);
                } else if matches!(role, BucketRole::Users | BucketRole::Roles) {
                    // Names that look like revisions; such users may exist.
                    self.facts.contents.more_names = true;
                }
                Ok(())
            }
            // An empty bucket has one empty leaf.
            PageSummary::Leaf {
                first: [],
                last: [],
                kept: [],
                ..
            } => Ok(()),
            PageSummary::Leaf { fits, .. } if !fits.has(role) => not_etcds(role, page),
            PageSummary::Leaf {
                first,
                last: end,
                mut kept,
                ..
            } => {
                follow(page, first, end, last)?;
                while let Some(element) = KeptElement::take(&mut kept) {
                    self.kept(role, page, element)?;
                }
                Ok(())
            }
        }
    }

    fn revisions(&mut self, page: u64, end: Revision) {
        self.facts.revision = end.main;
        self.led.extend_from_slice(self.torn.on(page));
        // Revisions come in order, so the last candidate is the live one.
        let found = |found: &NamespaceRevision| found.page;
        if let Ok(at) = self.candidates.binary_search_by_key(&page, found) {
            self.facts.kube_system_uid = self.candidates.get(at).and_then(NamespaceRevision::uid);
        }
    }

    fn kept(
        &mut self,
        role: BucketRole,
        page: u64,
        element: KeptElement<'_>,
    ) -> Result<(), SnapshotError> {
        let KeptElement { bucket, key, value } = element;
        if !bucket {
            if role == BucketRole::Meta && key == COMPACTED {
                self.facts.compact_revision = Revision::read(value).map(|revision| revision.main);
            }
            if role == BucketRole::Meta && key == VERSION {
                self.facts.storage_version = std::str::from_utf8(value).ok().map(str::to_owned);
                self.versions.0 = Some(value.to_vec());
            }
            if role == BucketRole::Cluster && key == CLUSTER_VERSION {
                self.versions.1 = Some(value.to_vec());
            }
            let name = || String::from_utf8_lossy(key).into_owned();
            match role {
                BucketRole::Auth if key == AUTH => {
                    self.facts.contents.auth_enabled = value == [1];
                }
                BucketRole::Users => self.facts.contents.users.push(name()),
                BucketRole::Roles => self.facts.contents.roles.push(name()),
                _ => {}
            }
            return Ok(());
        }
        let inner = match role {
            BucketRole::Root => BucketRole::named(key),
            _ => BucketRole::Other,
        };
        self.found.push(inner);
        // A bucket is its root page and a sequence number; a small bucket has no root but its only page after
        // them.
        let Some((&root, rest)) = value.split_first_chunk::<8>() else {
            return broken(page, "has a bucket without a root");
        };
        let tree = match u64::from_le_bytes(root) {
            0 => PendingBucket::Inline {
                page,
                bytes: rest.get(8..).unwrap_or_default().to_vec(),
            },
            root => PendingBucket::Page(root),
        };
        self.trees.push((inner, tree));
        Ok(())
    }

    fn finish(mut self, summaries: &Summaries) -> PageFacts {
        let leaves = || {
            let marks = |&place: &u32| match summaries.at(place) {
                Some((_, PageSummary::Revisions { marks, folders, .. })) => (marks, folders),
                _ => (&[][..], &[][..]),
            };
            let inline = std::iter::once((self.inline.0.as_slice(), self.inline.1.as_slice()));
            inline
                .filter(|(marks, _)| !marks.is_empty())
                .chain(self.leaves.iter().map(marks))
        };
        let asked = self.led.iter().map(|torn| torn.place).collect();
        let live = live::count(leaves, &asked);
        self.facts.total_keys = live.keys;
        self.facts.content = live.keys.is_some().then(|| live.content.digest());
        self.facts.plain_secrets = live.secrets(Prefixes::PLAIN);
        for way in Prefixes::NUMBERED {
            if live.secrets(way) > 0 {
                self.prefixes.add(way, &mut self.facts.encryption_prefixes);
            }
        }
        if live.keys.is_some() {
            self.facts.contents.more_prefixes = live.more_folders();
            self.facts.contents.prefixes = self.folders.by_name(&live.folders);
        }
        self.facts.torn = torn::live_objects(self.led, &live, self.torn.more);
        self.facts
    }
}

fn broken<T>(page: u64, what: &'static str) -> Result<T, SnapshotError> {
    Err(SnapshotError::BrokenTree { page, what })
}

fn not_etcds<T>(role: BucketRole, page: u64) -> Result<T, SnapshotError> {
    Err(SnapshotError::BrokenEntry {
        bucket: role.name(),
        page,
        revision: None,
        what: "has a key or value that etcd does not write there",
    })
}

/// Returns the first key of a leaf; empty if it has none.
fn first_key(kind: &PageSummary<'_>) -> Option<Vec<u8>> {
    match kind {
        PageSummary::Revisions { first, .. } => Some(first.key()),
        PageSummary::Leaf { first, .. } => Some(first.to_vec()),
        PageSummary::Fault(_) | PageSummary::Branch(_) => None,
    }
}

/// Reports whether a key may follow `last`; an empty `last` precedes every key.
fn behind(key: &[u8], last: &[u8]) -> bool {
    // Long keys were cut: equal ones may differ in the rest.
    last.is_empty() || key.is_empty() || key > last || (key == last && key.len() >= KEY)
}

/// Checks that a leaf's keys follow `last`, and advances `last`.
fn follow(page: u64, first: &[u8], end: &[u8], last: &mut Vec<u8>) -> Result<(), SnapshotError> {
    if !behind(first, last) {
        return broken(
            page,
            "has keys that do not come after those of the leaf before it",
        );
    }
    last.clear();
    last.extend_from_slice(end);
    Ok(())
}
