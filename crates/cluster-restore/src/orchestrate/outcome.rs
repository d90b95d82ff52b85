//! Outcome of a restore that ran to its end.

use std::path::PathBuf;

use backup_core::format::manifest::Finding;
use backup_core::id::RestorePointId;

use super::{COMPLETE, COMPLETE_OF_PARTIAL, PARTIAL};
use crate::RecoveryReport;
use crate::tenants::TenantCheck;

/// Outcome of a restore; see the module.
#[derive(Debug, Clone)]
pub struct RestoreOutcome {
    /// Name of the restore.
    pub restore: String,
    /// Path of its journal.
    pub journal: PathBuf,
    /// [`COMPLETE`], [`COMPLETE_OF_PARTIAL`] or [`PARTIAL`].
    pub ended: &'static str,
    /// Objects, findings, and what is still stopped.
    pub report: RecoveryReport,
    /// Gaps of the restore point of the objects.
    pub lacks: Vec<Finding>,
    /// Duration in seconds.
    pub seconds: u64,
    /// Tenants, compared with a restore point; `None` where they were not queried.
    pub tenants: Option<TenantsOutcome>,
}

/// Tenants, compared with a restore point.
#[derive(Debug, Clone)]
pub struct TenantsOutcome {
    /// Restore point.
    pub restore_point: RestorePointId,
    /// Result for each tenant.
    pub checks: Vec<TenantCheck>,
}

impl RestoreOutcome {
    pub(super) fn new(
        restore: &str,
        journal: PathBuf,
        report: RecoveryReport,
        seconds: u64,
    ) -> Self {
        Self {
            restore: restore.to_owned(),
            journal,
            ended: if report.is_complete() {
                COMPLETE
            } else {
                PARTIAL
            },
            report,
            lacks: Vec::new(),
            seconds,
            tenants: None,
        }
    }

    /// Adds the gaps of the restore point to a restore that is otherwise done.
    pub(super) fn lacks(&mut self, lacks: Vec<Finding>) {
        if lacks.is_empty() {
            return;
        }
        self.lacks = lacks;
        if self.ended == COMPLETE {
            self.ended = COMPLETE_OF_PARTIAL;
        }
    }
}
