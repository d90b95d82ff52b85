//! Exit code of an error, by the class that its library gives it.

use std::error::Error;

use backup_core::audit::AuditError;
use backup_core::backup::BackupError;
use backup_core::catalog::CatalogError;
use backup_core::failure::{Classification, Classify, FailureClass};
use backup_core::gc::OrphanError;
use backup_core::proxy::ProxyError;
use backup_core::read::{LocalSnapshotError, RestoreError};
use cluster_client::kube::KubeError;
use cluster_client::recovery_files::RecoveryFilesError;
use cluster_client::talos::TalosConfigError;
use cluster_restore::RecoverError;
use cluster_restore::etcd::{DatastoreError, EtcdRestoreError};
use cluster_restore::journal_replica::ReplicaError;
use cluster_restore::orchestrate::{OrchestrateError, PointError};

use crate::config::ConfigError;
use crate::exit::Exit;

#[cfg(test)]
mod tests;

/// Function that classifies an error of one type.
type Classifier = for<'a> fn(&'a (dyn Error + 'static)) -> Option<Classification<'a>>;

/// Errors whose class decides the exit code, wherever they stand in a chain.
const CLASSIFIED: [Classifier; 17] = [
    classification::<ConfigError>,
    classification::<TalosConfigError>,
    classification::<RecoveryFilesError>,
    classification::<ProxyError>,
    classification::<KubeError>,
    classification::<CatalogError>,
    classification::<RestoreError>,
    classification::<BackupError>,
    classification::<EtcdRestoreError>,
    classification::<DatastoreError>,
    classification::<LocalSnapshotError>,
    classification::<AuditError>,
    classification::<OrphanError>,
    classification::<RecoverError>,
    classification::<ReplicaError>,
    classification::<PointError>,
    classification::<OrchestrateError>,
];

fn classification<'a, E: Classify>(error: &'a (dyn Error + 'static)) -> Option<Classification<'a>> {
    error.downcast_ref::<E>().map(E::classify)
}

/// Returns the exit code of `error`: that of the outermost cause with a class.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    exit(class_of(error.chain()).unwrap_or(FailureClass::Other))
}

fn exit(class: FailureClass) -> Exit {
    match class {
        FailureClass::Usage => Exit::Usage,
        FailureClass::NotFound => Exit::NotFound,
        FailureClass::Damaged => Exit::Damaged,
        FailureClass::Refused => Exit::Refused,
        FailureClass::Interrupted => Exit::Interrupted,
        FailureClass::Other => Exit::Failed,
    }
}

fn class_of(chain: anyhow::Chain<'_>) -> Option<FailureClass> {
    chain.into_iter().find_map(own_class)
}

/// Returns the class of one error of a chain; `None` where its cause decides.
fn own_class(error: &(dyn Error + 'static)) -> Option<FailureClass> {
    match CLASSIFIED.iter().find_map(|classify| classify(error))? {
        Classification::Class(class) => Some(class),
        Classification::OfCause => None,
        Classification::OfAll(errors) => {
            let mut classes = errors.into_iter().map(|e| class_of(anyhow::Chain::new(e)));
            let first = classes.next().flatten();
            first.filter(|first| classes.all(|class| class == Some(*first)))
        }
    }
}
