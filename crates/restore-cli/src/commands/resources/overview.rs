//! Overview of the kinds in a restore point, from its manifest.

use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_core::catalog::RestorePoint;
use backup_core::format::export::{Consistency, KindFacts};
use serde::Serialize;

use crate::commands::kinds::{ListedKind, listed};

/// Printed result of `resources ls`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    restore_point: String,
    kinds: Vec<KindSummary>,
    left_out: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KindSummary {
    resource: String,
    kind: String,
    component: String,
    objects: u64,
    bytes: u64,
    version: String,
    consistency: &'static str,
    skipped: Vec<SkipCount>,
    failed: Option<String>,
}

#[derive(Debug, Serialize)]
struct SkipCount {
    reason: String,
    objects: u64,
}

impl Overview {
    pub(super) fn of(point: &RestorePoint) -> Self {
        let kubernetes = point.manifest.kubernetes.as_ref();
        Self {
            restore_point: point.entry.id.to_string(),
            kinds: listed(&point.manifest).map(KindSummary::of).collect(),
            left_out: kubernetes.map_or(0, |k| k.left_out.len()),
        }
    }
}

impl KindSummary {
    fn of(listed: ListedKind<'_>) -> Self {
        let facts = listed.facts;
        let skipped = facts.skipped.iter().map(|s| SkipCount {
            reason: s.reason.clone(),
            objects: s.objects,
        });
        Self {
            resource: facts.resource.clone(),
            kind: facts.kind.clone(),
            component: listed.component.to_string(),
            objects: facts.objects,
            bytes: facts.bytes,
            version: facts.version.clone(),
            consistency: consistency(facts),
            skipped: skipped.collect(),
            failed: facts.failed.clone(),
        }
    }

    fn consistency(&self) -> String {
        match &self.failed {
            Some(failed) => format!("PARTIAL: {failed}"),
            None => self.consistency.to_owned(),
        }
    }

    fn skipped(&self) -> String {
        let skipped = self.skipped.iter();
        let skipped = skipped.map(|s| format!("{} {}", s.objects, s.reason));
        skipped.collect::<Vec<_>>().join(", ")
    }
}

fn consistency(facts: &KindFacts) -> &'static str {
    match facts.consistency {
        _ if facts.watched.is_some() => "kept, with what its watch reported",
        Consistency::OneRevision => "one revision",
        Consistency::Continued => "continued at a later revision",
        Consistency::Unknown => "unknown",
    }
}

impl Report for Overview {
    fn page(&self, page: &mut Page) {
        let objects = self.kinds.iter().map(|k| k.objects).sum::<u64>();
        let bytes = self.kinds.iter().map(|k| k.bytes).sum::<u64>();
        page.fields([
            ("Restore point", self.restore_point.clone()),
            (
                "Objects",
                format!(
                    "{objects} of {} kinds, {}",
                    self.kinds.len(),
                    human::bytes(bytes)
                ),
            ),
            (
                "Not listed",
                match self.left_out {
                    0 => "nothing".to_owned(),
                    n => format!("{n} of the kinds; `restore-cli show --all` shows which and why"),
                },
            ),
        ]);
        page.line("");
        let rows = self.kinds.iter().map(|kind| {
            [
                kind.resource.clone(),
                kind.component.clone(),
                kind.objects.to_string(),
                kind.version.clone(),
                kind.consistency(),
                kind.skipped(),
            ]
        });
        page.table(
            [
                "RESOURCE",
                "COMPONENT",
                "OBJECTS",
                "VERSION",
                "CONSISTENCY",
                "SKIPPED",
            ],
            rows,
        );
    }
}
