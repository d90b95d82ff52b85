//! Command `backupd sweep`, which removes objects that runs that died left in the store.

use std::time::Duration;

use backup_cli::config::{Config, ConfigError, ConfigFlags, Leftovers};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::flags::{ClusterFlags, StoreFlags, TrustFlags};
use backup_cli::human;
use backup_cli::open::{self, StoreAccess};
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::gc::{self, OrphanError, RemovalPlan, RemovalReport};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::sweep;

/// Largest number of rows in the table; JSON and YAML contain all.
const SHOWN: usize = 20;

/// Remove what runs that died left in the store
///
/// Reads every restore point and lists the whole prefix. What no restore point leads to is removed once it
/// is older than the grace time: no run takes so long. Nothing is removed while a restore point cannot be
/// read or trusted, where the store's clock gives no ages, or where it would be more than runs that died
/// can explain. `backupd run` does the same automatically where `leftovers` is configured.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what is older, as in `24h`; at least twice `runs.deadline` [default: `leftovers.grace`, or 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,
    /// Continue where more would be removed than half of what restore points lead to, or where there is
    /// none: a person has checked it
    #[arg(long, alias = "past-the-brake")]
    force: bool,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    trust: TrustFlags,
}

fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<SignedDuration>() {
        Ok(duration) if duration.is_positive() => Ok(duration.unsigned_abs()),
        _ => Err("want a number with its unit, as in `24h` or `2h 30m`".to_owned()),
    }
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = ConfigFlags {
        store: args.store.clone(),
        cluster: args.cluster.clone(),
        trust: args.trust.clone(),
        ..ConfigFlags::default()
    };
    let config = Config::load(&given, frame.clock.now())?;
    let grace = grace(args, &config)?;
    let (url, rules) = match (
        config.need_store(),
        sweep::rules(&config, grace, &frame.clock),
    ) {
        (Ok(url), Ok(rules)) => (url, rules),
        (url, rules) => {
            let missing = url.err().into_iter().chain(rules.err());
            return Err(ConfigError::join(missing).into());
        }
    };
    let rules = gc::RemovalRules {
        force: args.force,
        ..rules
    };
    // A sweep creates nothing, so the folder must exist.
    let store = open::store(url, StoreAccess::Read, &frame.environment).await?;
    let progress = frame.terminal.progress();
    let looked = async { Ok(gc::plan_removal(&store, &rules, progress.as_ref()).await?) };
    let plan = frame.or_cancelled(looked).await?;
    let removed = if args.dry_run {
        Ok(None)
    } else {
        progress.step("removing leftovers", None);
        let removed = gc::remove(&store, &rules, &plan, &frame.cancel).await;
        removed.map(Some)
    };
    drop(progress);
    let (removed, failed) = match removed {
        Ok(removed) => (removed, None),
        Err(error) => (None, Some(error)),
    };
    let swept = SweepReport::of(store.describe(), grace, &plan, removed.as_ref());
    frame.terminal.emit(&swept)?;
    for finding in swept
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Info)
    {
        let (object, cause, remedy) = (&finding.object, &finding.cause, &finding.remedy);
        frame.terminal.warn(&format!("{object}: {cause}; {remedy}"));
    }
    conclude(&plan, removed.as_ref(), failed, &swept, frame)
}

fn conclude(
    plan: &RemovalPlan,
    removed: Option<&RemovalReport>,
    failed: Option<OrphanError>,
    swept: &SweepReport,
    frame: &Frame,
) -> Result<Exit, Failure> {
    if let Some(error) = failed {
        return Err(error.into());
    }
    if plan.held {
        return Ok(Exit::Refused);
    }
    let Some(removed) = removed else {
        return Ok(findings::exit_of(swept.worst));
    };
    match (
        removed.complete && removed.errors == 0,
        removed.removed.objects,
    ) {
        (true, _) => Ok(findings::exit_of(swept.worst)),
        (false, _) if frame.cancel.is_cancelled() => Err(Failure::message(
            Exit::Interrupted,
            "interrupted; what was not removed stays for the next sweep",
        )),
        (false, 0) => Ok(Exit::Failed),
        (false, _) => Ok(Exit::Partial),
    }
}

/// Returns the minimum age of objects to remove, with the same lower limit as in the file.
fn grace(args: &Args, config: &Config) -> Result<Duration, Failure> {
    let deadline = config.runs.deadline;
    let shortest = Leftovers::shortest(deadline);
    match args.grace {
        Some(grace) if grace < shortest => {
            let text = format!(
                "--grace is less than twice `runs.deadline` ({} s): what a run at work has put could be taken \
                 for a leftover",
                deadline.as_secs()
            );
            let hint = format!("give {} s or more", shortest.as_secs());
            Err(Failure::message(Exit::Usage, text).hint(hint))
        }
        Some(grace) => Ok(grace),
        None => Ok(config
            .leftovers
            .map_or(Leftovers::GRACE.max(shortest), |leftovers| leftovers.grace)),
    }
}

