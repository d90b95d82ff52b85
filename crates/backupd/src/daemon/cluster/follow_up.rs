//! Follow-up of a run that has ended: retries, reports and the mirror.

use std::sync::Arc;

use backup_core::format::gaps;
use backup_core::format::manifest::{Finding, Manifest, Severity};
use backup_core::id::ComponentName;

use super::Worker;
use crate::daemon::mirror::{self, MirrorOutcome};
use crate::daemon::runner::RunOutcome;
use crate::daemon::{status, store_view};

impl Worker {
    pub(super) fn finish_run(&mut self, outcome: RunOutcome) {
        let now = self.context.clock.now();
        let asked = if outcome.wanted.components.is_empty() {
            self.config
                .components
                .iter()
                .map(|c| c.name.clone())
                .collect()
        } else {
            outcome.wanted.components.clone()
        };
        let mut failed: Vec<(ComponentName, String)> = Vec::new();
        for name in asked {
            match &outcome.result {
                Ok((committed, _)) if store_view::holds(&committed.manifest, &name) => {
                    self.table.taken(&name);
                    self.taken.insert(name, committed.manifest.ended);
                }
                Ok((committed, _)) => {
                    let gaps = committed.manifest.gaps_of(&name);
                    let cause = match gaps.iter().find(|gap| gap.kind().is_some()) {
                        Some(first) => {
                            let lacks = gaps::line(&gaps);
                            format!("the restore point lacks {lacks}: {}", first.cause)
                        }
                        None => not_taken(&committed.manifest, &name),
                    };
                    failed.push((name, cause));
                }
                Err(cause) => failed.push((name, cause.clone())),
            }
        }
        for (name, _) in &failed {
            match &outcome.result {
                // The part that could be read is stored; the rest may be broken for long.
                Ok((committed, _)) if committed.manifest.component(name).is_some() => {
                    self.table.partial(name, now);
                }
                _ => self.table.failed(name, now),
            }
        }
        if let Ok((committed, _)) = &outcome.result {
            let mut facts = self.facts.take().unwrap_or_default();
            facts.newer(&committed.id, &committed.manifest);
            facts.count = facts.count.saturating_add(1);
            self.facts = Some(facts);
            self.sweep.is_owed();
        }
        let facts = self.facts.clone();
        self.board(|cluster| {
            cluster.handle = None;
            cluster.count(&outcome.handle.status());
            for (name, cause) in failed {
                let view = cluster.view.components.entry(name).or_default();
                view.last_failure = Some(status::FailureRecord { at: now, cause });
            }
            if let Ok((committed, checked)) = &outcome.result {
                let totals = &mut cluster.view.totals;
                totals.stored_bytes = totals
                    .stored_bytes
                    .saturating_add(committed.manifest.cost.stored_bytes);
                totals.checked_objects = totals.checked_objects.saturating_add(*checked);
                cluster.view.restore_points = facts;
                cluster.view.newest_checked = Some(committed.manifest.ended);
            }
        });
        if let (Ok((committed, _)), Some(noted)) = (&outcome.result, outcome.noted) {
            let job = mirror::MirrorJob::new(
                &self.config,
                &self.context.environment.proxies,
                noted,
                committed,
            );
            if self.mirrors.push(job) {
                let cluster = &self.context.name;
                tracing::warn!(%cluster, "a restore point was not mirrored: too many wait");
                self.board(|cluster| {
                    if let Some(view) = &mut cluster.view.mirror {
                        view.skipped = view.skipped.saturating_add(1);
                    }
                });
            }
            self.begin_mirror();
        }
    }

    /// Mirrors the restore point that has waited longest, if no mirror is at work.
    fn begin_mirror(&mut self) {
        if self.mirror.is_none()
            && let Some(job) = self.mirrors.next()
        {
            self.mirror = Some(Box::pin(job.run()));
        }
    }

    pub(super) fn finish_mirror(&mut self, outcome: MirrorOutcome) {
        let clock = Arc::clone(&self.context.clock);
        self.board(|cluster| outcome.report(&mut cluster.view, clock.as_ref()));
        self.begin_mirror();
    }
}

/// Returns the reason why the component was not taken at all: from a finding about it, or from the first
/// error.
fn not_taken(manifest: &Manifest, name: &ComponentName) -> String {
    let about = |f: &&Finding| f.object == name.as_str();
    let error = |f: &&Finding| f.severity == Severity::Error;
    let all = || manifest.findings.iter();
    let finding = all().find(about).or_else(|| all().find(error));
    let cause = finding.map_or("it is missing in the restore point", |f| &f.cause);
    cause.to_owned()
}
