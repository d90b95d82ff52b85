//! Tests of the timetable against clocks that sleep, jump and change to daylight saving time.

use super::*;
use backup_cli::config::ConfigFlags;
use backup_cli::flags::StoreFlags;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn table(yaml: &str, now: Timestamp) -> Timetable {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, yaml).unwrap();
    let given = ConfigFlags {
        store: StoreFlags {
            config: Some(file),
            store: None,
        },
        ..ConfigFlags::default()
    };
    let config = Config::load(&given, now).unwrap();
    Timetable::new(&"mgmt".parse().unwrap(), &config, 7, now)
}

/// Queries the table every `step` from `from` to `to`; each due component is taken at once.
fn walk(
    table: &mut Timetable,
    from: Timestamp,
    to: Timestamp,
    step: SignedDuration,
) -> Vec<(Timestamp, DueReason)> {
    let mut runs = Vec::new();
    let mut now = from;
    while now <= to {
        for due in table.due(now) {
            table.taken(&due.component);
            runs.push((now, due.why));
        }
        now = now.checked_add(step).unwrap();
    }
    runs
}

const HOURLY: &str = "components: { etcd: { cron: 0 * * * * } }";

#[test]
fn each_time_is_due_once() {
    let begin = at("2026-11-23T11:30:00Z");
    let mut table = table(HOURLY, begin);
    assert_eq!(table.next(), Some(at("2026-11-23T12:00:00Z")));
    let runs = walk(
        &mut table,
        begin,
        at("2026-11-23T15:30:00Z"),
        SignedDuration::from_secs(10),
    );
    let hours = ["12", "13", "14", "15"]
        .map(|h| (at(&format!("2026-11-23T{h}:00:00Z")), DueReason::Schedule));
    assert_eq!(runs, hours);
}

#[test]
fn a_long_sleep_costs_one_run() {
    let begin = at("2026-11-23T11:30:00Z");
    let mut table = table(HOURLY, begin);
    let etcd = ComponentName::etcd();
    let due = table.due(at("2027-03-01T10:17:00Z"));
    assert_eq!(
        due,
        [DueComponent {
            component: etcd.clone(),
            why: DueReason::CatchUp
        }]
    );
    assert_eq!(table.due(at("2027-03-01T10:17:10Z")), []);
    assert_eq!(table.next_of(&etcd), Some(at("2027-03-01T11:00:00Z")));
}

#[test]
fn a_missed_run_is_left_out_where_that_was_asked_for() {
    let begin = at("2026-11-23T11:30:00Z");
    let mut table = table(
        "components: { etcd: { cron: 0 * * * *, catch-up: false } }",
        begin,
    );
    assert_eq!(table.due(at("2026-11-23T14:20:00Z")), []);
    assert_eq!(table.due(at("2026-11-23T15:00:01Z")).len(), 1);
}

#[test]
fn after_a_restart_the_store_tells_what_is_owed() {
    let now = at("2026-11-23T11:30:00Z");
    let recalled = |last: Option<&str>| {
        let mut table = table(HOURLY, now);
        let last = last.map(at);
        table.recall(|_| last, now);
        table
            .due(now)
            .into_iter()
            .map(|due| due.why)
            .collect::<Vec<_>>()
    };
    assert_eq!(recalled(Some("2026-11-23T11:00:09Z")), []);
    assert_eq!(recalled(Some("2026-11-23T10:00:09Z")), [DueReason::CatchUp]);
    assert_eq!(recalled(Some("2019-11-23T10:00:09Z")), [DueReason::CatchUp]);
    assert_eq!(recalled(None), [DueReason::CatchUp]);
}

#[test]
fn what_failed_is_tried_again_more_and_more_seldom_and_made_up_for_once() {
    let begin = at("2026-11-23T11:59:59Z");
    let mut table = table("components: { etcd: { cron: 0 12 * * * } }", begin);
    let etcd = ComponentName::etcd();
    let mut now = begin;
    let mut tries = Vec::new();
    let back = at("2026-11-23T13:00:00Z");
    while tries.len() < 100 && now < at("2026-11-24T11:00:00Z") {
        for due in table.due(now) {
            tries.push(now);
            if now < back {
                table.failed(&due.component, now);
            } else {
                table.taken(&due.component);
            }
        }
        now = now.checked_add(SignedDuration::from_secs(1)).unwrap();
    }
    let pauses = tries
        .iter()
        .zip(tries.iter().skip(1))
        .map(|(a, b)| b.duration_since(*a).as_mins());
    assert_eq!(pauses.collect::<Vec<_>>(), [1, 2, 4, 8, 10, 10, 10, 10, 10]);
    // One run after the store came back, and no more until tomorrow.
    assert_eq!(tries.iter().filter(|time| **time >= back).count(), 1);
    assert_eq!(table.failures(&etcd), 0);
    assert_eq!(table.next(), Some(at("2026-11-24T12:00:00Z")));
}

