//! Consequences of a damaged object, reported with the failure to read it.

use std::path::Path;

use backup_cli::failure::Failure;
use backup_core::catalog::RestorePoint;
use backup_core::crypt::Identities;
use backup_core::read::{Damage, RestoreError};
use backup_core::shortlist::comma_and_more;

use super::{OpenedStore, read_failure};

/// Largest number of objects that are named; a restore point whose store lost many names the first.
const NAMED: usize = 3;

impl OpenedStore {
    /// Makes a failure to read `point`, with the loss and the newest older restore point without it. `again`
    /// is the command that takes that restore point's id.
    pub(super) async fn read_failure(
        &self,
        error: RestoreError,
        (point, identities): (&RestorePoint, &Identities),
        scratch: &Path,
        again: &str,
    ) -> Failure {
        let of = (point, identities);
        let damages = self.points.damages(Some(&error), of, scratch).await;
        damaged(error, &damages, again)
    }
}

/// Makes a failure to read a restore point with these damages. `again` is the command that takes another restore
/// point's id.
pub(super) fn damaged(error: RestoreError, damages: &[Damage], again: &str) -> Failure {
    let lines = damages.iter().flat_map(|damage| hints(damage, again));
    lines.fold(read_failure(error), Failure::hint)
}

/// Describes the loss and the objects that cause it.
pub(super) fn lost(damage: &Damage) -> String {
    let objects = damage.objects.iter().take(NAMED);
    let objects: Vec<String> = objects.map(|(key, why)| format!("{key}: {why}")).collect();
    let more = comma_and_more(damage.objects.len().saturating_sub(NAMED));
    format!(
        "of component `{}` is lost: {} ({}{more})",
        damage.component,
        damage.lost,
        objects.join(", ")
    )
}

/// Names the restore point in which the component is whole.
pub(super) fn instead(damage: &Damage, again: &str) -> String {
    match &damage.whole_in {
        Some(id) => format!(
            "the newest older restore point that has component `{}` without what is damaged is {id}: \
             `{again} {id}`",
            damage.component
        ),
        None => format!(
            "no older restore point has component `{}` without what is damaged; put a sound copy of \
             the object back from a replica, or an older version of it",
            damage.component
        ),
    }
}

fn hints(damage: &Damage, again: &str) -> [String; 2] {
    [lost(damage), instead(damage, again)]
}
