//! Newest restore point of each component, and the newest that has the component whole.

use std::collections::BTreeMap;

use crate::catalog::RestorePoint;
use crate::format::gaps::{Gap, line};
use crate::format::manifest::Finding;
use crate::id::{ComponentName, RestorePointId};

/// See the module. Restore points must be added oldest first.
#[derive(Default)]
pub(super) struct ComponentStates(BTreeMap<ComponentName, ComponentRecency>);

#[derive(Default)]
struct ComponentRecency {
    /// Newest restore point that has the component whole.
    whole: Option<RestorePointId>,
    /// Newer restore point without the whole component, and the gaps in it.
    partial: Option<(RestorePointId, Vec<Gap>)>,
}

impl ComponentStates {
    pub(super) fn add(&mut self, point: &RestorePoint) {
        let manifest = &point.manifest;
        let there = manifest.components.iter().map(|c| &c.name);
        for name in there.chain(&manifest.missing) {
            let newest = self.0.entry(name.clone()).or_default();
            let gaps = manifest.gaps_of(name);
            if gaps.is_empty() {
                newest.whole = Some(point.entry.id.clone());
                newest.partial = None;
            } else {
                newest.partial = Some((point.entry.id.clone(), gaps));
            }
        }
    }

    pub(super) fn findings(self) -> Vec<Finding> {
        let partial = self.0.into_iter().filter_map(|(name, newest)| {
            let (id, gaps) = newest.partial?;
            let first = gaps.first()?;
            let cause = format!(
                "the newest restore point of component `{name}` is not whole: it lacks {} ({})",
                line(&gaps),
                first.cause
            );
            Some(match newest.whole {
                Some(whole) => Finding::warning(
                    id.to_string(),
                    cause,
                    format!(
                        "fix the cause, then `backupd snapshot --component {name}`; until then the newest \
                         that has it whole is {whole}"
                    ),
                ),
                None => Finding::error(
                    id.to_string(),
                    cause,
                    format!(
                        "no restore point has it whole: fix the cause, then `backupd snapshot --component \
                         {name}`"
                    ),
                ),
            })
        });
        partial.collect()
    }
}
