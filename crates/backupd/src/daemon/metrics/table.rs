//! Table of all metrics: name, kind, labels and meaning.

/// Prefix of every name.
pub(crate) const PREFIX: &str = "butler_backup_";

/// Definition of a metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Gauge,
    Counter,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels,
        help,
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
    }
}

const C: &[&str] = &["cluster"];
const CC: &[&str] = &["cluster", "component"];

/// All metrics; `docs/METRICS.md` is generated from this table. Names get the prefix [`PREFIX`], and counters
/// the suffix `_total`.
pub(crate) const METRICS: &[Metric] = &[
    gauge(
        "build_info",
        &["version"],
        "1, with the version of the daemon",
    ),
    gauge("start_timestamp_seconds", &[], "When the daemon started"),
    gauge(
        "leading",
        &[],
        "Whether this daemon makes runs: 1 as the leader or without an election, 0 while it follows, 0.5 while the API server is away and only etcd is taken",
    ),
    gauge(
        "lease_transitions",
        &["lease"],
        "How often the Lease had changed holders when this daemon took it",
    ),
    gauge(
        "config_file_broken",
        &["file"],
        "Whether the configuration file cannot be used; its last good content stays in force",
    ),
    counter("config_loads", &[], "How often the configuration was read"),
    counter(
        "config_loads_broken",
        &[],
        "How often a file of the configuration could not be used",
    ),
    gauge(
        "component_last_success_timestamp_seconds",
        CC,
        "When the component was last taken whole, by the newest restore point in the store that has it whole",
    ),
    gauge(
        "component_next_run_timestamp_seconds",
        CC,
        "When the component is due next",
    ),
    gauge(
        "component_failures_in_a_row",
        CC,
        "Runs of the component that failed, or took it with gaps, since the last success; a run at work counts when a try of it has failed",
    ),
    gauge(
        "component_overdue_since_timestamp_seconds",
        CC,
        "Since when a restore point with the component is due and missing, whatever runs do about it; absent where none is due",
    ),
    gauge(
        "component_paused",
        CC,
        "Whether the schedule of the component is paused",
    ),
    gauge(
        "component_bytes",
        CC,
        "Plain bytes of the component in the newest restore point that has it whole",
    ),
    gauge(
        "component_objects",
        CC,
        "Objects, or live keys of etcd, in the newest restore point that has it whole",
    ),
    gauge(
        "component_gaps",
        CC,
        "Gaps of the component in the newest restore point that was to have it: all of it, kinds that could not be listed, objects that could not be read; 100 at most are counted",
    ),
    counter(
        "component_skipped",
        CC,
        "Runs that were due while the one before had not ended",
    ),
    counter(
        "runs",
        &["cluster", "outcome"],
        "Runs that have ended: `complete`, `partial` (something that was asked for is missing: a component, a kind or an object) or `failed`",
    ),
    counter("run_retries", C, "Tries of runs after the first"),
    gauge(
        "run_state",
        &["cluster", "state"],
        "1 for the state of the run at work, `idle` if there is none",
    ),
    gauge("runs_queued", C, "Runs that are waiting"),
    counter("read_bytes", C, "Plain bytes that runs read"),
    counter("stored_bytes", C, "Bytes that runs put into the store"),
    counter(
        "checked_objects",
        C,
        "Objects that were checked in the store after a commit and found as they were put",
    ),
    gauge(
        "last_run_duration_seconds",
        C,
        "How long the newest restore point took",
    ),
    gauge(
        "last_run_read_bytes",
        C,
        "Plain bytes of the newest restore point",
    ),
    gauge(
        "last_run_stored_bytes",
        C,
        "Bytes that the newest restore point added to the store",
    ),
    gauge("last_run_chunks", C, "Chunks of the newest restore point"),
    gauge(
        "last_run_new_chunks",
        C,
        "Chunks of the newest restore point that were not in the store before",
    ),
    gauge(
        "findings",
        &["cluster", "severity"],
        "Findings in the newest restore point",
    ),
    gauge("restore_points", C, "Restore points in the store"),
    gauge(
        "newest_restore_point_timestamp_seconds",
        C,
        "When the newest restore point with this daemon's own signature was complete",
    ),
    gauge(
        "newest_checked_restore_point_timestamp_seconds",
        C,
        "When the newest restore point was complete for which every object that its run put was then found in the store, by size and checksum; absent until the first since the start. Only `restore-cli verify` shows whether it can be decrypted and restored, with a key that the daemon does not have",
    ),
    gauge(
        "store_reachable",
        C,
        "Whether the store could be read last time",
    ),
    gauge(
        "store_objects",
        C,
        "Objects below the prefix, counted once an hour",
    ),
    gauge("store_bytes", C, "Bytes of the objects below the prefix"),
    gauge(
        "clock_skew_seconds",
        C,
        "This machine's clock minus the store's",
    ),
    counter(
        "clock_jumps",
        C,
        "How often this machine's clock was set by more than half a minute",
    ),
    gauge(
        "watches",
        &["cluster", "state"],
        "Kinds that are watched for changes: `watching`, `broken` (it tries again) or `refused` (a right is missing, or the kind cannot be watched; its components go by their cron)",
    ),
    gauge(
        "watch_lag_seconds",
        C,
        "Longest time that a watch has received nothing; the server sends something every minute",
    ),
    counter("watch_breaks", C, "How often a watch broke"),
    counter(
        "watch_losses",
        C,
        "How often a watch lost its place (410) and everything of its kind was taken as changed",
    ),
    counter("changes", C, "Changes that watches reported"),
    gauge(
        "kept_objects",
        C,
        "Objects that the daemon keeps for runs on change, which need not list them",
    ),
    gauge(
        "kept_bytes",
        C,
        "Size of the encrypted scratch file with the kept objects",
    ),
    counter(
        "kept_drifts",
        C,
        "How often a list differed from what the watches had reported: a restore point on change may have an object as it was before",
    ),
    gauge(
        "mirror_last_success_timestamp_seconds",
        C,
        "When the Git repository last had everything that was to be mirrored to it, since the start of the daemon",
    ),
    gauge(
        "mirror_failed",
        C,
        "Whether the last restore point could not be mirrored, or not be pushed",
    ),
    gauge(
        "mirror_unpushed_commits",
        C,
        "Commits of the mirror that the Git repository does not have yet",
    ),
    counter(
        "mirror_commits",
        C,
        "Commits that were made for the mirror; a restore point that changes nothing makes none",
    ),
    counter(
        "mirror_given_up",
        C,
        "Commits of the mirror that were given up and written again, because others had changed the same files",
    ),
    counter(
        "mirror_skipped",
        C,
        "Restore points that were not mirrored, because too many were waiting",
    ),
    gauge(
        "leftovers_objects",
        C,
        "Objects that no restore point needs, of any age, at the last look; only where `leftovers` is configured",
    ),
    gauge(
        "leftovers_bytes",
        C,
        "Bytes of the objects that no restore point needs",
    ),
    gauge(
        "leftovers_last_sweep_timestamp_seconds",
        C,
        "When a sweep last removed all leftovers that it should, since the start of the daemon",
    ),
    gauge(
        "leftovers_sweep_failed",
        C,
        "Whether the last sweep did not remove what it should: a rule held it, a right is missing, or the store failed",
    ),
    counter(
        "leftovers_removed_objects",
        C,
        "Objects that were removed, because runs that died had left them",
    ),
    counter(
        "leftovers_removed_bytes",
        C,
        "Bytes of the objects that were removed",
    ),
    gauge(
        "certificate_expiry_timestamp_seconds",
        &["cluster", "kind", "name"],
        "When a certificate expires: `talosconfig` is the daemon's own, `kubeconfig` one that is kept as a file, `tenant` that of a tenant's kubeconfig or its authority, whichever ends first",
    ),
];

/// Returns the text of `docs/METRICS.md`.
#[cfg(test)]
pub(super) fn document() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Metrics\n\n\
         `GET /metrics` of `backupd run`. This file is generated from the code, and a test compares the two:\n\
         `UPDATE_DOCS=1 cargo test -p backupd metrics` writes it again.\n\n\
         Gauges come from the store after a restart, counters begin at zero. Rules on them are in\n\
         [schedules/alerts.yaml](../schedules/alerts.yaml).\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let (kind, end) = match metric.kind {
            MetricKind::Gauge => ("gauge", ""),
            MetricKind::Counter => ("counter", "_total"),
        };
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let labels = labels.join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{PREFIX}{}{end}` | {kind} | {labels} | {} |",
            metric.name, metric.help
        );
    }
    text
}
