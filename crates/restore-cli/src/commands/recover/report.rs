//! Output of a plan and of its run.

use std::collections::BTreeMap;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding};
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use cluster_restore::journal::Outcome;
use cluster_restore::orchestrate::{COMPLETE, COMPLETE_OF_PARTIAL, PARTIAL, RestoreOutcome};
use cluster_restore::plan::{Mode, ObjectPlan, Plan, Step};
use cluster_restore::quiesce::ParkedItem;
use serde::Serialize;

use crate::commands::verify_tenants::TenantsReport;

/// Largest number of objects that are listed for people; the file contains all.
const LISTED: usize = 40;

/// Plan as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanReport<'a> {
    /// Path of the plan's file.
    pub(crate) file: String,
    pub(crate) plan: &'a Plan,
    /// Duration of the last such restore, in seconds.
    pub(crate) last_seconds: Option<u64>,
}

impl Report for PlanReport<'_> {
    fn page(&self, page: &mut Page) {
        let plan = self.plan;
        let target = plan.target.as_ref().map_or_else(
            || {
                let etcd = plan.etcd.as_ref();
                etcd.map_or("unknown".to_owned(), |etcd| {
                    format!(
                        "Talos cluster {}, node {}, as of revision {}; objects are planned from \
                         the archive",
                        etcd.name(),
                        etcd.target,
                        etcd.snapshot.revision
                    )
                })
            },
            |t| format!("{} ({}, kube-system {})", t.server, t.version, t.uid),
        );
        page.fields([
            ("Plan", self.file.clone()),
            ("Cluster", plan.cluster.to_string()),
            ("Restore point", plan.restore_point.id.to_string()),
            ("How", how(plan.mode).to_owned()),
            ("Into", target),
            ("Steps", steps(&plan.steps)),
        ]);
        if let Some(base) = &plan.base {
            page.line(&format!(
                "Objects are brought forward from {} to {}.",
                base.id,
                origin(plan)
            ));
        }
        if let Some(seconds) = self.last_seconds {
            page.line(&format!("The last restore of this kind took {seconds} s."));
        }
        if !plan.park.is_empty() {
            page.heading("Stopped first, and put back at the end");
            for parked in &plan.park {
                page.line(&format!("  {}", parked.place()));
            }
        }
        page.heading("Kinds");
        let number = |n: u64| {
            if n == 0 {
                "-".to_owned()
            } else {
                n.to_string()
            }
        };
        let rows = plan.kinds.iter().map(|k| {
            [
                k.resource.clone(),
                number(k.create),
                number(k.change),
                number(k.same),
                number(k.skip),
                number(k.conflict),
                number(k.prune),
                number(k.fail),
            ]
        });
        page.table(
            [
                "KIND", "CREATE", "CHANGE", "SAME", "SKIP", "LEAVE", "PRUNE", "FAIL",
            ],
            rows,
        );
        tried(page, plan);
        let worth = |o: Outcome| !matches!(o, Outcome::Created | Outcome::Skipped | Outcome::Same);
        let told: Vec<_> = plan.objects.iter().filter(|o| worth(o.outcome)).collect();
        if !told.is_empty() {
            page.heading("Objects that are not simply created");
            let rows = told.iter().take(LISTED).map(|o| {
                let object = o
                    .object
                    .trim_start_matches("resources/")
                    .trim_end_matches(".json");
                [
                    object.to_owned(),
                    word(o.outcome).to_owned(),
                    o.why.clone().unwrap_or_default(),
                ]
            });
            page.table(["OBJECT", "WHAT", "WHY"], rows);
            if told.len() > LISTED {
                page.line(&format!(
                    "… and {} more; all are in the plan.",
                    told.len() - LISTED
                ));
            }
        }
        let findings = findings::printed(&plan.findings);
        if !findings.is_empty() {
            page.heading("Findings");
            findings::table(page, &findings);
        }
        page.heading("Next");
        let blockers = plan.blockers().len();
        if blockers > 0 {
            page.line(&format!(
                "{blockers} blocker{} above must be dealt with; then plan again. Nothing was changed.",
                if blockers == 1 { "" } else { "s" }
            ));
        } else {
            page.line(&format!(
                "Nothing was changed. Run it with: restore-cli restore --plan {}",
                self.file
            ));
        }
    }
}

/// Writes how many writes the API server accepted in a dry run, and why others were not tried.
fn tried(page: &mut Page, plan: &Plan) {
    let writes = |o: &&ObjectPlan| matches!(o.outcome, Outcome::Created | Outcome::Changed);
    let all = plan.objects.iter().filter(writes).count();
    let mut untried: BTreeMap<&str, usize> = BTreeMap::new();
    for why in plan.objects.iter().filter_map(|o| o.untried.as_deref()) {
        let count = untried.entry(why).or_default();
        *count = count.saturating_add(1);
    }
    if all == 0 {
        return;
    }
    let not = untried.values().copied().fold(0, usize::saturating_add);
    page.line(&format!(
        "Dry runs: the API server was asked for {} of {all} writes.",
        all.saturating_sub(not)
    ));
    for (why, count) in untried {
        page.line(&format!("  {count} not tried: {why}"));
    }
}

