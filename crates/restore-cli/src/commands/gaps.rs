//! Gaps of a restore point, reported with the older restore point that has the missing data.

use backup_cli::failure::Failure;
use backup_core::catalog::RestorePoint;
use backup_core::format::gaps::Gap;
use cluster_restore::orchestrate::LocatedGap;
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

impl From<&LocatedGap> for GapReport {
    fn from(located: &LocatedGap) -> Self {
        let gap = &located.gap;
        Self {
            component: gap.component.to_string(),
            kind: gap.kind().map(ToOwned::to_owned),
            what: gap.to_string(),
            cause: gap.cause.clone(),
            whole_in: located.whole_in.as_ref().map(ToString::to_string),
        }
    }
}

impl GapReport {
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
    ) -> Result<Vec<LocatedGap>, Failure> {
        Ok(self.points.locate(point, gaps).await?)
    }
}
