//! Result of an audit as metrics, for the textfile collector of Prometheus' node exporter.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use backup_cli::failure::Failure;
use backup_cli::findings::Severity;
use backup_core::id::RestorePointId;
use backup_core::newfile::{self, OverwritePolicy};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::AuditReport;

/// Prefix of every name.
const PREFIX: &str = "butler_backup_audit";

/// Gauge with its values.
#[derive(Debug)]
struct Gauge {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Vec<(&'static str, String)>, i64)>,
}

/// Gauges of one audit, in the order in which they are written.
#[derive(Debug)]
struct AuditCollector(Vec<Gauge>);

impl Collector for AuditCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for gauge in self.0.iter().filter(|gauge| !gauge.samples.is_empty()) {
            let name = format!("{PREFIX}_{}", gauge.name);
            let kind = MetricType::Gauge;
            let mut family = encoder.encode_descriptor(&name, gauge.help, None, kind)?;
            for (labels, value) in &gauge.samples {
                ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

/// Writes the metrics of `report` to `file`, whole or not at all. The exporter is another user, and the
/// numbers are no secret, so everyone may read the file.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(file: &Path, report: &AuditReport, now: Timestamp) -> Result<(), Failure> {
    let written = newfile::write(file, text(report, now).as_bytes(), OverwritePolicy::Replace);
    let readable = std::fs::Permissions::from_mode(0o644);
    let written = written.and_then(|()| std::fs::set_permissions(file, readable));
    let written = written.with_context(|| format!("write the metrics to {}", file.display()));
    Ok(written?)
}

/// Returns the metrics of `report`, made at `now`, in the text format of Prometheus.
pub(super) fn text(report: &AuditReport, now: Timestamp) -> String {
    let store = || ("store", report.store.clone());
    let gauge = |name, help, value: i64| Gauge {
        name,
        help,
        samples: vec![(vec![store()], value)],
    };
    let number =
        |name, help, value: u64| gauge(name, help, i64::try_from(value).unwrap_or(i64::MAX));
    let severities = [Severity::Info, Severity::Warning, Severity::Error].map(|severity| {
        let of = report.findings.iter().filter(|f| f.severity == severity);
        let count = i64::try_from(of.count()).unwrap_or(i64::MAX);
        (
            vec![store(), ("severity", word(severity).to_owned())],
            count,
        )
    });
    let newest = report.newest.as_deref().and_then(|id| id.parse().ok());
    let newest = newest.and_then(|id: RestorePointId| id.began());
    let mut gauges = vec![
        number("restore_points", "Restore points", report.restore_points),
        number(
            "objects",
            "Objects that restore points need",
            report.objects,
        ),
        number("bytes", "Size of these objects", report.bytes),
        number(
            "unreferenced_objects",
            "Objects that no restore point needs",
            report.unreferenced_objects,
        ),
        number(
            "unreferenced_bytes",
            "Size of these objects",
            report.unreferenced_bytes,
        ),
        Gauge {
            name: "findings",
            help: "Findings by severity",
            samples: severities.to_vec(),
        },
        gauge(
            "timestamp_seconds",
            "End of the audit; alert when it is old",
            now.as_second(),
        ),
    ];
    gauges.extend(newest.map(|began| {
        gauge(
            "newest_restore_point_timestamp_seconds",
            "Begin of the newest restore point that is trusted",
            began.as_second(),
        )
    }));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(AuditCollector(gauges)));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}
