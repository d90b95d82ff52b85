//! Gaps of a restore point, each with the older restore point that has the missing data.

use std::collections::BTreeMap;

use backup_core::format::gaps::Gap;
use backup_core::format::manifest::{Finding, Severity};
use backup_core::id::{ComponentName, RestorePointId};

/// Gap of a restore point, with the restore point that has the missing data.
#[derive(Debug, Clone)]
pub struct LocatedGap {
    /// Gap.
    pub gap: Gap,
    /// Newest older restore point that has it.
    pub whole_in: Option<RestorePointId>,
}

impl LocatedGap {
    /// Locates `gaps` with the newest older restore point that has each component whole.
    pub(super) fn locate(
        gaps: &[Gap],
        whole: &BTreeMap<ComponentName, RestorePointId>,
    ) -> Vec<Self> {
        let located = gaps.iter().map(|gap| Self {
            gap: gap.clone(),
            whole_in: whole.get(&gap.component).cloned(),
        });
        located.collect()
    }

    /// Converts `gaps` where no older restore point can be searched.
    #[must_use]
    pub fn unlocated(gaps: &[Gap]) -> Vec<Self> {
        Self::locate(gaps, &BTreeMap::new())
    }

    /// Describes the gap and its cause.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("the restore point lacks {}: {}", self.gap, self.gap.cause)
    }

    /// Names the restore point that has it; `again` is the command that takes a restore point's id.
    #[must_use]
    pub fn remedy(&self, again: &str) -> String {
        let component = &self.gap.component;
        match &self.whole_in {
            Some(id) => format!(
                "the newest older restore point whose component `{component}` has what is missing is \
                 {id}: `{again} {id}`"
            ),
            None => format!(
                "no older restore point has it: see to the cause, then `backupd snapshot --component \
                 {component}`"
            ),
        }
    }

    /// Converts the gap into a finding.
    #[must_use]
    pub fn finding(&self, severity: Severity, again: &str) -> Finding {
        Finding::new(
            severity,
            self.gap.component.to_string(),
            self.describe(),
            self.remedy(again),
        )
    }
}
