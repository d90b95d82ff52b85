//! Exit codes of the library's errors, mapped in one place.

use backup_core::audit::AuditError;
use backup_core::backup::BackupError;
use backup_core::catalog::CatalogError;
use backup_core::gc::OrphanError;
use backup_core::proxy::ProxyError;
use backup_core::read::{LocalSnapshotError, RestoreError};
use backup_core::store::StoreError;
use cluster_client::kube::KubeError;
use cluster_client::recovery_files::RecoveryFilesError;
use cluster_client::talos::TalosConfigError;
use cluster_restore::etcd::{DatastoreError, EtcdRestoreError};

use crate::config::ConfigError;
use crate::exit::Exit;

/// Returns the exit code of `error`: that of the outermost cause with a mapped code.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    of_chain(error.chain()).unwrap_or(Exit::Failed)
}

fn of_chain(chain: anyhow::Chain<'_>) -> Option<Exit> {
    chain.into_iter().find_map(meaning)
}

fn meaning(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if cause.is::<ConfigError>()
        || cause.is::<TalosConfigError>()
        || cause.is::<RecoveryFilesError>()
    {
        return Some(Exit::Usage);
    }
    if cause.is::<ProxyError>() {
        return Some(Exit::Usage);
    }
    if let Some(KubeError::Config { .. } | KubeError::Selector { .. }) = cause.downcast_ref() {
        return Some(Exit::Usage);
    }
    if let Some(error) = cause.downcast_ref() {
        return catalog(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(restore(error));
    }
    if let Some(error) = cause.downcast_ref() {
        return backup(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return etcd(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return datastore(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return hold(error);
    }
    match cause.downcast_ref() {
        Some(AuditError::Catalog(error)) => return catalog(error),
        Some(AuditError::Store { .. }) => return None,
        None => {}
    }
    match cause.downcast_ref() {
        Some(OrphanError::Catalog(error)) => catalog(error),
        _ => None,
    }
}

fn catalog(error: &CatalogError) -> Option<Exit> {
    match error {
        CatalogError::NoSuch { .. } | CatalogError::Ambiguous { .. } => Some(Exit::NotFound),
        CatalogError::Changed { .. }
        | CatalogError::Renamed { .. }
        | CatalogError::Manifest { .. } => Some(Exit::Damaged),
        CatalogError::Distrusted { .. } => Some(Exit::Refused),
        CatalogError::Store { .. } => None,
    }
}

fn restore(error: &RestoreError) -> Exit {
    match error {
        // Nothing is wrong with the store: another key or file must be given.
        RestoreError::WrongIdentity { .. } | RestoreError::Closed { .. } => Exit::Usage,
        RestoreError::NoComponent { .. } | RestoreError::NoObjects { .. } => Exit::NotFound,
        RestoreError::Store {
            source:
                StoreError::NotFound { .. } | StoreError::TooLarge { .. } | StoreError::Archived { .. },
            ..
        }
        | RestoreError::Changed { .. }
        | RestoreError::KeyObject { .. }
        | RestoreError::Format { .. }
        | RestoreError::Pack { .. }
        | RestoreError::Mismatch { .. }
        | RestoreError::Snapshot { .. }
        | RestoreError::Archive { .. } => Exit::Damaged,
        RestoreError::Store { .. } | RestoreError::File { .. } | RestoreError::Panicked(_) => {
            Exit::Failed
        }
        RestoreError::Cancelled => Exit::Interrupted,
    }
}

fn etcd(error: &EtcdRestoreError) -> Option<Exit> {
    match error {
        EtcdRestoreError::Blocked { .. }
        | EtcdRestoreError::OtherTarget { .. }
        | EtcdRestoreError::OtherRuns { .. }
        | EtcdRestoreError::OtherData { .. } => Some(Exit::Refused),
        _ => None,
    }
}

fn datastore(error: &DatastoreError) -> Option<Exit> {
    match error {
        DatastoreError::Exists { .. } | DatastoreError::OlderTool { .. } => Some(Exit::Refused),
        DatastoreError::NoParent { .. } | DatastoreError::NoTool { .. } => Some(Exit::Usage),
        DatastoreError::OtherRevision { .. } => Some(Exit::Damaged),
        DatastoreError::Restore(error) => Some(restore(error)),
        DatastoreError::Hold(error) => hold(error),
        _ => None,
    }
}

fn hold(error: &LocalSnapshotError) -> Option<Exit> {
    match error {
        LocalSnapshotError::Snapshot { .. } => Some(Exit::Damaged),
        LocalSnapshotError::NotRaw { .. } => Some(Exit::Usage),
        _ => None,
    }
}

fn backup(error: &BackupError) -> Option<Exit> {
    match error {
        BackupError::Claimed { .. }
        | BackupError::NotWriteOnce { .. }
        | BackupError::TwoClusters { .. } => Some(Exit::Refused),
        BackupError::Conflict { .. } | BackupError::OwnerMarker { .. } => Some(Exit::Damaged),
        BackupError::Cancelled => Some(Exit::Interrupted),
        // A script can act on a code that all components have in common.
        BackupError::Nothing { failures, .. } => {
            let mut codes = failures
                .iter()
                .map(|(_, e)| of_chain(anyhow::Chain::new(e)));
            let first = codes.next().flatten();
            first.filter(|first| codes.all(|code| code == Some(*first)))
        }
        // The cause below may have a mapped code.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_meaning_under_context() {
        let no_such = CatalogError::NoSuch {
            store: "file:///b".to_owned(),
            wanted: "latest".to_owned(),
            hint: String::new(),
        };
        let error = anyhow::Error::new(AuditError::Catalog(no_such)).context("audit");
        assert_eq!(exit_of(&error), Exit::NotFound);
        let error = anyhow::Error::new(BackupError::Cancelled);
        assert_eq!(exit_of(&error), Exit::Interrupted);
        let error = anyhow::Error::new(RestoreError::Cancelled).context("fetch");
        assert_eq!(exit_of(&error), Exit::Interrupted);
        assert_eq!(exit_of(&anyhow::anyhow!("anything")), Exit::Failed);
    }
}
