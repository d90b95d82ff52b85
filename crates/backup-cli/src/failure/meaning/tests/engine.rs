//! Exit codes of the errors of stores, catalogues, reads and sweeps.

use backup_core::archive::ArchiveError;
use backup_core::crypt::{SealError, Verdict};
use backup_core::etcd::SnapshotError;
use backup_core::format::pack::PackError;
use backup_core::store::ArchiveState;

use super::*;

pub(super) fn store_errors() -> Vec<(StoreError, Exit)> {
    let (store, operation) = (text, text);
    vec![
        (
            StoreError::NotFound {
                store: store(),
                key: key(),
            },
            Exit::Damaged,
        ),
        (StoreError::NoBucket { store: store() }, Exit::Failed),
        (
            StoreError::NoCredentials {
                store: store(),
                operation: operation(),
                source: boxed(),
            },
            Exit::Failed,
        ),
        (
            StoreError::Credentials {
                store: store(),
                operation: operation(),
                source: boxed(),
            },
            Exit::Failed,
        ),
        (
            StoreError::Forbidden {
                store: store(),
                operation: operation(),
                source: boxed(),
            },
            Exit::Failed,
        ),
        (
            StoreError::Retained {
                store: store(),
                key: key(),
                source: boxed(),
            },
            Exit::Failed,
        ),
        (
            StoreError::Archived {
                store: store(),
                key: key(),
                archived: Box::new(ArchiveState {
                    class: text(),
                    copied: false,
                    remedy: text(),
                }),
            },
            Exit::Damaged,
        ),
        (
            StoreError::Checksum {
                store: store(),
                key: key(),
            },
            Exit::Failed,
        ),
        (
            StoreError::TooLarge {
                store: store(),
                key: key(),
                size: 1,
            },
            Exit::Damaged,
        ),
        (
            StoreError::NoSpace {
                store: store(),
                operation: operation(),
            },
            Exit::Failed,
        ),
        (
            StoreError::Unavailable {
                store: store(),
                operation: operation(),
                tries: 1,
                source: boxed(),
            },
            Exit::Failed,
        ),
        (
            StoreError::Other {
                store: store(),
                operation: operation(),
                source: boxed(),
            },
            Exit::Failed,
        ),
    ]
}

pub(super) fn catalog_errors() -> Vec<(CatalogError, Exit)> {
    vec![
        (
            CatalogError::Store {
                store: text(),
                source: store_error(),
            },
            Exit::Failed,
        ),
        (
            CatalogError::Changed {
                id: id(),
                expected: Digest::of(b"x"),
                found: Digest::of(b"y"),
            },
            Exit::Damaged,
        ),
        (
            CatalogError::Renamed {
                id: id(),
                real: id(),
            },
            Exit::Damaged,
        ),
        (
            CatalogError::Manifest {
                id: id(),
                source: format_error(),
            },
            Exit::Damaged,
        ),
        (
            CatalogError::Distrusted {
                id: id(),
                verdict: Verdict::Unsigned,
            },
            Exit::Refused,
        ),
        (
            CatalogError::NoSuch {
                store: text(),
                wanted: text(),
                hint: text(),
            },
            Exit::NotFound,
        ),
        (
            CatalogError::Ambiguous {
                wanted: text(),
                count: 2,
                first: id(),
                second: id(),
            },
            Exit::NotFound,
        ),
    ]
}

fn archive_error() -> ArchiveError {
    ArchiveError::Json {
        path: text(),
        line: 1,
        column: 1,
    }
}

pub(super) fn restore_errors() -> Vec<(RestoreError, Exit)> {
    let mut errors = vec![
        (
            RestoreError::WrongIdentity {
                id: id(),
                given: 1,
                recipients: Vec::new(),
            },
            Exit::Usage,
        ),
        (
            RestoreError::Closed {
                component: component(),
                recipients: Vec::new(),
            },
            Exit::Usage,
        ),
        (
            RestoreError::NoComponent {
                id: id(),
                wanted: component(),
                has: Vec::new(),
            },
            Exit::NotFound,
        ),
        (RestoreError::Changed { key: key() }, Exit::Damaged),
        (
            RestoreError::KeyObject {
                key: key(),
                source: SealError::NoRecipient,
            },
            Exit::Damaged,
        ),
        (
            RestoreError::Format {
                key: key(),
                source: format_error(),
            },
            Exit::Damaged,
        ),
        (
            RestoreError::Pack {
                key: key(),
                source: PackError::Format(format_error()),
            },
            Exit::Damaged,
        ),
        (
            RestoreError::Mismatch {
                component: component(),
                what: text(),
            },
            Exit::Damaged,
        ),
        (
            RestoreError::Snapshot {
                component: component(),
                source: SnapshotError::Empty,
            },
            Exit::Damaged,
        ),
        (
            RestoreError::NoObjects {
                component: component(),
            },
            Exit::NotFound,
        ),
        (
            RestoreError::Archive {
                component: component(),
                source: archive_error(),
            },
            Exit::Damaged,
        ),
        (
            RestoreError::File {
                operation: "x",
                file: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (RestoreError::Panicked(join_error()), Exit::Failed),
        (RestoreError::Cancelled, Exit::Interrupted),
    ];
    for (source, exit) in store_errors() {
        let error = RestoreError::Store {
            id: id(),
            key: key(),
            source,
        };
        errors.push((error, exit));
    }
    errors
}

pub(super) fn local_snapshot_errors() -> Vec<(LocalSnapshotError, Exit)> {
    vec![
        (
            LocalSnapshotError::Read {
                file: text(),
                source: io_error(),
            },
            Exit::Failed,
        ),
        (
            LocalSnapshotError::Snapshot {
                file: text(),
                source: SnapshotError::Empty,
            },
            Exit::Damaged,
        ),
        (LocalSnapshotError::NotRaw { file: text() }, Exit::Usage),
        (LocalSnapshotError::Panicked(join_error()), Exit::Failed),
    ]
}

#[test]
fn every_error_of_the_engine_has_its_exit_code() {
    check(
        store_errors()
            .into_iter()
            .map(|(e, _)| (e, Exit::Failed))
            .collect(),
    );
    check(catalog_errors());
    let audit = |(error, exit)| (AuditError::Catalog(error), exit);
    check(catalog_errors().into_iter().map(audit).collect());
    let sweep = |(error, exit)| (OrphanError::Catalog(error), exit);
    check(catalog_errors().into_iter().map(sweep).collect());
    let (key, what) = (text(), text());
    let source = store_error();
    check(vec![(AuditError::Store { key, source }, Exit::Failed)]);
    let source = store_error();
    check(vec![(OrphanError::Store { what, source }, Exit::Failed)]);
    check(vec![
        (ProxyError::NoAddress { named: text() }, Exit::Usage),
        (ProxyError::SocksForS3 { named: text() }, Exit::Usage),
    ]);
    check(restore_errors());
    check(local_snapshot_errors());
}
