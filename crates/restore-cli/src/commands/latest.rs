//! Search for the restore point that a command needs, with the failures of the search.

use backup_cli::exit::Exit;
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

/// Makes a failure of a search for a restore point, with its exit code.
pub(super) fn not_found(error: PointError) -> Failure {
    match error {
        PointError::Catalog(error) => refused(error),
        PointError::Interrupted => Failure::new(Exit::Interrupted, error),
        PointError::NoneTrusted { .. } => Failure::new(Exit::Refused, error).hint(TRUST),
        PointError::NoneCounts { .. } => Failure::new(Exit::NotFound, error)
            .hint("set the clock of this machine, or name one of `restore-cli list`"),
        PointError::NoData { .. } => Failure::new(Exit::NotFound, error)
            .hint("`restore-cli list` shows what each of them has"),
    }
}
