//! Newer restore points that a search passed over, and the line about them.

use backup_core::catalog::RestorePoint;
use backup_core::format::gaps::{self, Gap};
use backup_core::id::RestorePointId;

use super::Requirement;

/// Newer restore points that were passed over because of gaps.
#[derive(Default)]
pub(super) struct SkippedPoints {
    count: usize,
    /// Newest of them, with the reason.
    pub(super) newest: Option<(RestorePointId, String)>,
}

impl SkippedPoints {
    /// Records a restore point that was passed over; `gaps` are its gaps.
    pub(super) fn over(&mut self, point: &RestorePoint, gaps: &[Gap]) {
        self.count = self.count.saturating_add(1);
        let told = || {
            if !gaps.is_empty() {
                return format!("lacks {}", gaps::line(gaps));
            }
            let components = point.manifest.components.iter();
            let has: Vec<_> = components.map(|c| c.name.to_string()).collect();
            if has.is_empty() {
                "has nothing alone".to_owned()
            } else {
                format!("has {} alone", has.join(", "))
            }
        };
        self.newest
            .get_or_insert_with(|| (point.entry.id.clone(), told()));
    }

    /// Returns the line about `found` and the restore points that were passed over for it.
    pub(super) fn warning(&self, found: &RestorePoint, needs: &Requirement) -> Option<String> {
        let (newest, told) = self.newest.as_ref()?;
        let (id, words) = (&found.entry.id, needs.words());
        let newer = if self.count == 1 {
            format!("newer {newest}, which {told}")
        } else {
            format!("{} newer ones, as {newest}, which {told}", self.count)
        };
        Some(format!("latest with {words} is {id}; passed over {newer}"))
    }
}
