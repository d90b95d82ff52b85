//! Values of all metrics, taken from the status.

use jiff::Timestamp;

use super::Sample;
use crate::daemon::lead::Lead;
use crate::daemon::status::{ClusterStatus, Status, WatchStatus};
use crate::daemon::store_view::StoreFacts;
use backup_core::num::to_u64;

/// States of a run, and `idle` when none is at work.
const STATES: [&str; 5] = ["idle", "selected", "reading", "storing", "verifying"];

#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn add(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        self.0.push(Sample {
            name,
            labels: labels.collect(),
            value,
        });
    }

    fn time(
        &mut self,
        name: &'static str,
        labels: &[(&'static str, &str)],
        time: Option<Timestamp>,
    ) {
        if let Some(time) = time {
            self.add(name, labels, seconds(time));
        }
    }
}

/// Converts counts and bytes, which stay below 2^53, up to which they are exact.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "see above"
)]
fn float(count: u64) -> f64 {
    count as f64
}

fn number(count: usize) -> f64 {
    float(to_u64(count))
}

fn yes(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "exact for 280 000 years"
)]
fn signed(seconds: i64) -> f64 {
    seconds as f64
}

fn seconds(time: Timestamp) -> f64 {
    signed(time.as_second())
}

pub(super) fn of(status: &Status) -> Vec<Sample> {
    let mut all = Samples::default();
    all.add("build_info", &[("version", status.version)], 1.0);
    all.time("start_timestamp_seconds", &[], Some(status.started));
    let leading = match &status.lead {
        Lead::Unelected => 1.0,
        Lead::Leading {
            lease, transitions, ..
        } => {
            all.add(
                "lease_transitions",
                &[("lease", lease)],
                signed(*transitions),
            );
            1.0
        }
        Lead::Following { .. } => 0.0,
        Lead::Alone { .. } => 0.5,
    };
    all.add("leading", &[], leading);
    for file in &status.files {
        let path = file.path.display().to_string();
        all.add(
            "config_file_broken",
            &[("file", &path)],
            yes(file.error.is_some()),
        );
    }
    all.add("config_loads", &[], float(status.reloads));
    all.add("config_loads_broken", &[], float(status.broken_reloads));
    for cluster in &status.clusters {
        of_cluster(&mut all, cluster);
        of_watches(&mut all, cluster, status.now);
        of_mirror(&mut all, cluster);
        of_leftovers(&mut all, cluster);
    }
    all.0
}

fn of_cluster(all: &mut Samples, status: &ClusterStatus) {
    let view = &status.view;
    let name = view.cluster.as_str();
    let cluster = [("cluster", name)];
    for (component, view) in &view.components {
        let labels = [("cluster", name), ("component", component.as_str())];
        all.time(
            "component_last_success_timestamp_seconds",
            &labels,
            view.last_success,
        );
        all.time(
            "component_next_run_timestamp_seconds",
            &labels,
            view.next_run,
        );
        all.add(
            "component_failures_in_a_row",
            &labels,
            f64::from(view.failures_in_a_row),
        );
        all.time(
            "component_overdue_since_timestamp_seconds",
            &labels,
            view.overdue_since,
        );
        all.add("component_paused", &labels, yes(view.paused));
        all.add("component_skipped", &labels, float(view.skipped));
    }
    let totals = view.totals;
    for (outcome, count) in [
        ("complete", totals.committed),
        ("partial", totals.partial),
        ("failed", totals.failed),
    ] {
        all.add(
            "runs",
            &[("cluster", name), ("outcome", outcome)],
            float(count),
        );
    }
    for (metric, count) in [
        ("run_retries", totals.retries),
        ("read_bytes", totals.read_bytes),
        ("stored_bytes", totals.stored_bytes),
        ("checked_objects", totals.checked_objects),
        ("clock_jumps", totals.clock_jumps),
        ("changes", totals.changes),
        ("watch_breaks", totals.watch_breaks),
        ("watch_losses", totals.watches_lost),
    ] {
        all.add(metric, &cluster, float(count));
    }
    let state = status.run.as_ref().map_or("idle", |run| run.state.word());
    for known in STATES {
        all.add(
            "run_state",
            &[("cluster", name), ("state", known)],
            yes(known == state),
        );
    }
    all.add("runs_queued", &cluster, number(view.queued));
    if view.restore_points.is_some() || view.store_error.is_some() {
        all.add("store_reachable", &cluster, yes(view.store_error.is_none()));
    }
    if let Some(skew) = view.clock_skew_seconds {
        all.add("clock_skew_seconds", &cluster, signed(skew));
    }
    all.time(
        "newest_checked_restore_point_timestamp_seconds",
        &cluster,
        view.newest_checked,
    );
    let own = [("cluster", name), ("kind", "talosconfig"), ("name", "")];
    all.time(
        "certificate_expiry_timestamp_seconds",
        &own,
        view.talosconfig_valid_until,
    );
    if let Some(facts) = &view.restore_points {
        of_store(all, name, facts);
    }
}

