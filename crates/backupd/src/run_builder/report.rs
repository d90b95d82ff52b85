//! Report of a restore point that was just taken.

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::backup::{NewRestorePoint, is_member};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Restore point that was just taken, as it is printed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunReport {
    restore_point: String,
    cluster: String,
    began: Timestamp,
    ended: Timestamp,
    pinned: bool,
    reason: Option<String>,
    components: Vec<ComponentReport>,
    read_bytes: u64,
    stored_bytes: u64,
    stored_objects: u64,
    chunks: u64,
    new_chunks: u64,
    missing: Vec<String>,
    /// Missing components, and missing kinds and objects of the components that were taken.
    #[serde(default)]
    lacks: Vec<String>,
    #[serde(skip)]
    partial: bool,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ComponentReport {
    name: String,
    plain_bytes: u64,
    plain_sha256: String,
    revision: Option<u64>,
    keys: Option<u64>,
    origin: Option<String>,
    objects: Option<u64>,
}

impl RunReport {
    pub(crate) fn of(committed: &NewRestorePoint) -> Self {
        let manifest = &committed.manifest;
        let components = manifest.components.iter().map(|c| ComponentReport {
            name: c.name.to_string(),
            plain_bytes: c.plain_bytes,
            plain_sha256: c.plain_sha256.to_string(),
            revision: c.etcd.as_ref().map(|e| e.revision),
            keys: c.etcd.as_ref().and_then(|e| e.total_keys),
            origin: c.etcd.as_ref().map(|e| e.origin.clone()),
            objects: c.archive.as_ref().map(|a| a.objects),
        });
        Self {
            restore_point: committed.id.to_string(),
            cluster: manifest.cluster.to_string(),
            began: manifest.began,
            ended: manifest.ended,
            pinned: manifest.pinned,
            reason: manifest.reason.clone(),
            components: components.collect(),
            read_bytes: manifest.cost.read_bytes,
            stored_bytes: manifest.cost.stored_bytes,
            stored_objects: manifest.cost.objects,
            chunks: manifest.cost.chunks,
            new_chunks: manifest.cost.new_chunks,
            missing: manifest.missing.iter().map(ToString::to_string).collect(),
            lacks: manifest.gaps().iter().map(ToString::to_string).collect(),
            partial: manifest.is_partial(),
            findings: findings::printed(&manifest.findings),
        }
    }

    /// Parses the report of a daemon.
    pub(crate) fn from_value(value: serde_json::Value) -> serde_json::Result<Self> {
        let mut taken: Self = serde_json::from_value(value)?;
        let errors = taken.findings.iter().any(|f| f.severity == Severity::Error);
        taken.partial = errors || !taken.missing.is_empty() || !taken.lacks.is_empty();
        Ok(taken)
    }

    /// Prints the report and the next step.
    pub(crate) fn print(&self, frame: &Frame) -> Result<Exit, Failure> {
        frame.terminal.emit(self)?;
        Ok(self.conclude(frame))
    }

    /// Warns of the findings, and prints the next step.
    pub(crate) fn conclude(&self, frame: &Frame) -> Exit {
        for finding in self.findings.iter().filter(|f| f.severity > Severity::Info) {
            frame.terminal.warn(&format!(
                "{}: {}; {}",
                finding.object, finding.cause, finding.remedy
            ));
        }
        frame.terminal.status(&format!(
            "Committed. Prove it with `restore-cli verify {}`.",
            self.restore_point
        ));
        let unwell = self.findings.iter().any(|f| is_member(&f.object));
        if self.partial {
            Exit::Partial
        } else if unwell {
            Exit::Warnings
        } else {
            Exit::Complete
        }
    }
}

impl Report for RunReport {
    fn page(&self, page: &mut Page) {
        let took = self.ended.duration_since(self.began);
        let mut fields = vec![
            ("Restore point", self.restore_point.clone()),
            ("Cluster", self.cluster.clone()),
            ("Began", human::utc(self.began)),
            ("Took", human::span(took)),
            ("Read", human::bytes(self.read_bytes)),
            (
                "Stored",
                format!(
                    "{} in {} objects, {} of {} chunks new",
                    human::bytes(self.stored_bytes),
                    self.stored_objects,
                    self.new_chunks,
                    self.chunks
                ),
            ),
        ];
        if let Some(reason) = &self.reason {
            fields.push(("Reason", reason.clone()));
        }
        if !self.missing.is_empty() {
            fields.push(("Missing", self.missing.join(", ")));
        }
        let whole = |lacks: &&String| lacks.starts_with("component `");
        let lacks: Vec<&str> = self
            .lacks
            .iter()
            .filter(|l| !whole(l))
            .map(String::as_str)
            .collect();
        if !lacks.is_empty() {
            fields.push(("Lacks", lacks.join(", ")));
        }
        if self.pinned {
            let pinned = "kept until somebody removes it by hand";
            fields.push(("Pinned", pinned.to_owned()));
        }
        page.fields(fields);
        page.heading("Components");
        let rows = self.components.iter().map(|c| {
            let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            [
                c.name.clone(),
                human::bytes(c.plain_bytes),
                number(c.revision),
                number(c.keys.or(c.objects)),
                c.origin.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        });
        page.table(["COMPONENT", "SIZE", "REVISION", "OBJECTS", "FROM"], rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};

    #[test]
    fn a_run_reads_well_and_its_json_stays() {
        let taken = RunReport {
            restore_point: "20261123t120000000z-1a2b3c4d5e6f".to_owned(),
            cluster: "butler-mgmt".to_owned(),
            began: "2026-11-23T12:00:00Z".parse().unwrap(),
            ended: "2026-11-23T12:00:09Z".parse().unwrap(),
            pinned: true,
            reason: Some("before 1.36".to_owned()),
            components: vec![ComponentReport {
                name: "etcd".to_owned(),
                plain_bytes: 262_144_032,
                plain_sha256: "00".repeat(32),
                revision: Some(812_345),
                keys: Some(15_210),
                origin: Some("10.5.0.3".to_owned()),
                objects: None,
            }],
            missing: vec!["secrets".to_owned()],
            lacks: vec!["component `secrets`".to_owned()],
            partial: true,
            read_bytes: 262_144_032,
            stored_bytes: 1_782_579,
            stored_objects: 5,
            chunks: 90_000,
            new_chunks: 700,
            findings: Vec::new(),
        };
        insta::assert_snapshot!("taken_table", render(&taken, Format::Table, None).unwrap());
        insta::assert_snapshot!("taken_json", render(&taken, Format::Json, None).unwrap());
    }
}
