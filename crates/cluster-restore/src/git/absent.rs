//! Judge of objects that Git does not have: they may be absent because they were removed, or
//! because nobody wrote them there.

use std::collections::{BTreeMap, BTreeSet};

use super::coverage::Coverage;
use super::documents::{Document, DocumentSet};
use super::kinds::Kinds;
use super::overlay::{FindingLog, MAX_NAMES};
use crate::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::Severity;
use backup_core::shortlist::shorten;

/// Remedy for objects that are in the archive and not in Git.
const TAKEN_OUT: &str = "they are restored from the archive; leave them out with --exclude-resources if they were taken \
                         out of Git on purpose";
const NOT_CAPTURED: &str = "they are restored from the archive; Butler's export did not write \
                            them, so their absence in Git means nothing";
const A_GAP: &str = "its absence in Git means nothing: it is restored if the restore point has it, \
    and never deleted";

/// Objects that Git does not have, sorted by the reason.
pub(super) struct AbsentObjects<'r> {
    coverage: Option<&'r Coverage>,
    /// Objects that the export reports as written.
    captured: BTreeSet<ObjectPath>,
    /// Objects that the export reports as not written.
    gaps: BTreeSet<ObjectPath>,
    doubt: Option<String>,
    /// Objects that Git lacks, by kind: those that the export wrote, or all without a report.
    taken_out: BTreeMap<String, Vec<String>>,
    not_captured: BTreeMap<String, Vec<String>>,
}

impl<'r> AbsentObjects<'r> {
    /// Judges by the export's own report in `read`; `wanted` is what Git has.
    pub(super) fn new(
        read: &'r DocumentSet,
        kinds: &Kinds<'_>,
        wanted: &BTreeMap<ObjectPath, &Document>,
        told: &mut FindingLog<'_>,
    ) -> Self {
        let mut absent = Self {
            coverage: read.coverage.as_ref(),
            captured: BTreeSet::new(),
            gaps: BTreeSet::new(),
            doubt: read.doubt.clone(),
            taken_out: BTreeMap::new(),
            not_captured: BTreeMap::new(),
        };
        let Some(coverage) = absent.coverage else {
            return absent;
        };
        let captured = coverage.captured.iter();
        absent.captured = captured.filter_map(|item| kinds.named(item)).collect();
        for gap in &coverage.gaps {
            let path = kinds.named(&gap.item);
            let item = &gap.item;
            let object = match &path {
                Some(path) => path.to_string(),
                None => format!("{} {}/{}", item.kind, item.namespace, item.name),
            };
            match path {
                Some(path) if wanted.contains_key(&path) => continue,
                Some(path) => drop(absent.gaps.insert(path)),
                // It could be any of the cluster's objects.
                None => drop(absent.doubt.get_or_insert_with(|| {
                    format!("the export did not write {object}, whose kind is not known")
                })),
            }
            let cause = format!("it is not in Git: {}", gap.why);
            told.say(Severity::Warning, object, cause, A_GAP);
        }
        for unseen in &coverage.unseen {
            absent.doubt.get_or_insert_with(|| unseen.clone());
            let remedy = "what it applies comes from the restore point, and nothing is deleted";
            told.say(Severity::Warning, "Git".to_owned(), unseen.clone(), remedy);
        }
        for (item, by) in &coverage.patched {
            let object = kinds.named(item).map(|path| path.to_string());
            let object = object.unwrap_or_else(|| format!("{} {}", item.kind, item.name));
            let cause =
                format!("the Flux Kustomization {by} patches it, and the export left that out");
            let remedy = "Git's is restored without the patch; Flux applies the patch when it runs \
                          again, if its Kustomization still has it";
            told.say(Severity::Warning, object, cause, remedy);
        }
        absent
    }

    /// Keeps objects from being pruned that may only be missing in Git.
    pub(super) fn protect(&self, spool: &mut ObjectSpool) {
        for gap in &self.gaps {
            spool.pass_over(gap.clone());
        }
        if let Some(doubt) = &self.doubt {
            spool.doubt(doubt.clone());
        }
    }

    /// Records an object that is in the archive and not in Git.
    pub(super) fn of_archive(&mut self, path: &ObjectPath) {
        if self.gaps.contains(path) {
            return;
        }
        let known = self.coverage.is_none() || self.captured.contains(path);
        let list = if known {
            &mut self.taken_out
        } else {
            &mut self.not_captured
        };
        let kind = path.resource.to_string();
        list.entry(kind).or_default().push(path.object());
    }

    /// Reports the recorded objects.
    pub(super) fn report(self, told: &mut FindingLog<'_>) {
        let written = self.coverage.is_some();
        for (kind, names) in self.taken_out {
            let cause = match written {
                true => "in the archive and written by Butler's export, and not read from Git now",
                false => "in the archive, not in Git",
            };
            told.say(
                Severity::Info,
                kind,
                format!("{cause}: {}", list(names)),
                TAKEN_OUT,
            );
        }
        for (kind, names) in self.not_captured {
            let cause = format!(
                "in the archive, and Butler's export did not write: {}",
                list(names)
            );
            told.say(Severity::Info, kind, cause, NOT_CAPTURED);
        }
    }
}

fn list(names: Vec<String>) -> String {
    shorten(names.into_iter(), MAX_NAMES)
}
