//! Results of comparing two restore points.

use std::collections::BTreeMap;

use backup_cli::failure::Failure;
use backup_core::archive::{ArchiveError, Change, ObjectPath, ResourceName, StoredJson};
use backup_core::num::to_usize;

use super::patch::patch;
use super::plan::{ComponentPair, KindPair};

/// Largest number of objects of a kind that are named unless all are requested.
pub(super) const NAMES: usize = 10;
/// Largest total of patches in bytes; further objects are named without a patch. This is more than a person
/// reads, and fits into memory until everything is known to be sound.
const MAX_PATCHES: usize = 64 << 20;

/// Selection of the objects that are compared.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) resource: Option<ResourceName>,
    pub(super) namespace: Option<String>,
}

impl Filter {
    fn takes_kind(&self, resource: &str) -> bool {
        self.resource
            .as_ref()
            .is_none_or(|r| r.as_str() == resource)
    }

    fn takes(&self, path: &ObjectPath) -> bool {
        self.takes_kind(path.resource.as_str())
            && (self.namespace.is_none() || self.namespace == path.namespace)
    }
}

/// Options of the comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Largest number of objects of a kind that are named.
    pub(super) names: usize,
    /// Whether patches are shown.
    pub(super) patch: bool,
    /// Whether status is compared.
    pub(super) status: bool,
}

/// Counts for one kind of one component.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) changed: u64,
    pub(super) status: u64,
    pub(super) recreated: u64,
    /// Objects that differ and are not named.
    pub(super) unnamed: u64,
    /// Reason why the kind cannot be compared.
    pub(super) obstacle: Option<String>,
    /// Note that explains the numbers.
    pub(super) note: Option<String>,
}

/// Kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChangeKind {
    Added,
    Removed,
    Recreated,
    Changed,
    Status,
}

impl ChangeKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Recreated => "recreated",
            Self::Changed => "changed",
            Self::Status => "status",
        }
    }
}

/// Object that differs.
#[derive(Debug)]
pub(super) struct ObjectDifference {
    pub(super) component: String,
    pub(super) path: ObjectPath,
    pub(super) word: ChangeKind,
    pub(super) patch: Option<String>,
}

/// Results so far.
#[derive(Debug)]
pub(super) struct Comparison {
    filter: Filter,
    options: Options,
    patched: usize,
    pub(super) tallies: BTreeMap<(String, String), Tally>,
    pub(super) objects: Vec<ObjectDifference>,
    /// Objects that are named without a patch for lack of room.
    pub(super) unpatched: u64,
}

impl Comparison {
    pub(super) fn new(filter: Filter, options: Options) -> Self {
        Self {
            filter,
            options,
            patched: 0,
            tallies: BTreeMap::new(),
            objects: Vec::new(),
            unpatched: 0,
        }
    }

    /// Records the facts of the manifests about a component; returns whether its objects must be read.
    pub(super) fn begin(&mut self, pair: &ComponentPair<'_>) -> bool {
        let mut read = false;
        for (resource, kind) in &pair.kinds {
            if !self.filter.takes_kind(resource) {
                continue;
            }
            let tally = Tally {
                // Equal bytes need no comparison, even if neither side is complete.
                obstacle: kind.obstacle.clone().filter(|_| !pair.same()),
                note: note(kind),
                ..Tally::default()
            };
            read |= tally.obstacle.is_none() && !pair.same();
            let key = (pair.name.to_string(), (*resource).to_owned());
            self.tallies.insert(key, tally);
        }
        read
    }

    /// Compares the objects of one path: of both sides, or of the side that has it.
    pub(super) fn object(
        &mut self,
        component: &str,
        before: Option<&StoredJson>,
        after: Option<&StoredJson>,
    ) -> Result<(), ComparisonError> {
        let Some(path) = before.or(after).map(|object| &object.path) else {
            return Ok(());
        };
        if !self.filter.takes(path) {
            return Ok(());
        }
        let key = (component.to_owned(), path.resource.to_string());
        let Some(tally) = self.tallies.get_mut(&key).filter(|t| t.obstacle.is_none()) else {
            return Ok(());
        };
        let word = match (before, after) {
            (Some(before), Some(after)) => match Change::between(before, after)? {
                Change::Recreated => ChangeKind::Recreated,
                Change::Changed => ChangeKind::Changed,
                Change::Status if self.options.status => ChangeKind::Status,
                Change::Status | Change::Same => return Ok(()),
            },
            (Some(_), None) => ChangeKind::Removed,
            _ => ChangeKind::Added,
        };
        let count = match word {
            ChangeKind::Added => &mut tally.added,
            ChangeKind::Removed => &mut tally.removed,
            ChangeKind::Recreated => &mut tally.recreated,
            ChangeKind::Changed => &mut tally.changed,
            ChangeKind::Status => &mut tally.status,
        };
        *count = count.saturating_add(1);
        let named = tally.differing().saturating_sub(tally.unnamed);
        if to_usize(named) > self.options.names {
            tally.unnamed = tally.unnamed.saturating_add(1);
            return Ok(());
        }
        let patch = match (before, after) {
            (Some(before), Some(after)) if self.options.patch => self.patch(before, after)?,
            _ => None,
        };
        self.objects.push(ObjectDifference {
            component: component.to_owned(),
            path: path.clone(),
            word,
            patch,
        });
        Ok(())
    }

    fn patch(
        &mut self,
        before: &StoredJson,
        after: &StoredJson,
    ) -> Result<Option<String>, ComparisonError> {
        if self.patched >= MAX_PATCHES {
            self.unpatched = self.unpatched.saturating_add(1);
            return Ok(None);
        }
        let patch = patch(before, after, self.options.status)?;
        self.patched = self.patched.saturating_add(patch.len());
        Ok(Some(patch).filter(|p| !p.is_empty()))
    }
}

/// Reason why the comparison of objects ended.
#[derive(Debug)]
pub(super) enum ComparisonError {
    /// Object that cannot be read.
    Archive(ArchiveError),
    /// Any other failure.
    Failure(Failure),
}

impl From<ArchiveError> for ComparisonError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<Failure> for ComparisonError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Tally {
    fn differing(&self) -> u64 {
        [
            self.added,
            self.removed,
            self.changed,
            self.status,
            self.recreated,
        ]
        .iter()
        .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// Returns a note that explains the numbers of a kind.
fn note(kind: &KindPair<'_>) -> Option<String> {
    let (before, after) = kind.before.zip(kind.after)?;
    let mut notes = Vec::new();
    if before.version != after.version {
        let (was, is) = (&before.version, &after.version);
        notes.push(format!("read as {was}, then as {is}"));
    }
    if before.skipped != after.skipped {
        for (side, facts) in [("A", before), ("B", after)] {
            for skipped in &facts.skipped {
                let (objects, reason) = (skipped.objects, &skipped.reason);
                notes.push(format!("{side} left out {objects}: {reason}"));
            }
        }
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}
