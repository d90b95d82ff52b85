//! Losses from damaged packs, as far as they can be determined.

use std::collections::{BTreeMap, BTreeSet};

use super::walk::{ArchiveEntries, Hole};
use crate::archive::ObjectPath;
use crate::format::manifest::Component;
use crate::format::recipe::Segment;
use crate::num::to_u64;
use crate::shortlist::and_more;

/// Objects that are listed by name; the others are only counted.
const MAX_NAMED: usize = 20;
/// Ranges that are listed.
const RANGES: usize = 8;

/// Data that is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataLoss {
    /// Objects of an archive.
    Objects {
        /// Number of objects.
        count: u64,
        /// Number of objects of each kind.
        kinds: BTreeMap<String, u64>,
        /// Names of some objects, as far as they are known.
        named: Vec<String>,
    },
    /// Parts of an etcd snapshot.
    Parts {
        /// Number of lost bytes.
        bytes: u64,
        /// Size of the snapshot in bytes.
        of: u64,
        /// Some of the lost ranges in the snapshot, each as first and last byte.
        ranges: Vec<(u64, u64)>,
        /// Number of ranges that are not listed.
        more: usize,
    },
    /// The whole component.
    Everything,
}

impl std::fmt::Display for DataLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Objects {
                count,
                kinds,
                named,
            } => {
                let kinds = kinds.iter().map(|(kind, n)| format!("{n} of {kind}"));
                let kinds: Vec<String> = kinds.take(MAX_NAMED).collect();
                write!(f, "{count} objects ({})", kinds.join(", "))?;
                if !named.is_empty() {
                    write!(f, ": {}", named.join(", "))?;
                }
                let told = to_u64(named.len());
                match count.saturating_sub(told) {
                    more @ 1.. if named.is_empty() => write!(f, "; the {more} names are unknown"),
                    more => f.write_str(&and_more(more)),
                }
            }
            Self::Parts {
                bytes,
                of,
                ranges,
                more,
            } => {
                let ranges = ranges.iter().map(|(a, b)| format!("{a}-{b}"));
                let ranges: Vec<String> = ranges.collect();
                write!(f, "{bytes} of {of} bytes, in {}", ranges.join(", "))?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more ranges"),
                }
            }
            Self::Everything => f.write_str("all of it"),
        }
    }
}

/// Returns the lost objects: those with a readable header and other bytes in a hole, and those that an older
/// restore point has and the rest lacks. They are counted by kind, as in the manifest.
pub(super) fn objects_lost(
    component: &Component,
    read: ArchiveEntries,
    older: Option<&BTreeSet<String>>,
) -> DataLoss {
    let kind = |name: &str| -> String {
        let path = name.parse::<ObjectPath>();
        path.map_or_else(|_| "files".to_owned(), |path| path.resource.to_string())
    };
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for name in &read.whole {
        let count = found.entry(kind(name)).or_default();
        *count = count.saturating_add(1);
    }
    let archive = component.archive.as_ref();
    let listed = archive.map(|a| a.kinds.as_slice()).unwrap_or_default();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for facts in listed {
        let has = found.get(&facts.resource).copied().unwrap_or_default();
        let lost = facts.objects.saturating_sub(has);
        if lost > 0 {
            kinds.insert(facts.resource.clone(), lost);
        }
    }
    let mut named = read.torn;
    let missed = older.into_iter().flatten();
    let missed = missed.filter(|name| !read.whole.contains(*name));
    named.extend(
        missed
            .filter(|name| kinds.contains_key(&kind(name)))
            .cloned(),
    );
    let all = archive.map_or(0, |a| a.objects);
    let seen = to_u64(read.whole.len());
    let named = named.into_iter().take(MAX_NAMED).map(|name| {
        let path = name.parse::<ObjectPath>();
        path.map_or(name, |path| format!("{} {}", path.resource, path.object()))
    });
    DataLoss::Objects {
        count: all.saturating_sub(seen),
        kinds,
        named: named.collect(),
    }
}

/// Returns the lost parts of a snapshot: the segments with holes, as far as they can be determined without
/// the pages.
pub(super) fn parts_lost(component: &Component, segments: &[Segment], holes: &[Hole]) -> DataLoss {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut from = 0_u64;
    for segment in segments {
        let lengths = segment.runs.iter().map(|run| run.length);
        let to = from.saturating_add(lengths.fold(0, u64::saturating_add));
        let first = holes.partition_point(|hole| hole.end <= from);
        let torn = holes.get(first).is_some_and(|hole| hole.start < to);
        from = to;
        if !torn || segment.plain_bytes == 0 {
            continue;
        }
        let end = segment.start.saturating_add(segment.plain_bytes);
        let last = end.saturating_sub(1);
        match ranges.last_mut() {
            Some(before) if before.1.saturating_add(1) == segment.start => before.1 = last,
            _ => ranges.push((segment.start, last)),
        }
    }
    let bytes = holes.iter().map(|h| h.end.saturating_sub(h.start));
    let more = ranges.len().saturating_sub(RANGES);
    ranges.truncate(RANGES);
    DataLoss::Parts {
        bytes: bytes.fold(0, u64::saturating_add),
        of: component.plain_bytes,
        ranges,
        more,
    }
}
