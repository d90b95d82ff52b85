//! Command `restore-cli audit`, which checks everything below one prefix.

mod prometheus;

use std::path::PathBuf;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::audit;
use jiff::SignedDuration;
use serde::Serialize;

use crate::commands::open;
use crate::flags::LookFlags;

/// Check every object of every restore point, read-only and without a key
///
/// Each object must be there, with the size that its restore point names and a recorded checksum
/// equal to its name; each restore point must be signed by a key of --trust, and none may have a name
/// of the future; what no restore point needs is reported. Nothing but manifests is downloaded. The
/// exit code gives the worst severity.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Download every object and take its SHA-256
    #[arg(long)]
    deep: bool,
    /// Warn when the newest restore point is older, as in `26h` or `2h 30m`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<SignedDuration>,
    /// Write the result as metrics to this file too, for the textfile collector of the node exporter
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    #[command(flatten)]
    look: LookFlags,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(duration) if duration.is_positive() => Ok(duration),
        _ => Err("want a number with its unit, as in `26h` or `2h 30m`".to_owned()),
    }
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let opened = open(&args.look.given(), frame).await?;
    let store = opened.store.describe();
    let options = audit::Options {
        trust: opened.view.trust,
        deep: args.deep,
        max_age: args.max_age,
        now: frame.clock.now(),
    };
    let progress = frame.terminal.progress();
    let report = audit::run(opened.store, &options, progress.as_ref()).await?;
    drop(progress);
    let audited = AuditReport::of(store, args.deep, &report);
    if let Some(file) = &args.prometheus {
        prometheus::write(file, &audited, frame.clock.now())?;
    }
    frame.terminal.emit(&audited)?;
    Ok(findings::exit_of(audited.worst))
}

/// Printed result of `audit`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditReport {
    store: String,
    deep: bool,
    restore_points: u64,
    newest: Option<String>,
    objects: u64,
    bytes: u64,
    unreferenced_objects: u64,
    unreferenced_bytes: u64,
    worst: Option<Severity>,
    findings: Vec<Finding>,
}

impl AuditReport {
    fn of(store: String, deep: bool, report: &audit::Report) -> Self {
        let findings = findings::printed(&report.findings);
        Self {
            store,
            deep,
            restore_points: report.restore_points,
            newest: report.newest.as_ref().map(ToString::to_string),
            objects: report.objects,
            bytes: report.bytes,
            unreferenced_objects: report.unreferenced,
            unreferenced_bytes: report.unreferenced_bytes,
            worst: findings::worst(&findings),
            findings,
        }
    }
}

impl Report for AuditReport {
    fn page(&self, page: &mut Page) {
        let looked = if self.deep {
            "every object downloaded and its SHA-256 taken"
        } else {
            "sizes and checksums as the store recorded them, nothing downloaded"
        };
        page.fields([
            ("Store", self.store.clone()),
            ("Restore points", self.restore_points.to_string()),
            (
                "Newest",
                self.newest.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            (
                "Objects",
                format!("{}, {}", self.objects, human::bytes(self.bytes)),
            ),
            (
                "Not needed",
                format!(
                    "{}, {}",
                    self.unreferenced_objects,
                    human::bytes(self.unreferenced_bytes)
                ),
            ),
            ("Looked at", looked.to_owned()),
        ]);
        if self.findings.is_empty() {
            page.heading("Nothing to complain about.");
        } else {
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

    #[test]
    fn findings_read_well_and_their_json_stays() {
        let finding = |severity, object: &str, cause: &str, remedy: &str| manifest::Finding {
            severity,
            object: object.to_owned(),
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
        };
        let report = audit::Report {
            restore_points: 2,
            newest: Some("20261123t120000000z-1a2b3c4d5e6f".parse().unwrap()),
            objects: 14,
            bytes: 7_340_032,
            unreferenced: 1,
            unreferenced_bytes: 1_024,
            findings: vec![
                finding(
                    manifest::Severity::Error,
                    "packs/00ff",
                    "it is missing",
                    "restore it from a replica",
                ),
                finding(
                    manifest::Severity::Info,
                    "keys",
                    "one object is needed by nobody",
                    "nothing",
                ),
            ],
        };

        let audited = AuditReport::of("s3://b/p".to_owned(), false, &report);
        assert_eq!(findings::exit_of(audited.worst), Exit::Damaged);
        insta::assert_snapshot!(
            "audit_table",
            render(&audited, Format::Table, None).unwrap()
        );
        insta::assert_snapshot!("audit_json", render(&audited, Format::Json, None).unwrap());
        let now = "2026-11-23T12:45:00Z".parse().unwrap();
        insta::assert_snapshot!("audit_prometheus", prometheus::text(&audited, now));
        assert_eq!(findings::exit_of(None), Exit::Complete);
        assert_eq!(findings::exit_of(Some(Severity::Info)), Exit::Complete);
        assert_eq!(findings::exit_of(Some(Severity::Warning)), Exit::Warnings);
    }
}
