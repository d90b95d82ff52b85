//! Traits of the sources that a backup reads: etcd snapshots, archives, facts about a cluster.
//!
//! `cluster-client` implements them.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

mod archive;
mod cluster;
mod snapshot;

pub use archive::{ArchiveReport, ArchiveSink, ArchiveSource, ObjectTap};
pub use cluster::{ClusterSource, ComponentReport};
pub use snapshot::{Candidate, Members, SnapshotSource, UnusableMember};

/// A stream of plain bytes in blocks of up to a few hundred KiB.
///
/// The end of the stream does not prove completeness: only the snapshot's own trailer does.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// Failure of a source.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct SourceError {
    /// Operation, node, and what to do about the failure; without the cause.
    pub operation: String,
    /// Whether another member may succeed.
    pub try_other_member: bool,
    /// Cause of the failure.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
