//! Objects of a cluster that are kept between runs, as runs and watches see them.
//!
//! Kept objects make a restore point cheaper and never change its content: without them, and in any doubt
//! about them, everything is listed. Runs and watches reach the keeper of the objects only through this
//! module.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::kind::Kind;
use super::list::Page;
use super::request::Api;
use backup_core::archive::ResourceName;

mod none;
mod run;

use none::NoObjects;
pub use run::KeptObjectsUse;

/// Kept objects of one cluster; see the module.
#[derive(Debug, Clone)]
pub struct KeptObjects(Arc<dyn ObjectKeeper>);

/// Amount of kept data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptStats {
    /// Number of objects whose bodies need not be read again.
    pub objects: u64,
    /// Size of the scratch file.
    pub bytes: u64,
    /// Number of lists that differed from the changes that the watches reported.
    pub drifted: u64,
}

impl KeptObjects {
    /// Keeps no objects: every run lists everything.
    #[must_use]
    pub fn none() -> Self {
        Self::by(Arc::new(NoObjects))
    }

    /// Creates the view of the objects that `keeper` keeps.
    pub(super) fn by(keeper: Arc<dyn ObjectKeeper>) -> Self {
        Self(keeper)
    }

    /// Discards everything, because other watches will start.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Returns the amount of kept data.
    #[must_use]
    pub fn stats(&self) -> KeptStats {
        self.0.stats()
    }

    pub(super) fn keeper(&self) -> &dyn ObjectKeeper {
        self.0.as_ref()
    }
}

/// Keeper of objects between runs. It hears of every change from the watches, and of every list from the
/// runs.
#[async_trait]
pub(super) trait ObjectKeeper: std::fmt::Debug + Send + Sync {
    /// Discards everything, because other watches will start.
    fn clear(&self);

    /// Returns the amount of kept data.
    fn stats(&self) -> KeptStats;

    // Reports of the watches.

    /// Records that the watch on `kind` starts at `place`: all changes from there on will be reported.
    fn watch_started(&self, kind: &Kind, place: &str);

    /// Records that the watch on `kind` is connected. If it was interrupted, `now` is the current revision,
    /// and the watch is complete once it has reached it.
    fn connected(&self, kind: &Kind, now: Option<&str>);

    /// Records that the watch on `kind` is interrupted.
    fn disconnected(&self, kind: &Kind);

    /// Records that the watch on `kind` ended or lost its position.
    fn watch_ended(&self, kind: &ResourceName);

    /// Records that the watch on `kind` has reached `revision`, and the `object` (`NAMESPACE/NAME`) that was
    /// created or changed at that revision, or deleted if the flag is set.
    fn report(&self, kind: &Kind, revision: &str, object: Option<(String, bool)>);

    /// Records that the kind defined by `definition` may be rendered differently from now on.
    fn definition_changed(&self, definition: &str);

    // Queries of the runs.

    /// Starts a run on the cluster `uid` and this version of its API server.
    async fn run_started(self: Arc<Self>, uid: &str, version: &str);

    /// Returns all objects of `kind` as they are now, or the reason why a list is needed.
    async fn pages(self: Arc<Self>, api: &Api, kind: &Kind) -> Result<Box<dyn KeptPages>, String>;

    /// Starts recording a list of `kind` that is about to be read; `None` if it cannot be kept.
    fn recorder(self: Arc<Self>, kind: &Kind) -> Option<Box<dyn ListRecorder>>;

    /// Records that the kept objects of `kind` could not be read back.
    fn unreadable(&self, kind: &ResourceName, error: &io::Error);
}

/// Pages of the kept objects of a kind, in the form that a list has.
#[async_trait]
pub(super) trait KeptPages: Send + Sync {
    /// Returns the next page; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Page>>;

    /// Returns the revision up to which the watch had reported.
    fn place(&self) -> u64;

    /// Returns the number of objects that were read again.
    fn fetched(&self) -> u64;

    /// Returns the number of objects that were deleted.
    fn gone(&self) -> u64;
}

/// Recorder of the objects of one list. If it is dropped before the end, nothing is kept.
#[async_trait]
pub(super) trait ListRecorder: Send + Sync {
    /// Records an object; they come in the order of their names (`NAMESPACE/NAME`).
    fn object(&mut self, name: &str, revision: &str, json: &Bytes);

    /// Writes the objects recorded since the last call.
    async fn flush(&mut self);

    /// Completes the list. Waits at most until `deadline` for outstanding reports of the watches.
    async fn finish(self: Box<Self>, deadline: Instant) -> Result<Drift, RecordFailure>;
}

/// Reason why a list is not kept.
#[derive(Debug)]
pub(super) enum RecordFailure {
    /// Writing to the scratch file failed.
    Scratch(String),
    /// The list cannot be kept.
    Odd(&'static str),
}

/// Difference between a recorded list and the reports of the watches.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Number of objects that differ.
    pub(super) objects: usize,
    /// Name of the first of them.
    pub(super) first: String,
}
