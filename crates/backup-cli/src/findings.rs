//! Findings for output: rows of a table, entries of JSON, an exit code.

use backup_core::format::manifest;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::output::Page;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Information only.
    Info,
    /// Needs attention; everything can be restored.
    Warning,
    /// Something cannot be restored or cannot be trusted.
    Error,
}

/// One finding of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Severity of the finding.
    pub severity: Severity,
    /// Subject of the finding.
    pub object: String,
    /// Description of the finding.
    pub cause: String,
    /// Action that resolves the finding.
    pub remedy: String,
}

impl From<&manifest::Finding> for Finding {
    fn from(finding: &manifest::Finding) -> Self {
        Self {
            severity: match finding.severity {
                manifest::Severity::Info => Severity::Info,
                manifest::Severity::Warning => Severity::Warning,
                manifest::Severity::Error => Severity::Error,
            },
            object: finding.object.clone(),
            cause: finding.cause.clone(),
            remedy: finding.remedy.clone(),
        }
    }
}

/// Returns the printed form of all `findings`.
#[must_use]
pub fn printed(findings: &[manifest::Finding]) -> Vec<Finding> {
    findings.iter().map(Finding::from).collect()
}

/// Returns the worst severity, if there are findings.
#[must_use]
pub fn worst(findings: &[Finding]) -> Option<Severity> {
    findings.iter().map(|f| f.severity).max()
}

/// Returns the exit code for the worst severity.
#[must_use]
pub fn exit_of(worst: Option<Severity>) -> Exit {
    match worst {
        None | Some(Severity::Info) => Exit::Complete,
        Some(Severity::Warning) => Exit::Warnings,
        Some(Severity::Error) => Exit::Damaged,
    }
}

/// Writes findings as a table.
pub fn table(page: &mut Page, findings: &[Finding]) {
    let rows = findings.iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
        };
        [
            severity.to_owned(),
            finding.object.clone(),
            finding.cause.clone(),
            finding.remedy.clone(),
        ]
    });
    page.table(["SEVERITY", "OBJECT", "CAUSE", "REMEDY"], rows);
}
