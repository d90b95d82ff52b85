//! Tests of what every policy leaves alone, and of what each rule keeps.

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;

fn name(text: &str) -> ComponentName {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn point(began: Timestamp, lineage: &str, whole: &[&str]) -> RetentionPoint {
    let digest = Digest::of(format!("{began} {lineage} {whole:?}").as_bytes());
    RetentionPoint {
        id: RestorePointId::new(began, digest),
        began,
        pinned: false,
        lineage: lineage.to_owned(),
        whole: whole.iter().map(|text| name(text)).collect(),
        partial: BTreeSet::new(),
    }
}

fn stays(policy: &str, points: &[RetentionPoint], now: Timestamp) -> Vec<String> {
    let policy = policy.parse().unwrap();
    let accepted = AcceptedLineages::of(points, []);
    decide(&policy, points, &accepted, now)
        .into_iter()
        .filter(RetentionDecision::stays)
        .map(|decision| decision.point.began.to_string())
        .collect()
}

#[test]
fn each_rule_keeps_the_newest_of_its_stretches() {
    let now = at("2026-11-29T12:30:00Z");
    let hours = (0..24 * 400).map(|hour| now - SignedDuration::from_hours(hour));
    let points: Vec<_> = hours.map(|began| point(began, "a", &["etcd"])).collect();
    assert_eq!(
        stays("hourly=3", &points, now),
        [
            "2026-11-29T12:30:00Z",
            "2026-11-29T11:30:00Z",
            "2026-11-29T10:30:00Z"
        ]
    );
    assert_eq!(
        stays("daily=2", &points, now),
        ["2026-11-29T12:30:00Z", "2026-11-28T23:30:00Z"]
    );
    // 2026-11-29 is a Sunday: its week began on the 23rd.
    assert_eq!(
        stays("weekly=2", &points, now),
        ["2026-11-29T12:30:00Z", "2026-11-22T23:30:00Z"]
    );
    assert_eq!(
        stays("monthly=2", &points, now),
        ["2026-11-29T12:30:00Z", "2026-10-31T23:30:00Z"]
    );
    assert_eq!(
        stays("yearly=2", &points, now),
        ["2026-11-29T12:30:00Z", "2025-12-31T23:30:00Z"]
    );
    assert_eq!(stays("last=5", &points, now).len(), 5);
    assert_eq!(stays("within=6h", &points, now).len(), 7);
}

#[test]
fn a_run_for_one_component_pushes_no_other_out() {
    let now = at("2026-11-29T12:00:00Z");
    let mut points = vec![point(at("2026-11-29T00:00:00Z"), "a", &["etcd", "secrets"])];
    let changes = (1..=60).map(|minute| now - SignedDuration::from_mins(minute));
    points.extend(changes.map(|began| point(began, "a", &["secrets"])));
    let left = stays("daily=1,last=1", &points, now);
    assert_eq!(left, ["2026-11-29T00:00:00Z", "2026-11-29T11:59:00Z"]);
}

#[test]
fn a_newer_copy_in_part_does_not_replace_the_newest_whole_one() {
    let mut torn = point(at("2026-11-29T11:00:00Z"), "a", &[]);
    torn.partial.insert(name("secrets"));
    let whole = point(at("2026-11-20T11:00:00Z"), "a", &["secrets"]);
    let left = stays("last=1", &[whole, torn], at("2026-11-29T12:00:00Z"));
    assert_eq!(left.len(), 2);
}

#[test]
fn nothing_goes_while_a_lineage_is_not_accepted() {
    let now = at("2026-11-29T12:00:00Z");
    let days = |lineage: &'static str, from: i64| {
        (0..5).map(move |day| {
            let began = now - SignedDuration::from_hours(24 * (from + day));
            point(began, lineage, &["etcd"])
        })
    };
    let points: Vec<_> = days("new", 0).chain(days("old", 5)).collect();
    assert_eq!(stays("last=1", &points, now).len(), 10);
    let accepted = AcceptedLineages::of(&points, ["new".to_owned()]);
    let decisions = decide(&"last=1".parse().unwrap(), &points, &accepted, now);
    let left = decisions.iter().filter(|decision| decision.stays());
    assert_eq!(left.count(), 2, "the newest of each lineage");
}

#[test]
fn a_policy_is_read_and_written_and_what_is_no_policy_says_why() {
    let text = "last=3,hourly=24,daily=7,weekly=5,monthly=12,yearly=3,within=48h";
    let policy: RetentionPolicy = text.parse().unwrap();
    assert_eq!(
        policy.to_string().parse::<RetentionPolicy>().unwrap(),
        policy
    );
    let error = |text: &str| text.parse::<RetentionPolicy>().unwrap_err().to_string();
    insta::assert_snapshot!(
        ["", "dayly=7", "daily=0", "daily=x", "daily", "within=-1h", "daily=1,daily=2"]
            .map(error)
            .join("\n"),
        @r"
    the policy keeps nothing; give a rule, as in `hourly=24,daily=7`
    `dayly` is not a rule; use last, hourly, daily, weekly, monthly, yearly and within, as in `hourly=24,daily=7`
    `daily=0` has no usable value; give a number from 1 to 10000
    `daily=x` has no usable value; give a number from 1 to 10000
    `daily=` has no usable value; give a number from 1 to 10000
    `within=-1h` has no usable value; give a duration, as in `48h`
    `daily` is given twice
    "
    );
}

