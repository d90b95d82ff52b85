use std::io;

use backup_core::digest::Digest;
use backup_core::format::FormatError;
use backup_core::id::{ComponentName, RestorePointId};
use backup_core::source::SourceError;
use backup_core::store::{Key, StoreError};
use jiff::Timestamp;

use super::*;

mod backup;
mod clients;
mod engine;
mod orchestrate;
mod restore;

fn text() -> String {
    "x".to_owned()
}

fn io_error() -> io::Error {
    io::Error::other("x")
}

fn boxed() -> Box<dyn Error + Send + Sync> {
    "x".into()
}

fn key() -> Key {
    "claim.json".parse().unwrap()
}

fn id() -> RestorePointId {
    RestorePointId::new(Timestamp::UNIX_EPOCH, Digest::of(b"x"))
}

fn component() -> ComponentName {
    "resources".parse().unwrap()
}

fn format_error() -> FormatError {
    FormatError::Damaged {
        object: "recipe",
        what: text(),
    }
}

fn join_error() -> tokio::task::JoinError {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        task.await.unwrap_err()
    })
}

fn store_error() -> StoreError {
    StoreError::NoBucket { store: text() }
}

fn source_of(source: Box<dyn Error + Send + Sync>) -> SourceError {
    SourceError {
        operation: text(),
        try_other_member: false,
        source: Some(source),
    }
}

/// Compares the exit code of each error, alone and under a context.
fn check<E: Error + Send + Sync + 'static>(errors: Vec<(E, Exit)>) {
    for (error, exit) in errors {
        let what = format!("{error:?}");
        let error = anyhow::Error::new(error);
        assert_eq!(exit_of(&error), exit, "{what}");
        assert_eq!(exit_of(&error.context("while")), exit, "{what}");
    }
}

#[test]
fn an_error_without_a_class_is_a_failure() {
    assert_eq!(exit_of(&anyhow::anyhow!("anything")), Exit::Failed);
}
