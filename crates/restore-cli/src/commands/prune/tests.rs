//! Tests of what `prune` prints.

use super::*;
use backup_cli::output::{Format, render};
use backup_core::id::ComponentName;
use backup_core::retention::simulate;
use jiff::SignedDuration;
use std::collections::BTreeSet;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn point(id: &str, began: &str, pinned: bool, whole: &[&str]) -> RetentionPoint {
    RetentionPoint {
        id: id.parse().unwrap(),
        began: at(began),
        pinned,
        lineage: "4f1c".to_owned(),
        whole: whole.iter().map(|name| name.parse().unwrap()).collect(),
        partial: BTreeSet::new(),
    }
}

#[test]
fn decisions_read_well_and_their_json_stays() {
    let all = ["crds", "etcd", "secrets"];
    let points = [
        point(
            "20261101t000000000z-0123456789ab",
            "2026-11-01T00:00:00Z",
            true,
            &all,
        ),
        point(
            "20261122t000000000z-1123456789ab",
            "2026-11-22T00:00:00Z",
            false,
            &all,
        ),
        point(
            "20261123t120000000z-2123456789ab",
            "2026-11-23T12:00:00Z",
            false,
            &all,
        ),
        point(
            "20261123t121500000z-3123456789ab",
            "2026-11-23T12:15:00Z",
            false,
            &["secrets"],
        ),
        point(
            "20261123t123000000z-4123456789ab",
            "2026-11-23T12:30:00Z",
            false,
            &["secrets"],
        ),
    ];
    let policy: RetentionPolicy = "last=1,daily=1".parse().unwrap();
    let accepted = AcceptedLineages::of(&points, []);
    let now = at("2026-11-23T12:45:00Z");
    let decisions = decide(&policy, &points, &accepted, now);
    let report = RetentionReport::new(&policy, &decisions, 0, now);
    insta::assert_snapshot!("prune_table", render(&report, Format::Table, None).unwrap());
    insta::assert_snapshot!("prune_json", render(&report, Format::Json, None).unwrap());
}

#[test]
fn a_simulation_reads_well_and_its_json_stays() {
    let begin = at("2026-01-01T00:00:00Z");
    let etcd: ComponentName = "etcd".parse().unwrap();
    let hours = (0..24 * 365).map(|hour| begin + SignedDuration::from_hours(hour));
    let runs = hours.map(|began| (began, BTreeSet::from([etcd.clone()])));
    let policy: RetentionPolicy = "hourly=24,daily=7,weekly=5,monthly=12".parse().unwrap();
    let end = at("2027-01-01T00:00:00Z");
    let simulation = simulate(&policy, runs, end);
    let report = simulation::SimulationReport::new(&policy, &simulation, begin, end);
    insta::assert_snapshot!(
        "simulation_table",
        render(&report, Format::Table, None).unwrap()
    );
    insta::assert_snapshot!(
        "simulation_json",
        render(&report, Format::Json, None).unwrap()
    );
}
