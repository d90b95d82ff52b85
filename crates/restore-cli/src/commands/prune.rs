//! Command `restore-cli prune`, which shows what a retention policy would keep and remove.

mod simulation;

use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::catalog::{Catalog, CatalogError, Exclusions};
use backup_core::retention::{
    AcceptedLineages, RetentionDecision, RetentionPoint, RetentionPolicy, decide,
};
use jiff::{Span, Timestamp};
use serde::Serialize;

use crate::commands::open;
use crate::flags::LookFlags;

/// Largest number of manifests in memory: each has at most 4 MiB, mostly some KiB.
const AT_ONCE: usize = 32;
/// Largest number of reasons in a row of the table; JSON and YAML contain all.
const REASONS: usize = 3;

/// Show which restore points a retention policy would keep, and which it would remove
///
/// Nothing is removed: this version has no command that deletes a restore
/// point. Each rule counts for each component and each lineage by itself.
/// Whatever the policy says, pinned restore points stay, and so does the newest
/// whole copy of each component.
///
/// Examples:
///   restore-cli prune --dry-run --policy hourly=24,daily=7,weekly=5
///   restore-cli prune --dry-run --policy daily=30,within=48h --simulate 1y
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP, verbatim_doc_comment)]
pub(crate) struct Args {
    /// Show the decisions and remove nothing; required in this version
    #[arg(long, required = true)]
    dry_run: bool,
    /// Keep by these rules: last, hourly, daily, weekly, monthly and yearly with a number, within with a
    /// duration
    #[arg(long, value_name = "RULES")]
    policy: RetentionPolicy,
    /// Accept this lineage: everything stays while one is not accepted. The first lineage of a prefix is
    /// accepted
    #[arg(long, value_name = "LINEAGE")]
    accept_lineage: Vec<String>,
    /// Play the schedules of the configuration for this long, as in `1y`, and show what would be left. Runs
    /// on change and on demand are not played; no store is read
    #[arg(long, value_name = "DURATION", value_parser = simulation::duration)]
    simulate: Option<Span>,
    #[command(flatten)]
    look: LookFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    if let Some(span) = args.simulate {
        return simulation::run(&args.policy, span, &args.look.given(), frame);
    }
    let opened = open(&args.look.given(), frame).await?;
    let catalog = Catalog::new(Arc::clone(&opened.store));
    let entries = catalog.list().await?;
    let now = catalog.time(&entries, opened.view.now).await;
    let (mut points, mut left_out) = (Vec::new(), Exclusions::default());
    let mut unreadable = 0_usize;
    for entries in entries.chunks(AT_ONCE) {
        for loaded in catalog.all_trusted(entries, &opened.view.trust).await {
            match loaded {
                Ok(point) => points.push(RetentionPoint::of(&point)),
                Err(CatalogError::Distrusted { id, verdict }) => left_out.distrust(&id, verdict),
                Err(error) => {
                    unreadable = unreadable.saturating_add(1);
                    frame.terminal.warn(&Failure::from(error).one_line());
                }
            }
        }
    }
    let more = args.accept_lineage.iter().cloned();
    let accepted = AcceptedLineages::of(&points, more);
    let decisions = decide(&args.policy, &points, &accepted, now);
    let report = RetentionReport::new(&args.policy, &decisions, unreadable, now);
    frame.terminal.emit(&report)?;
    opened.points.warn_of(&left_out);
    Ok(match unreadable {
        0 => Exit::Complete,
        _ => Exit::Damaged,
    })
}

/// Printed result of `prune --dry-run`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetentionReport {
    policy: String,
    keep: usize,
    remove: usize,
    /// Restore points that cannot be read, and about which nothing is decided.
    unreadable: usize,
    restore_points: Vec<DecisionRow>,
    #[serde(skip)]
    now: Timestamp,
}

/// Decision about one restore point.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DecisionRow {
    id: String,
    began: Timestamp,
    lineage: String,
    /// Whether it stays.
    keep: bool,
    /// Reasons why it stays, or why it goes.
    because: Vec<String>,
}

impl RetentionReport {
    fn new(
        policy: &RetentionPolicy,
        decisions: &[RetentionDecision],
        unreadable: usize,
        now: Timestamp,
    ) -> Self {
        let rows = decisions.iter().rev().map(|decision| {
            let keep = decision.stays();
            let reasons = decision.keep.iter().map(ToString::to_string);
            let no_rule = (!keep).then(|| "no rule keeps it".to_owned());
            DecisionRow {
                id: decision.point.id.to_string(),
                began: decision.point.began,
                lineage: decision.point.lineage.clone(),
                keep,
                because: reasons.chain(no_rule).collect(),
            }
        });
        let keep = decisions.iter().filter(|d| d.stays()).count();
        Self {
            policy: policy.to_string(),
            keep,
            remove: decisions.len().saturating_sub(keep),
            unreadable,
            restore_points: rows.collect(),
            now,
        }
    }
}

impl DecisionRow {
    fn reasons(&self) -> String {
        let shown: Vec<&str> = self
            .because
            .iter()
            .take(REASONS)
            .map(String::as_str)
            .collect();
        let more = self.because.len().saturating_sub(shown.len());
        let shown = shown.join(", ");
        match more {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

impl Report for RetentionReport {
    fn page(&self, page: &mut Page) {
        page.fields([
            ("Policy", self.policy.clone()),
            ("Keep", self.keep.to_string()),
            (
                "Remove",
                format!("{} (dry run: nothing is removed)", self.remove),
            ),
        ]);
        let rows = self.restore_points.iter().map(|row| {
            let decision = if row.keep { "keep" } else { "REMOVE" };
            [
                row.id.clone(),
                human::age(self.now, row.began),
                decision.to_owned(),
                row.reasons(),
            ]
        });
        page.table(["RESTORE POINT", "AGE", "DECISION", "BECAUSE"], rows);
    }
}

#[cfg(test)]
mod tests;