/// Printed result of `sweep`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SweepReport {
    store: String,
    grace_seconds: u64,
    restore_points: u64,
    needed_objects: u64,
    needed_bytes: u64,
    leftover_objects: u64,
    leftover_bytes: u64,
    old_objects: u64,
    old_bytes: u64,
    /// Whether a rule held the sweep, so that nothing was removed.
    held: bool,
    dry_run: bool,
    removed_objects: u64,
    removed_bytes: u64,
    spared_objects: u64,
    /// Leftovers older than the grace time; at most ten thousand.
    old: Vec<LeftoverRow>,
    worst: Option<Severity>,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct LeftoverRow {
    key: String,
    bytes: u64,
    put: Timestamp,
}

impl SweepReport {
    fn of(
        store: String,
        grace: Duration,
        plan: &RemovalPlan,
        removed: Option<&RemovalReport>,
    ) -> Self {
        let mut found = findings::printed(&plan.findings);
        let gone = removed.map(|r| r.removed).unwrap_or_default();
        if let Some(removed) = removed {
            found.extend(findings::printed(&removed.findings));
        }
        Self {
            store,
            grace_seconds: grace.as_secs(),
            restore_points: plan.restore_points,
            needed_objects: plan.needed.objects,
            needed_bytes: plan.needed.bytes,
            leftover_objects: plan.left.objects,
            leftover_bytes: plan.left.bytes,
            old_objects: plan.old.objects,
            old_bytes: plan.old.bytes,
            held: plan.held,
            dry_run: removed.is_none(),
            removed_objects: gone.objects,
            removed_bytes: gone.bytes,
            spared_objects: removed.map_or(0, |r| r.spared),
            old: plan
                .orphans
                .iter()
                .map(|l| LeftoverRow {
                    key: l.key.to_string(),
                    bytes: l.bytes,
                    put: l.put,
                })
                .collect(),
            worst: findings::worst(&found),
            findings: found,
        }
    }
}

impl Report for SweepReport {
    fn page(&self, page: &mut Page) {
        let both = |objects: u64, bytes: u64| format!("{objects}, {}", human::bytes(bytes));
        let grace = SignedDuration::from_secs(self.grace_seconds.try_into().unwrap_or(i64::MAX));
        let removed = match (self.dry_run, self.held) {
            (_, true) => "nothing, held by a rule".to_owned(),
            (true, false) => "nothing, as this was a dry run".to_owned(),
            (false, false) => both(self.removed_objects, self.removed_bytes),
        };
        page.fields([
            ("Store", self.store.clone()),
            ("Restore points", self.restore_points.to_string()),
            ("They lead to", both(self.needed_objects, self.needed_bytes)),
            (
                "Left over",
                both(self.leftover_objects, self.leftover_bytes),
            ),
            (
                "Of them old",
                format!(
                    "{}, older than {}",
                    both(self.old_objects, self.old_bytes),
                    human::span(grace)
                ),
            ),
            ("Removed", removed),
        ]);
        if self.removed_objects == 0 && !self.old.is_empty() {
            page.heading("Older than the grace time");
            let rows = self.old.iter().take(SHOWN);
            let rows = rows.map(|o| [o.key.clone(), human::bytes(o.bytes), human::utc(o.put)]);
            page.table(["OBJECT", "SIZE", "PUT"], rows);
            let more = self.old.len().saturating_sub(SHOWN);
            if more > 0 {
                page.line(&format!("and {more} more; `--output json` has them"));
            }
        }
        if !self.findings.is_empty() {
            page.heading("Findings, worst first");
            findings::table(page, &self.findings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};
    use backup_core::format::manifest;
    use backup_core::gc::Tally;

    #[test]
    fn a_dry_run_reads_well_and_its_json_stays() {
        let tally = |objects, bytes| Tally { objects, bytes };
        let mut plan = RemovalPlan::default();
        plan.restore_points = 41;
        plan.needed = tally(310, 73_400_320);
        plan.left = tally(5, 2_400_000);
        plan.old = tally(2, 1_900_000);
        plan.findings.push(manifest::Finding::warning(
            "packs/readme.txt",
            "its name does not fit the format",
            "find out who put it there",
        ));
        let old = ["packs", "recipes"].map(|folder| gc::Orphan {
            key: format!("{folder}/{}", "0".repeat(64)).parse().unwrap(),
            bytes: 950_000,
            put: "2026-11-23T12:00:00Z".parse().unwrap(),
        });
        plan.orphans.extend(old);
        let swept = SweepReport::of("s3://b/p".to_owned(), Duration::from_hours(24), &plan, None);
        insta::assert_snapshot!("sweep_table", render(&swept, Format::Table, None).unwrap());
        insta::assert_snapshot!("sweep_json", render(&swept, Format::Json, None).unwrap());
        let removed = RemovalReport {
            removed: tally(2, 1_900_000),
            complete: true,
            ..RemovalReport::default()
        };
        let swept = SweepReport::of(
            "s3://b/p".to_owned(),
            Duration::from_hours(24),
            &plan,
            Some(&removed),
        );
        insta::assert_snapshot!("swept_table", render(&swept, Format::Table, None).unwrap());
    }
}
