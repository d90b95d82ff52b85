//! Exit codes of the errors of a restore that a program plans, runs or resumes.

use backup_core::format::layout::JournalPart;
use cluster_restore::orchestrate::SourceDifference;

use super::clients::{config, kube_errors};
use super::engine::{catalog_errors, restore_errors};
use super::restore::{etcd_errors, recover_errors};
use super::*;

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
fn every_error_of_the_orchestration_has_its_exit_code() {
    check(point_errors());
    check(orchestrate_errors());
    check(replica_errors());
}