#[test]
fn a_clock_put_back_does_not_stop_the_schedule() {
    let begin = at("2026-11-23T11:30:00Z");
    let mut table = table(HOURLY, begin);
    assert_eq!(table.due(at("2026-11-30T12:00:00Z")).len(), 1);
    let back = at("2026-11-23T11:40:00Z");
    assert_eq!(table.next(), Some(at("2026-11-30T13:00:00Z")));
    table.put_back(back);
    assert_eq!(table.next(), Some(at("2026-11-23T12:00:00Z")));
}

#[test]
fn pause_and_reload() {
    let begin = at("2026-11-23T11:30:00Z");
    let paused = "components: { etcd: { cron: 0 * * * *, paused: true } }";
    let mut table = table(paused, begin);
    assert_eq!(
        (table.next(), table.due(at("2026-11-23T12:00:00Z"))),
        (None, vec![])
    );
    table.recall(|_| None, at("2026-11-23T12:00:00Z"));
    assert_eq!(table.due(at("2026-11-23T12:00:01Z")), []);
}

#[test]
fn jitter_is_bounded_differs_by_cluster_and_is_the_same_again() {
    let begin = at("2026-11-23T11:30:00Z");
    let yaml = "components: { etcd: { cron: 0 * * * *, jitter: 10m } }";
    let nexts = (0..50_u64).map(|seed| {
        let mut table = table(yaml, begin);
        table.seed = seed;
        table.next().unwrap()
    });
    let nexts: std::collections::BTreeSet<Timestamp> = nexts.collect();
    assert!(nexts.len() > 40);
    let due = at("2026-11-23T12:00:00Z");
    for next in nexts {
        assert!(
            (0..600).contains(&next.duration_since(due).as_secs()),
            "{next}"
        );
    }
    assert_eq!(table(yaml, begin).next(), table(yaml, begin).next());
    let mut table = table(yaml, begin);
    let to = at("2026-11-24T11:30:00Z");
    assert_eq!(
        walk(&mut table, begin, to, SignedDuration::from_secs(30)).len(),
        24
    );
}

#[test]
fn components_that_are_due_together_begin_together() {
    let begin = at("2026-11-23T11:30:00Z");
    let yaml = "runs: { jitter: 20m }\n\
                components: { etcd: { cron: 0 * * * * }, crds: { cron: 0 * * * * } }";
    let table = table(yaml, begin);
    let of = |name| table.next_of(&name);
    assert_eq!(of(ComponentName::etcd()), of(ComponentName::crds()));
}

#[test]
fn ten_years_of_a_daemon_take_each_day_once() {
    for zone in [
        "Europe/Berlin",
        "America/Santiago",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
    ] {
        let begin = at("2026-01-01T00:00:00Z");
        let yaml = format!(
            "runs: {{ time-zone: {zone} }}\ncomponents: {{ etcd: {{ cron: 30 2 * * * }} }}"
        );
        let mut table = table(&yaml, begin);
        let mut now = begin;
        let mut runs = 0;
        // As the daemon does: advance to the next time, sometimes a few seconds late.
        while let Some(next) = table
            .next()
            .filter(|next| *next < at("2036-01-01T00:00:00Z"))
        {
            now = next
                .max(now)
                .checked_add(SignedDuration::from_secs(runs % 7))
                .unwrap();
            for due in table.due(now) {
                assert_eq!(due.why, DueReason::Schedule, "{zone} {now}");
                table.taken(&due.component);
                runs += 1;
            }
            assert_eq!(table.due(now), [], "{zone} {now}");
        }
        let zone = jiff::tz::TimeZone::get(zone).unwrap();
        let days = zone
            .to_datetime(now)
            .date()
            .since(zone.to_datetime(begin).date())
            .unwrap();
        let first = i64::from(zone.to_datetime(begin).time() < jiff::civil::time(2, 30, 0, 0));
        assert_eq!(runs, i64::from(days.get_days()) + first);
    }
}

#[test]
fn one_that_lacks_something_is_tried_again_less_and_less_often() {
    let begin = at("2026-11-23T00:00:30Z");
    let yaml = "components: { secrets: { cron: 0 0 1 1 * } }";
    let mut table = table(yaml, begin);
    let secrets = ComponentName::secrets();
    let (mut now, mut pauses) = (begin, Vec::new());
    for _ in 0..9 {
        table.partial(&secrets, now);
        let next = table.next().unwrap();
        pauses.push(next.duration_since(now).as_mins());
        now = next;
        let due = table.due(now);
        assert_eq!(due.first().map(|due| due.why), Some(DueReason::Retry));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(table.failures(&secrets), 9);
}