fn origin(plan: &Plan) -> String {
    use cluster_restore::plan::Origin;
    match &plan.origin {
        Origin::Archive { restore_point } => restore_point.id.to_string(),
        Origin::Git {
            repository, commit, ..
        } => format!("{repository} at {commit}"),
        Origin::Velero { path, .. } => path.clone(),
    }
}

fn how(mode: Mode) -> &'static str {
    match mode {
        Mode::InPlace => "in place: the same cluster, UIDs stay",
        Mode::Rebuild => "rebuild: a fresh cluster, every object is created again",
    }
}

fn steps(steps: &[Step]) -> String {
    let word = |step: &Step| match step {
        Step::Etcd => "etcd",
        Step::Crds => "crds",
        Step::Resources => "resources",
        Step::Verify => "verify",
    };
    steps.iter().map(word).collect::<Vec<_>>().join(" → ")
}

/// Returns the word for the outcome of an object.
pub(crate) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "create",
        Outcome::Changed => "change",
        Outcome::Same => "same",
        Outcome::Skipped => "skip",
        Outcome::Conflict => "leave",
        Outcome::Pruned => "delete",
        Outcome::Failed => "fail",
    }
}

/// End of a run as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestoreReport {
    /// Name of the restore.
    pub(crate) restore: String,
    /// Path of the journal.
    pub(crate) journal: String,
    /// `complete`, `complete, but the restore point was partial`, or `partial`.
    pub(crate) ended: &'static str,
    /// Number of objects by outcome.
    pub(crate) objects: BTreeMap<&'static str, u64>,
    /// Controllers and webhooks that are still stopped, with the command that puts each back by hand.
    pub(crate) still_stopped: Vec<String>,
    /// Whether everything that is missing is beyond the help of `resume`.
    pub(crate) stuck: bool,
    /// Duration in seconds.
    pub(crate) seconds: u64,
    pub(crate) findings: Vec<Finding>,
    /// Tenants, compared with the restore point.
    pub(crate) tenants: Option<TenantsReport>,
}

impl RestoreReport {
    /// Converts the outcome into the form that is printed.
    pub(crate) fn of(outcome: &RestoreOutcome) -> Self {
        let ended = &outcome.report;
        let mut findings = findings::printed(&ended.findings);
        findings.extend(findings::printed(&outcome.lacks));
        Self {
            restore: outcome.restore.clone(),
            journal: outcome.journal.display().to_string(),
            ended: outcome.ended,
            objects: ended.outcomes.iter().map(|(o, n)| (past(*o), *n)).collect(),
            still_stopped: ended.parked.iter().map(ParkedItem::by_hand).collect(),
            stuck: ended.stuck,
            seconds: outcome.seconds,
            findings,
            tenants: outcome
                .tenants
                .as_ref()
                .map(|tenants| TenantsReport::of(&tenants.restore_point, &tenants.checks)),
        }
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        let tenants = self
            .tenants
            .as_ref()
            .map_or(Exit::Complete, TenantsReport::exit);
        if self.ended == COMPLETE && tenants == Exit::Complete {
            Exit::Complete
        } else {
            Exit::Partial
        }
    }
}

/// Prints the outcome of a restore, and returns the exit code.
pub(crate) fn report(outcome: &RestoreOutcome, frame: &Frame) -> Result<Exit, Failure> {
    let report = RestoreReport::of(outcome);
    frame.terminal.emit(&report)?;
    Ok(report.exit())
}

fn past(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Same => "same",
        Outcome::Skipped => "skipped",
        Outcome::Conflict => "left",
        Outcome::Pruned => "deleted",
        Outcome::Failed => "failed",
    }
}

impl Report for RestoreReport {
    fn page(&self, page: &mut Page) {
        let objects = self.objects.iter().map(|(what, n)| format!("{n} {what}"));
        page.fields([
            ("Restore", self.restore.clone()),
            ("Ended", format!("{} after {} s", self.ended, self.seconds)),
            ("Objects", objects.collect::<Vec<_>>().join(", ")),
            ("Journal", self.journal.clone()),
        ]);
        if !self.still_stopped.is_empty() {
            page.heading("Still stopped");
            for line in &self.still_stopped {
                page.line(&format!("  {line}"));
            }
        }
        if !self.findings.is_empty() {
            page.heading("Findings");
            findings::table(page, &self.findings);
        }
        if let Some(tenants) = &self.tenants {
            page.heading("Tenants, compared with the restore point");
            tenants.page(page);
        }
        page.heading("Next");
        if self.ended == COMPLETE_OF_PARTIAL {
            page.line(
                "All that the restore point has is restored. The findings name what it lacked, and \
                 which older restore point has it.",
            );
        }
        if self.ended != PARTIAL {
            page.line("Compare tenants any day with: restore-cli verify-tenants RESTORE-POINT");
        } else {
            page.line(&next_step(self.stuck, &self.journal));
        }
    }
}

/// Returns what to do about a restore that is not complete.
pub(crate) fn next_step(stuck: bool, journal: &str) -> String {
    if stuck {
        return "What failed cannot be changed in place. Do what its lines say: each has a command, \
                or the flag that leaves it out of the next plan. Then plan again."
            .to_owned();
    }
    format!("Continue with: restore-cli resume {journal}")
}
