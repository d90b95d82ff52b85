//! Search for the restore point that a command needs, with the failures of the search.

use backup_cli::failure::Failure;
use backup_core::catalog::RestorePoint;
use cluster_restore::orchestrate::{KindRequirement, PointError, Requirement};

use super::{OpenedStore, kinds, refused};

/// Hint for a store without any trusted signature.
pub(super) const TRUST: &str = "give the public key of the daemon that writes here with \
    --trust; `restore-cli audit` shows who vouches for each restore point";

impl OpenedStore {
    /// Finds the restore point that `wanted` names, if it counts. For `latest` it finds the newest that has
    /// the needed data, and reports the restore points that were passed over.
    pub(super) async fn find(
        &self,
        wanted: &str,
        needs: &Requirement,
    ) -> Result<RestorePoint, Failure> {
        self.points.find(wanted, needs).await.map_err(not_found)
    }
}

/// Returns the need for objects of a kind, as `kinds` resolves its name.
pub(super) fn of_kind(name: &str) -> Requirement {
    Requirement::Kind(KindRequirement {
        name: name.to_owned(),
        resolve: |manifest, name| kinds::resolve(&[manifest], name).ok(),
    })
}

/// Makes a failure of a search for a restore point, with a hint where one helps.
pub(super) fn not_found(error: PointError) -> Failure {
    let hint = match error {
        PointError::Catalog(error) => return refused(error),
        PointError::Interrupted => None,
        PointError::NoneTrusted { .. } => Some(TRUST),
        PointError::NoneCounts { .. } => {
            Some("set the clock of this machine, or name one of `restore-cli list`")
        }
        PointError::NoData { .. } => Some("`restore-cli list` shows what each of them has"),
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
