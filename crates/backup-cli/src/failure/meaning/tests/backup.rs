//! Exit codes of the errors of a run.

use backup_core::crypt::{SealError, SigningError};
use backup_core::etcd::SnapshotError;
use backup_core::format::pack::PackError;
use backup_core::id::ClusterName;

use super::clients::{config, selector};
use super::*;

fn cluster() -> ClusterName {
    "management".parse().unwrap()
}

fn backup_errors() -> Vec<(BackupError, Exit)> {
    vec![
        (
            BackupError::NoMember {
                attempts: Vec::new(),
            },
            Exit::Failed,
        ),
        (BackupError::Source(source_of(boxed())), Exit::Failed),
        (
            BackupError::Source(source_of(Box::new(selector()))),
            Exit::Usage,
        ),
        (nothing(Vec::new()), Exit::Failed),
        (nothing(vec![BackupError::Cancelled]), Exit::Interrupted),
        (
            nothing(vec![BackupError::Cancelled, BackupError::Cancelled]),
            Exit::Interrupted,
        ),
        (
            nothing(vec![
                BackupError::Source(source_of(Box::new(selector()))),
                BackupError::Source(source_of(Box::new(config()))),
            ]),
            Exit::Usage,
        ),
        (
            nothing(vec![
                BackupError::Cancelled,
                BackupError::Source(source_of(Box::new(config()))),
            ]),
            Exit::Failed,
        ),
        (
            nothing(vec![
                BackupError::Source(source_of(boxed())),
                BackupError::Cancelled,
            ]),
            Exit::Failed,
        ),
        (
            BackupError::TwoClusters {
                etcd: text(),
                api: text(),
            },
            Exit::Refused,
        ),
        (
            BackupError::Snapshot {
                origin: text(),
                source: SnapshotError::Empty,
            },
            Exit::Failed,
        ),
        (
            BackupError::ReadFile {
                file: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (
            BackupError::Store {
                key: key(),
                source: store_error(),
            },
            Exit::Failed,
        ),
        (
            BackupError::Read {
                what: "x",
                source: store_error(),
            },
            Exit::Failed,
        ),
        (
            BackupError::Claimed {
                store: text(),
                owner: cluster(),
                since: Timestamp::UNIX_EPOCH,
                cluster: cluster(),
            },
            Exit::Refused,
        ),
        (
            BackupError::OwnerMarker {
                store: text(),
                key: key(),
                source: format_error(),
            },
            Exit::Damaged,
        ),
        (
            BackupError::NotWriteOnce {
                store: text(),
                answer: "x",
            },
            Exit::Refused,
        ),
        (BackupError::Lost { key: key() }, Exit::Failed),
        (BackupError::Removed { key: key() }, Exit::Failed),
        (BackupError::Conflict { key: key() }, Exit::Damaged),
        (BackupError::Seal(SealError::NoRecipient), Exit::Failed),
        (
            BackupError::Pack(PackError::Format(format_error())),
            Exit::Failed,
        ),
        (BackupError::Format(format_error()), Exit::Failed),
        (
            BackupError::Sign(SigningError::Unreadable { name: text() }),
            Exit::Failed,
        ),
        (BackupError::Stage(io_error()), Exit::Failed),
        (BackupError::Panicked(join_error()), Exit::Failed),
        (BackupError::Cancelled, Exit::Interrupted),
    ]
}

fn nothing(failures: Vec<BackupError>) -> BackupError {
    BackupError::Nothing {
        failures: failures.into_iter().map(|e| (component(), e)).collect(),
        known: vec![text()],
    }
}

#[test]
fn every_error_of_a_backup_has_its_exit_code() {
    check(backup_errors());
}
