//! Tests that the document, the table and the served metrics agree.

use super::table::Metric;
use super::*;
use crate::daemon::lead::Lead;
use crate::daemon::leftovers::LeftoversView;
use crate::daemon::mirror::MirrorView;
use crate::daemon::queue::Queue;
use crate::daemon::shard::Shard;
use crate::daemon::status::{FileStatus, WatchStatus, WatchView};
use crate::daemon::store_view::{Certificate, ComponentFacts, StoreFacts};
use backup_core::clock::FixedClock;
use backup_core::id::ComponentName;
use jiff::Timestamp;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// Returns a board with values for everything.
fn board() -> Arc<StatusBoard> {
    let board = StatusBoard::new(now(), Shard::ALL);
    board.set_lead(Lead::Leading {
        lease: "butler-system/butler-backup".to_owned(),
        holder: "pod-1".to_owned(),
        transitions: 3,
    });
    board.set_files(vec![FileStatus {
        path: "/etc/butler-backup/a.yaml".into(),
        cluster: Some("mgmt".parse().unwrap()),
        elsewhere: false,
        error: Some("broken".to_owned()),
    }]);
    let config = backup_cli::config::Config::load(&Default::default(), now()).unwrap();
    board.add(
        "mgmt".parse().unwrap(),
        Arc::new(Queue::default()),
        Arc::new(config),
    );
    let etcd = ComponentName::etcd();
    board.with(&"mgmt".parse().unwrap(), |cluster| {
        let component = cluster.view.components.entry(etcd.clone()).or_default();
        component.next_run = Some(now());
        component.last_success = Some(now());
        component.overdue_since = Some(now());
        component.skipped = 2;
        cluster.view.clock_skew_seconds = Some(-3);
        cluster.view.newest_checked = Some(now());
        let watch = WatchView {
            components: vec![ComponentName::secrets()],
            state: WatchStatus::Watching,
            since: now(),
            heard: Some(now()),
            problem: None,
        };
        cluster.view.watches.insert("secrets".to_owned(), watch);
        cluster.view.mirror = Some(MirrorView {
            last_success: Some(now()),
            unpushed: 2,
            ..MirrorView::default()
        });
        cluster.view.leftovers = Some(LeftoversView {
            last_sweep: Some(now()),
            objects: 3,
            bytes: 70_000,
            removed_objects: 5,
            removed_bytes: 1 << 20,
            ..LeftoversView::default()
        });
        cluster.view.talosconfig_valid_until = Some(now());
        let facts = ComponentFacts {
            restore_point: "x".to_owned(),
            at: now(),
            bytes: 1 << 40,
            objects: Some(15_210),
        };
        cluster.view.restore_points = Some(StoreFacts {
            count: 41,
            newest: Some("x".to_owned()),
            newest_at: Some(now()),
            seconds: 8.5,
            components: [(etcd, facts)].into(),
            certificates: vec![Certificate {
                kind: "tenant",
                name: "team-a/\"quoted\"\n".to_owned(),
                valid_until: now(),
            }],
            objects: Some((70, 1 << 30)),
            ..StoreFacts::default()
        });
    });
    board
}

#[test]
fn the_document_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, document()).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        stored,
        document(),
        "write it anew: UPDATE_DOCS=1 cargo test -p backupd metrics"
    );
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for Metric {
        name,
        kind,
        labels,
        help,
    } in METRICS
    {
        let good = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(
            good(name) && labels.iter().all(|label| good(label)),
            "{name}"
        );
        assert!(!name.ends_with("_total") && !help.ends_with('.'), "{name}");
        assert!(labels.len() <= 3, "{name}");
        for unit in ["bytes", "seconds"] {
            assert!(!name.contains(unit) || name.ends_with(unit), "{name}");
        }
        assert!(
            *kind == MetricKind::Gauge || !name.contains("timestamp"),
            "{name}"
        );
    }
    let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), METRICS.len());
}

#[test]
fn everything_that_is_listed_is_served_and_nothing_else() {
    let clock = Arc::new(FixedClock::new(now()));
    let text = Metrics::new(board(), clock).text();
    for metric in METRICS {
        let kind = if metric.kind == MetricKind::Gauge {
            "gauge"
        } else {
            "counter"
        };
        assert!(
            text.contains(&format!("# TYPE {PREFIX}{} {kind}\n", metric.name)),
            "{}",
            metric.name
        );
    }
    let types = text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .count();
    assert_eq!(types, METRICS.len());
    insta::assert_snapshot!(text);
}

#[test]
fn labels_of_samples_are_those_of_the_table() {
    for sample in samples::of(&board().status(now())) {
        let metric = METRICS
            .iter()
            .find(|metric| metric.name == sample.name)
            .unwrap();
        let labels: Vec<_> = sample.labels.iter().map(|(key, _)| *key).collect();
        assert_eq!(labels, metric.labels, "{}", sample.name);
    }
}