#[test]
fn a_year_of_hours_leaves_what_the_policy_says() {
    let begin = at("2026-01-01T00:00:00Z");
    let hours = (0..24 * 365).map(|hour| begin + SignedDuration::from_hours(hour));
    let runs = hours.map(|began| (began, BTreeSet::from([name("etcd")])));
    let policy = "hourly=24,daily=7,weekly=5,monthly=12".parse().unwrap();
    let end = at("2026-12-31T23:30:00Z");
    let year = simulate(&policy, runs, end);
    assert_eq!(year.runs, 8760);
    let etcd = &year.components[&name("etcd")];
    // 24 hours, 6 more days, 4 more weeks, 11 more months.
    assert_eq!(year.restore_points, etcd.restore_points);
    assert!((42..=46).contains(&year.restore_points), "{year:?}");
    assert!(year.most <= year.restore_points + 26, "{year:?}");
    let hours = etcd.gaps.map(|gap| gap.map(|gap| gap.as_hours()));
    // The longest one in the last week leads from the newest day to the Sunday before the days begin.
    assert_eq!(hours, [Some(1), Some(120), Some(168), Some(744), None]);
}

fn any_points() -> impl Strategy<Value = Vec<RetentionPoint>> {
    let one = (
        0_i64..5_000_000,
        0_usize..2,
        proptest::collection::btree_set(0_usize..3, 0..3),
        proptest::collection::btree_set(0_usize..3, 0..2),
        proptest::bool::weighted(0.05),
    );
    proptest::collection::vec(one, 0..120).prop_map(|points| {
        let names = ["etcd", "secrets", "crds"];
        let set = |places: BTreeSet<usize>| places.into_iter().map(|place| name(names[place]));
        points
            .into_iter()
            .enumerate()
            .map(|(place, (seconds, lineage, whole, partial, pinned))| {
                let began = at("2026-11-01T00:00:00Z") + SignedDuration::from_secs(seconds);
                let mut point = point(began, ["a", "b"][lineage], &[]);
                point.whole = set(whole).collect();
                point.partial = set(partial)
                    .filter(|name| !point.whole.contains(name))
                    .collect();
                point.pinned = pinned;
                let digest = Digest::of(&place.to_be_bytes());
                point.id = RestorePointId::new(began, digest);
                point
            })
            .collect()
    })
}

fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
    (0_u32..4, 0_u32..5, 0_u32..5, 0_u32..3, 0_u32..3).prop_map(
        |(last, hourly, daily, weekly, monthly)| RetentionPolicy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            ..RetentionPolicy::default()
        },
    )
}

proptest! {
    #[test]
    fn what_must_stay_stays_under_every_policy(
        points in any_points(),
        policy in any_policy(),
        seconds in 0_i64..6_000_000,
    ) {
        let now = at("2026-11-01T00:00:00Z") + SignedDuration::from_secs(seconds);
        let accepted = AcceptedLineages::of(&points, ["a".to_owned(), "b".to_owned()]);
        let decisions = decide(&policy, &points, &accepted, now);
        prop_assert_eq!(decisions.len(), points.len());
        let left: Vec<_> = decisions.iter().filter(|d| d.stays()).map(|d| &d.point).collect();
        for point in &points {
            if point.pinned || point.began > now {
                prop_assert!(left.contains(&point));
            }
            for component in &point.whole {
                // Every lineage still has a whole copy that is as new as this one, or newer.
                let newer = |other: &&&RetentionPoint| {
                    other.lineage == point.lineage
                        && other.whole.contains(component)
                        && other.began >= point.began
                };
                let newest = points.iter().filter(|other| {
                    other.lineage == point.lineage
                        && other.whole.contains(component)
                        && other.began <= now
                });
                let newest = newest.map(|other| other.began).max();
                if newest == Some(point.began) {
                    prop_assert!(left.iter().find(newer).is_some());
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_listing_does_not_count(
        points in any_points(),
        policy in any_policy(),
    ) {
        let now = at("2027-01-01T00:00:00Z");
        let accepted = AcceptedLineages::of(&points, ["a".to_owned(), "b".to_owned()]);
        let kept = |points: &[RetentionPoint]| {
            let decisions = decide(&policy, points, &accepted, now);
            let kept = decisions.into_iter().filter(RetentionDecision::stays);
            kept.map(|d| (d.point.id, d.keep)).collect::<Vec<_>>()
        };
        let mut forth = kept(&points);
        let mut back = kept(&points.iter().rev().cloned().collect::<Vec<_>>());
        forth.sort();
        back.sort();
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn a_policy_that_was_applied_removes_nothing_more_at_the_same_time(
        points in any_points(),
        policy in any_policy(),
    ) {
        let now = at("2027-01-01T00:00:00Z");
        let accepted = AcceptedLineages::of(&points, ["a".to_owned(), "b".to_owned()]);
        let once: Vec<_> = decide(&policy, &points, &accepted, now)
            .into_iter()
            .filter(RetentionDecision::stays)
            .map(|d| d.point)
            .collect();
        let twice = decide(&policy, &once, &accepted, now);
        prop_assert!(twice.iter().all(RetentionDecision::stays));
    }
}
