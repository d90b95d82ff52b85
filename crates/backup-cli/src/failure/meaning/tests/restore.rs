use std::time::Duration;

use backup_core::etcd::SnapshotError;
use backup_core::format::layout::JournalPart;
use cluster_client::kube::WriteError;
use cluster_client::talos::nodes::UploadError;
use cluster_restore::etcd::WipeCommand;
use cluster_restore::git::GitError;
use cluster_restore::orchestrate::SourceDifference;
use cluster_restore::quiesce::QuiesceError;
use cluster_restore::velero::VeleroError;

use super::clients::{config, kube_errors};
use super::engine::{catalog_errors, local_snapshot_errors, restore_errors};
use super::*;

fn wipe() -> WipeCommand {
    WipeCommand {
        command: text(),
        destroys: text(),
    }
}

fn etcd_errors() -> Vec<(EtcdRestoreError, Exit)> {
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

fn recover_errors() -> Vec<(RecoverError, Exit)> {
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
    // What is wrong with the archive is shown where it is read; here it is a failure of the restore.
    for (error, _) in restore_errors() {
        errors.push((RecoverError::Archive(Box::new(error)), Exit::Failed));
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

fn replica_errors() -> Vec<(ReplicaError, Exit)> {
    let restore = text;
    vec![
        (
            ReplicaError::Store {
                restore: restore(),
                source: store_error(),
            },
            Exit::Failed,
        ),
        (
            ReplicaError::Store {
                restore: restore(),
                source: StoreError::NotFound {
                    store: text(),
                    key: key(),
                },
            },
            Exit::NotFound,
        ),
        (
            ReplicaError::Elsewhere { restore: restore() },
            Exit::Refused,
        ),
        (ReplicaError::NoSuch { restore: restore() }, Exit::NotFound),
        (
            ReplicaError::Damaged {
                restore: restore(),
                part: JournalPart::Plan(1),
                what: "x",
            },
            Exit::Damaged,
        ),
        (
            ReplicaError::File {
                operation: "x",
                file: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
    ]
}

fn point_errors() -> Vec<(PointError, Exit)> {
    let store = text;
    let mut errors = vec![
        (PointError::Interrupted, Exit::Interrupted),
        (
            PointError::NoneTrusted {
                store: store(),
                count: 1,
            },
            Exit::Refused,
        ),
        (
            PointError::NoneCounts {
                store: store(),
                count: 1,
            },
            Exit::NotFound,
        ),
        (
            PointError::NoData {
                store: store(),
                needed: text(),
            },
            Exit::NotFound,
        ),
    ];
    let wrapped = catalog_errors().into_iter();
    errors.extend(wrapped.map(|(error, exit)| (error.into(), exit)));
    errors
}

fn orchestrate_errors() -> Vec<(OrchestrateError, Exit)> {
    let (object, cause, remedy) = (text, text, text);
    let mut errors = vec![
        (OrchestrateError::Interrupted, Exit::Interrupted),
        (OrchestrateError::OtherPoint { id: id() }, Exit::Refused),
        (
            OrchestrateError::Backward {
                forward: id(),
                point: id(),
            },
            Exit::Usage,
        ),
        (OrchestrateError::NoSnapshot { id: id() }, Exit::NotFound),
        (OrchestrateError::NoTenants { id: id() }, Exit::NotFound),
        (OrchestrateError::Identities(boxed()), Exit::Usage),
        (OrchestrateError::NoConsent(boxed()), Exit::Refused),
        (
            OrchestrateError::OtherSource(SourceDifference::Commit {
                repository: text(),
                planned: text(),
                now: text(),
            }),
            Exit::Refused,
        ),
        (OrchestrateError::NoApi, Exit::Usage),
        (OrchestrateError::ApiNotReady, Exit::Failed),
        (OrchestrateError::NoTalos, Exit::Usage),
        (
            OrchestrateError::Nodes(source_of(Box::new(config()))),
            Exit::Usage,
        ),
        (OrchestrateError::Tenants(source_of(boxed())), Exit::Failed),
        (
            OrchestrateError::OtherNodes { difference: text() },
            Exit::Refused,
        ),
        (
            OrchestrateError::EtcdBlocked {
                object: object(),
                cause: cause(),
                remedy: remedy(),
            },
            Exit::Refused,
        ),
        (
            OrchestrateError::PlannedBlocker {
                cause: cause(),
                remedy: remedy(),
            },
            Exit::Refused,
        ),
        (
            OrchestrateError::Blocked {
                count: 1,
                object: object(),
                cause: cause(),
                remedy: remedy(),
            },
            Exit::Refused,
        ),
        (
            OrchestrateError::Changed {
                differences: Vec::new(),
            },
            Exit::Refused,
        ),
        (
            OrchestrateError::Folder {
                folder: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (
            OrchestrateError::OtherPlan {
                plan: text(),
                journal: text(),
            },
            Exit::Refused,
        ),
        (OrchestrateError::SealedJournal, Exit::Refused),
    ];
    let unlocks = restore_errors().into_iter();
    errors.extend(unlocks.map(|(error, exit)| (OrchestrateError::Unlock(error), exit)));
    let reads = restore_errors().into_iter().map(|(error, exit)| {
        let unreadable = OrchestrateError::Unreadable {
            id: id(),
            damages: Vec::new(),
            source: Box::new(error),
        };
        (unreadable, exit)
    });
    errors.extend(reads);
    let apis = kube_errors().into_iter();
    errors.extend(apis.map(|(error, exit)| (OrchestrateError::Api(error), exit)));
    let away = kube_errors().into_iter();
    errors.extend(away.map(|(error, exit)| (OrchestrateError::ApiAway(error), exit)));
    let points = point_errors().into_iter();
    errors.extend(points.map(|(error, exit)| (error.into(), exit)));
    let etcd = etcd_errors().into_iter();
    errors.extend(etcd.map(|(error, exit)| (error.into(), exit)));
    let replicas = replica_errors().into_iter();
    errors.extend(replicas.map(|(error, exit)| (error.into(), exit)));
    let recovers = recover_errors().into_iter().map(|(error, exit)| {
        let unfinished = OrchestrateError::Unfinished {
            journal: "x".into(),
            source: Box::new(error.into()),
        };
        (unfinished, exit)
    });
    errors.extend(recovers);
    errors
}

#[test]
fn every_error_of_a_restore_has_its_exit_code() {
    check(point_errors());
    check(orchestrate_errors());
    check(etcd_errors());
    check(datastore_errors());
    check(recover_errors());
    check(replica_errors());
    // Alone, as from the mirror, an error of Git has the code of its cause.
    let alone = |(error, _)| match error {
        GitError::Proxy(_) => (error, Exit::Usage),
        _ => (error, Exit::Failed),
    };
    check(git_errors().into_iter().map(alone).collect());
}
