//! Gaps of a restore point, reported with the older restore point that has the missing data.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup_cli::failure::Failure;
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::format::gaps::Gap;
use backup_core::format::manifest::{Finding, Severity};
use backup_core::id::{ComponentName, RestorePointId};
use serde::Serialize;

use super::OpenedStore;

/// Gap of a restore point as it is printed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GapReport {
    component: String,
    /// Kind, group as `*.GROUP`, or file; absent if the whole component is missing.
    kind: Option<String>,
    what: String,
    cause: String,
    /// Newest older restore point that has it.
    whole_in: Option<String>,
}

impl GapReport {
    fn new(gap: &Gap, whole: &BTreeMap<ComponentName, RestorePointId>) -> Self {
        Self {
            component: gap.component.to_string(),
            kind: gap.kind().map(ToOwned::to_owned),
            what: gap.to_string(),
            cause: gap.cause.clone(),
            whole_in: whole.get(&gap.component).map(ToString::to_string),
        }
    }

    /// Converts `gaps` where no older restore point can be searched.
    pub(super) fn alone(gaps: &[Gap]) -> Vec<Self> {
        let nowhere = BTreeMap::new();
        gaps.iter().map(|gap| Self::new(gap, &nowhere)).collect()
    }

    /// Describes the gap and its cause.
    pub(super) fn told(&self) -> String {
        format!("the restore point lacks {}: {}", self.what, self.cause)
    }

    /// Names the restore point that has it; `again` is the command that takes a restore point's id.
    pub(super) fn instead(&self, again: &str) -> String {
        match &self.whole_in {
            Some(id) => format!(
                "the newest older restore point whose component `{}` has what is missing is {id}: \
                 `{again} {id}`",
                self.component
            ),
            None => format!(
                "no older restore point has it: see to the cause, then `backupd snapshot --component \
                 {}`",
                self.component
            ),
        }
    }

    pub(super) fn finding(&self, severity: Severity, again: &str) -> Finding {
        Finding {
            severity,
            object: self.component.clone(),
            cause: self.told(),
            remedy: self.instead(again),
        }
    }

    pub(super) fn cells(&self) -> [String; 3] {
        let whole = self.whole_in.clone();
        [
            self.what.clone(),
            self.cause.clone(),
            whole.unwrap_or_else(|| "none".to_owned()),
        ]
    }
}

impl OpenedStore {
    /// Returns `gaps` of `point`, each with the newest older restore point that has the missing data.
    pub(super) async fn lacked(
        &self,
        point: &RestorePoint,
        gaps: &[Gap],
    ) -> Result<Vec<GapReport>, Failure> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        let whole = catalog.whole_before(&self.view, &point.entry.id, gaps);
        let whole = whole.await?;
        Ok(gaps.iter().map(|gap| GapReport::new(gap, &whole)).collect())
    }
}
