//! Simulation of a policy on the schedules of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use backup_cli::config::{Config, ConfigFlags, Schedule};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::id::ComponentName;
use backup_core::retention::{RetentionPolicy, Simulation, simulate};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::Serialize;

/// Longest simulation: a schedule of each minute then makes five million runs.
const LONGEST: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

/// Names of the stretches of ages in the table.
const STRETCHES: [&str; 5] = ["1 DAY", "1 WEEK", "1 MONTH", "1 YEAR", "OLDER"];

/// Parses the length of a simulation.
pub(super) fn duration(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(span) if span.is_positive() => Ok(span),
        _ => Err("want a number with its unit, as in `1y`, `90d` or `2w`".to_owned()),
    }
}

/// Plays the schedules of the configuration for `span` from now, and prints what is left.
pub(super) fn run(
    policy: &RetentionPolicy,
    span: Span,
    given: &ConfigFlags,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let now = frame.clock.now();
    let config = Config::load(given, now)?;
    let end = TimeZone::UTC.to_datetime(now).checked_add(span).ok();
    let end = end.and_then(|end| TimeZone::UTC.to_timestamp(end).ok());
    let end = end.filter(|end| end.duration_since(now) <= LONGEST);
    let end = end.ok_or_else(|| {
        Failure::message(Exit::Usage, "the simulation is too long").hint("give at most `10y`")
    })?;
    let components = config.components.iter().filter(|c| !c.paused);
    let schedules: Vec<(&ComponentName, &Schedule)> = components
        .filter_map(|c| Some((&c.name, c.schedule.as_ref()?)))
        .collect();
    if schedules.is_empty() {
        let text = "the configuration has no component with a schedule";
        return Err(Failure::message(Exit::Usage, text)
            .hint("name the daemon's configuration with --config FILE"));
    }
    let simulation = simulate(policy, DueRuns::new(&schedules, now), end);
    let report = SimulationReport::new(policy, &simulation, now, end);
    frame.terminal.emit(&report)?;
    Ok(Exit::Complete)
}

/// Iterator over the runs that schedules ask for, in order of time. Components that are due together are
/// one run.
struct DueRuns<'s> {
    schedules: &'s [(&'s ComponentName, &'s Schedule)],
    /// Next time of each schedule, by its place.
    due: BTreeSet<(Timestamp, usize)>,
}

impl<'s> DueRuns<'s> {
    fn new(schedules: &'s [(&'s ComponentName, &'s Schedule)], now: Timestamp) -> Self {
        let next =
            |(place, (_, schedule)): (usize, &(_, &Schedule))| Some((schedule.next(now)?, place));
        let due = schedules.iter().enumerate().filter_map(next).collect();
        Self { schedules, due }
    }
}

impl Iterator for DueRuns<'_> {
    type Item = (Timestamp, BTreeSet<ComponentName>);

    fn next(&mut self) -> Option<Self::Item> {
        let (time, _) = *self.due.first()?;
        let mut components = BTreeSet::new();
        while let Some((due, place)) = self.due.first().copied().filter(|(due, _)| *due == time) {
            self.due.remove(&(due, place));
            let (name, schedule) = self.schedules.get(place)?;
            components.insert((*name).clone());
            self.due
                .extend(schedule.next(due).map(|next| (next, place)));
        }
        Some((time, components))
    }
}

/// Printed result of `prune --simulate`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SimulationReport {
    policy: String,
    begin: Timestamp,
    end: Timestamp,
    runs: u64,
    most_restore_points: u64,
    restore_points: u64,
    components: BTreeMap<String, SimulationRow>,
}

/// Restore points with one component at the end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SimulationRow {
    restore_points: u64,
    oldest: Timestamp,
    /// Longest hours between two restore points within the last day, week, month and year, and before.
    longest_gap_hours: [Option<i64>; 5],
}

impl SimulationReport {
    pub(super) fn new(
        policy: &RetentionPolicy,
        simulation: &Simulation,
        begin: Timestamp,
        end: Timestamp,
    ) -> Self {
        let components = simulation.components.iter().map(|(name, component)| {
            let row = SimulationRow {
                restore_points: component.restore_points,
                oldest: component.oldest,
                longest_gap_hours: component.gaps.map(|gap| gap.map(|gap| gap.as_hours())),
            };
            (name.to_string(), row)
        });
        Self {
            policy: policy.to_string(),
            begin,
            end,
            runs: simulation.runs,
            most_restore_points: simulation.most,
            restore_points: simulation.restore_points,
            components: components.collect(),
        }
    }
}

impl Report for SimulationReport {
    fn page(&self, page: &mut Page) {
        page.fields([
            ("Policy", self.policy.clone()),
            ("Until", human::utc(self.end)),
            ("Runs", self.runs.to_string()),
            (
                "Restore points",
                format!(
                    "{} at the end, at most {} at once",
                    self.restore_points, self.most_restore_points
                ),
            ),
        ]);
        page.heading("Longest time between two restore points, by their age at the end");
        let rows = self.components.iter().map(|(name, row)| {
            let gap = |hours: Option<i64>| {
                hours.map_or_else(|| "–".to_owned(), |hours| format!("{hours} h"))
            };
            let [day, week, month, year, older] = row.longest_gap_hours.map(gap);
            [
                name.clone(),
                row.restore_points.to_string(),
                human::age(self.end, row.oldest),
                day,
                week,
                month,
                year,
                older,
            ]
        });
        let [day, week, month, year, older] = STRETCHES;
        page.table(
            [
                "COMPONENT",
                "RESTORE POINTS",
                "OLDEST",
                day,
                week,
                month,
                year,
                older,
            ],
            rows,
        );
    }
}
