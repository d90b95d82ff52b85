//! Findings of a preflight: blockers and warnings.

use backup_core::format::manifest::{Finding, Severity};

/// Findings of a preflight, sorted by their effect on the restore.
#[derive(Default)]
pub(super) struct PreflightFindings {
    pub(super) blockers: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl PreflightFindings {
    /// Adds a finding; an error forbids the restore.
    pub(super) fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.blockers.push(finding),
            Severity::Warning | Severity::Info => self.warnings.push(finding),
        }
    }

    /// Adds a finding about a node.
    pub(super) fn say(
        &mut self,
        severity: Severity,
        node: &str,
        cause: String,
        remedy: impl Into<String>,
    ) {
        self.add(Finding::new(
            severity,
            format!("node {node}"),
            cause,
            remedy,
        ));
    }

    /// Adds a finding that forbids the restore.
    pub(super) fn block(&mut self, node: &str, cause: String, remedy: impl Into<String>) {
        self.say(Severity::Error, node, cause, remedy);
    }

    /// Adds a finding that a person should know first.
    pub(super) fn warn(&mut self, node: &str, cause: String, remedy: impl Into<String>) {
        self.say(Severity::Warning, node, cause, remedy);
    }
}