fn of_mirror(all: &mut Samples, status: &ClusterStatus) {
    let cluster = [("cluster", status.view.cluster.as_str())];
    let Some(mirror) = &status.view.mirror else {
        return;
    };
    all.time(
        "mirror_last_success_timestamp_seconds",
        &cluster,
        mirror.last_success,
    );
    all.add("mirror_failed", &cluster, yes(mirror.problem.is_some()));
    for (metric, count) in [
        ("mirror_unpushed_commits", mirror.unpushed),
        ("mirror_commits", mirror.commits),
        ("mirror_given_up", mirror.given_up),
        ("mirror_skipped", mirror.skipped),
    ] {
        all.add(metric, &cluster, float(count));
    }
}

fn of_leftovers(all: &mut Samples, status: &ClusterStatus) {
    let cluster = [("cluster", status.view.cluster.as_str())];
    let Some(leftovers) = &status.view.leftovers else {
        return;
    };
    all.time(
        "leftovers_last_sweep_timestamp_seconds",
        &cluster,
        leftovers.last_sweep,
    );
    all.add(
        "leftovers_sweep_failed",
        &cluster,
        yes(leftovers.problem.is_some()),
    );
    for (metric, count) in [
        ("leftovers_objects", leftovers.objects),
        ("leftovers_bytes", leftovers.bytes),
        ("leftovers_removed_objects", leftovers.removed_objects),
        ("leftovers_removed_bytes", leftovers.removed_bytes),
    ] {
        all.add(metric, &cluster, float(count));
    }
}

fn of_watches(all: &mut Samples, status: &ClusterStatus, now: Timestamp) {
    let view = &status.view;
    let name = view.cluster.as_str();
    if view.watches.is_empty() {
        return;
    }
    for state in WatchStatus::ALL {
        let in_state = view.watches.values().filter(|watch| watch.state == state);
        all.add(
            "watches",
            &[("cluster", name), ("state", state.word())],
            number(in_state.count()),
        );
    }
    let cluster = [("cluster", name)];
    all.add("kept_objects", &cluster, float(view.kept.objects));
    all.add("kept_bytes", &cluster, float(view.kept.bytes));
    all.add("kept_drifts", &cluster, float(view.kept.drifted));
    // A refused watch has no lag, because it does not exist.
    let watches = view.watches.values();
    let watches = watches.filter(|watch| watch.state != WatchStatus::Refused);
    let heard = watches.map(|watch| watch.heard.unwrap_or(watch.since));
    if let Some(oldest) = heard.min() {
        let lag = now.duration_since(oldest).as_secs().max(0);
        all.add("watch_lag_seconds", &[("cluster", name)], signed(lag));
    }
}

fn of_store(all: &mut Samples, name: &str, facts: &StoreFacts) {
    let cluster = [("cluster", name)];
    let gaps = &facts.gaps;
    for (component, facts) in &facts.components {
        let labels = [("cluster", name), ("component", component.as_str())];
        all.add("component_bytes", &labels, float(facts.bytes));
        if let Some(objects) = facts.objects {
            all.add("component_objects", &labels, float(objects));
        }
        // A whole component has the metric too; without it a rule could not see that the gaps are gone.
        if !gaps.contains_key(component) {
            all.add("component_gaps", &labels, 0.0);
        }
    }
    for (component, gaps) in gaps {
        let labels = [("cluster", name), ("component", component.as_str())];
        all.add("component_gaps", &labels, number(gaps.len()));
    }
    all.add("restore_points", &cluster, number(facts.count));
    for certificate in &facts.certificates {
        let labels = [
            ("cluster", name),
            ("kind", certificate.kind),
            ("name", certificate.name.as_str()),
        ];
        all.time(
            "certificate_expiry_timestamp_seconds",
            &labels,
            Some(certificate.valid_until),
        );
    }
    if let Some((objects, bytes)) = facts.objects {
        all.add("store_objects", &cluster, float(objects));
        all.add("store_bytes", &cluster, float(bytes));
    }
    if facts.newest.is_none() {
        return;
    }
    all.time(
        "newest_restore_point_timestamp_seconds",
        &cluster,
        facts.newest_at,
    );
    all.add("last_run_duration_seconds", &cluster, facts.seconds);
    for (metric, count) in [
        ("last_run_read_bytes", facts.read_bytes),
        ("last_run_stored_bytes", facts.stored_bytes),
        ("last_run_chunks", facts.chunks),
        ("last_run_new_chunks", facts.new_chunks),
    ] {
        all.add(metric, &cluster, float(count));
    }
    for (severity, count) in [("error", facts.errors), ("warning", facts.warnings)] {
        all.add(
            "findings",
            &[("cluster", name), ("severity", severity)],
            number(count),
        );
    }
}
