//! Preview of the next restore points; components that are due together form one restore point.

use std::collections::BTreeMap;

use backup_cli::config::Component;
use backup_cli::human;
use backup_cli::output::Page;
use jiff::Timestamp;
use serde::Serialize;

use super::RUNS;

/// Future restore point.
#[derive(Debug, Serialize)]
pub(super) struct PlannedPoint {
    utc: Timestamp,
    local: String,
    components: Vec<String>,
}

/// Returns the next restore points.
pub(super) fn next(components: &[Component], now: Timestamp) -> Vec<PlannedPoint> {
    let mut points: BTreeMap<Timestamp, PlannedPoint> = BTreeMap::new();
    for component in components.iter().filter(|component| !component.paused) {
        let schedule = component.schedule.iter();
        for time in schedule.flat_map(|schedule| schedule.upcoming(now, RUNS)) {
            let point = points
                .entry(time.timestamp())
                .or_insert_with(|| PlannedPoint {
                    utc: time.timestamp(),
                    local: super::local(&time),
                    components: Vec::new(),
                });
            point.components.push(component.name.to_string());
        }
    }
    points.into_values().take(RUNS).collect()
}

/// Writes the restore points as a table.
pub(super) fn table(page: &mut Page, points: &[PlannedPoint]) {
    if points.is_empty() {
        return;
    }
    page.heading("The next restore points of `backupd run`");
    let rows = points.iter().map(|point| {
        let components = point.components.join(", ");
        [point.local.clone(), human::utc(point.utc), components]
    });
    page.table(["DUE", "UTC", "TAKES"], rows);
}
