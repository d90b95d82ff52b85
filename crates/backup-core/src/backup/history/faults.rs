//! Findings about earlier restore points.

use crate::catalog::{CatalogEntry, Exclusions, HiddenPoint};
use crate::format::manifest::{Finding, Severity};
use crate::id::RestorePointId;
use crate::store::StoreError;

pub(super) fn archived(id: &str, source: &StoreError) -> Finding {
    Finding::warning(
        format!("restore point {id}"),
        format!("nothing is built upon it: {source}"),
        "end the lifecycle rule that archives what is below this prefix",
    )
}

pub(super) fn distrusted(id: &str, cause: String) -> Finding {
    Finding::warning(
        format!("restore point {id}"),
        cause,
        "find out who wrote or changed it: `restore-cli audit`",
    )
}

/// Returns one finding for each reason why restore points do not count.
pub(super) fn exclusions(exclusions: &Exclusions, future: &[CatalogEntry]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some((newest, verdict)) = exclusions.distrusted_newest() {
        let more = match exclusions.distrusted() {
            0 | 1 => String::new(),
            n => format!(", nor are {} more,", n.saturating_sub(1)),
        };
        let cause = format!(
            "it is not signed by this run's key{more} so nothing is built upon it: its manifest is {verdict}"
        );
        found.push(distrusted(newest.as_str(), cause));
    }
    if let Some(last) = future.first() {
        found.push(Finding::error(
            format!("restore point {}", last.id),
            format!(
                "its name has a time in the future, one of {} such names: nothing is built upon it, and it \
                 does not count as the newest",
                future.len()
            ),
            "set the clocks of the machines that write here; if none was wrong, somebody else put it \
             there: `restore-cli audit`",
        ));
    }
    found
}

pub(super) fn lost_parent(newest: &RestorePointId, parent: &RestorePointId) -> Finding {
    Finding::error(
        format!("restore point {parent}"),
        format!("it is not listed any more, and {newest} was built upon it"),
        "find out who deleted it, or whether the store cuts its listings short: `restore-cli audit`",
    )
}

/// Returns the finding that no restore point is left. It is a warning for a single one, which may belong to a
/// first run that died early.
pub(super) fn gone(last: &HiddenPoint, count: usize) -> Finding {
    Finding::new(
        if count > 1 {
            Severity::Error
        } else {
            Severity::Warning
        },
        format!("restore point {}", last.id),
        format!(
            "no restore point is listed, and signatures name {count}: {}",
            last.describe()
        ),
        "find out who deleted them, and put them back from a replica; a kit that was with them has to \
         be added again: `backupd kit add FILE…`",
    )
}
