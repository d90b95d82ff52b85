//! Exit codes of the errors of a restore's parts.

use std::time::Duration;

use backup_core::etcd::SnapshotError;
use cluster_client::kube::WriteError;
use cluster_client::talos::nodes::UploadError;
use cluster_restore::etcd::WipeCommand;
use cluster_restore::git::GitError;
use cluster_restore::quiesce::QuiesceError;
use cluster_restore::velero::VeleroError;

use super::clients::{config, kube_errors};
use super::engine::{local_snapshot_errors, restore_errors};
use super::*;

fn wipe() -> WipeCommand {
    WipeCommand {
        command: text(),
        destroys: text(),
    }
}

pub(super) fn etcd_errors() -> Vec<(EtcdRestoreError, Exit)> {
    let (node, event) = (text, text);
    vec![
        (
            EtcdRestoreError::Blocked { causes: Vec::new() },
            Exit::Refused,
        ),
        (
            EtcdRestoreError::OtherTarget { difference: text() },
            Exit::Refused,
        ),
        (
            EtcdRestoreError::Upload {
                node: node(),
                source: UploadError::Read(io_error()),
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::NotReady {
                node: node(),
                why: text(),
                within: Duration::ZERO,
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::OtherRuns {
                node: node(),
                wipe: wipe(),
            },
            Exit::Refused,
        ),
        (
            EtcdRestoreError::Failed {
                node: node(),
                event: event(),
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::Dirty {
                node: node(),
                event: event(),
                wipe: wipe(),
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::TooLong {
                node: node(),
                state: text(),
                within: Duration::ZERO,
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::NotReadBack {
                node: node(),
                source: source_of(boxed()),
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::NotSound {
                node: node(),
                source: SnapshotError::Empty,
            },
            Exit::Failed,
        ),
        (
            EtcdRestoreError::OtherData {
                node: node(),
                difference: text(),
                wipe: wipe(),
            },
            Exit::Refused,
        ),
        (EtcdRestoreError::Log(boxed()), Exit::Failed),
    ]
}

fn datastore_errors() -> Vec<(DatastoreError, Exit)> {
    let mut errors = vec![
        (DatastoreError::Exists { folder: text() }, Exit::Refused),
        (DatastoreError::NoParent { folder: text() }, Exit::Usage),
        (
            DatastoreError::NoTool {
                program: text(),
                source: io_error(),
            },
            Exit::Usage,
        ),
        (
            DatastoreError::OlderTool {
                program: text(),
                tool: text(),
                data: text(),
            },
            Exit::Refused,
        ),
        (
            DatastoreError::TooLong {
                program: text(),
                seconds: 1,
            },
            Exit::Failed,
        ),
        (
            DatastoreError::Refused {
                program: text(),
                said: text(),
                folder: text(),
            },
            Exit::Failed,
        ),
        (
            DatastoreError::OtherRevision {
                folder: text(),
                found: 1,
                wanted: 2,
            },
            Exit::Damaged,
        ),
        (
            DatastoreError::Left {
                file: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
    ];
    for (error, exit) in restore_errors() {
        errors.push((DatastoreError::Restore(error), exit));
    }
    for (error, exit) in local_snapshot_errors() {
        errors.push((DatastoreError::Hold(error), exit));
    }
    errors
}

pub(super) fn recover_errors() -> Vec<(RecoverError, Exit)> {
    let (operation, file) = ("x", text);
    let mut errors = vec![
        (
            RecoverError::Scratch {
                folder: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (RecoverError::NoObjects { id: id() }, Exit::NotFound),
        (
            RecoverError::NoTenant {
                wanted: text(),
                known: Vec::new(),
            },
            Exit::Usage,
        ),
        (RecoverError::TooMany { most: 1 }, Exit::Failed),
        (
            RecoverError::NoObject {
                path: text(),
                line: 1,
                column: 1,
            },
            Exit::Failed,
        ),
        (RecoverError::TooDeep { path: text() }, Exit::Failed),
        (
            RecoverError::Journal {
                operation,
                file: file(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (RecoverError::JournalInUse { file: file() }, Exit::Refused),
        (
            RecoverError::Target(WriteError::Malformed { request: text() }),
            Exit::Failed,
        ),
        (
            RecoverError::Quiesce(QuiesceError::StillRuns {
                what: text(),
                left: 1,
                limit: Duration::ZERO,
            }),
            Exit::Failed,
        ),
        (
            RecoverError::Quiesce(QuiesceError::Read {
                what: text(),
                source: config(),
            }),
            Exit::Usage,
        ),
        (
            RecoverError::TargetInUse {
                holder: text(),
                since: Timestamp::UNIX_EPOCH,
            },
            Exit::Refused,
        ),
        (
            RecoverError::PlanFile {
                operation,
                file: file(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (
            RecoverError::NoPlan {
                file: file(),
                what: text(),
            },
            Exit::Usage,
        ),
        (
            RecoverError::PlanOfOtherTool {
                file: file(),
                made_by: text(),
            },
            Exit::Refused,
        ),
        (RecoverError::PlanChanged { file: file() }, Exit::Refused),
        (
            RecoverError::WrongCluster {
                server: text(),
                cause: text(),
                remedy: text(),
            },
            Exit::Refused,
        ),
        (RecoverError::Cancelled, Exit::Interrupted),
        (
            RecoverError::JournalDamaged {
                file: file(),
                line: 1,
                column: 1,
            },
            Exit::Usage,
        ),
    ];
    for (error, exit) in restore_errors() {
        errors.push((RecoverError::Archive(Box::new(error)), exit));
    }
    for (error, exit) in kube_errors() {
        errors.push((RecoverError::Read(error), exit));
    }
    for (error, exit) in velero_errors() {
        errors.push((RecoverError::Velero(error), exit));
    }
    for (error, exit) in git_errors() {
        errors.push((RecoverError::Git(error), exit));
    }
    errors
}

fn velero_errors() -> Vec<(VeleroError, Exit)> {
    let file = text;
    vec![
        (
            VeleroError::Read {
                file: file(),
                source: io_error(),
            },
            Exit::Usage,
        ),
        (
            VeleroError::Folder {
                folder: text(),
                what: text(),
            },
            Exit::Usage,
        ),
        (
            VeleroError::Version {
                file: file(),
                version: text(),
            },
            Exit::Refused,
        ),
        (VeleroError::NoVersion { file: file() }, Exit::Usage),
        (
            VeleroError::Hostile {
                file: file(),
                member: text(),
                what: text(),
            },
            Exit::Refused,
        ),
        (
            VeleroError::Damaged {
                file: file(),
                source: io_error(),
            },
            Exit::Damaged,
        ),
    ]
}

fn git_errors() -> Vec<(GitError, Exit)> {
    vec![
        (
            GitError::Start {
                program: "git",
                source: io_error(),
            },
            Exit::Failed,
        ),
        (
            GitError::Proxy(ProxyError::NoAddress { named: text() }),
            Exit::Usage,
        ),
        (
            GitError::Failed {
                what: text(),
                said: text(),
            },
            Exit::Failed,
        ),
        (
            GitError::Ssh {
                what: text(),
                host: text(),
                why: text(),
                remedy: text(),
            },
            Exit::Failed,
        ),
        (
            GitError::Refused {
                given: text(),
                why: "x",
            },
            Exit::Usage,
        ),
        (
            GitError::NoFolder {
                repository: text(),
                path: text(),
                commit: text(),
            },
            Exit::NotFound,
        ),
        (GitError::TooMuch { what: "x", most: 1 }, Exit::Failed),
        (
            GitError::TooLarge {
                repository: text(),
                most: 1,
                what: "x",
            },
            Exit::Failed,
        ),
        (
            GitError::Read {
                file: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
    ]
}

#[test]
fn every_error_of_a_restore_has_its_exit_code() {
    check(etcd_errors());
    check(datastore_errors());
    check(recover_errors());
    // Alone, as from the mirror, an error of Git has the code of its cause.
    let alone = |(error, _)| match error {
        GitError::Proxy(_) => (error, Exit::Usage),
        _ => (error, Exit::Failed),
    };
    check(git_errors().into_iter().map(alone).collect());
}
