//! Where plain bytes come from.

use std::fmt::Debug;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

pub mod talos;

/// A stream of plain bytes in blocks of up to a few hundred KiB.
///
/// Its end says nothing about completeness: only the snapshot's own trailer does.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// A member that a snapshot may be taken from, with what its server told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node's address as configured, without port.
    pub node: String,
    /// The member's name, if the server told.
    pub member_name: Option<String>,
    /// The member's id, if the server told.
    pub member_id: Option<u64>,
    /// The version of its etcd server, if told.
    pub etcd_version: Option<String>,
    /// The version of Talos, if told.
    pub talos_version: Option<String>,
    /// Whether it leads, if told.
    pub leader: Option<bool>,
    /// What a person should know of this member: an alarm, a lag, a call that was refused.
    pub warnings: Vec<String>,
}

/// Gives etcd snapshots of one cluster.
#[async_trait]
pub trait SnapshotSource: Debug + Send + Sync {
    /// The members to try, best first; never empty.
    ///
    /// # Errors
    /// When no member can be asked at all; names each and why.
    async fn candidates(&self) -> Result<Vec<Candidate>, SourceError>;

    /// Begins a snapshot of `candidate`.
    ///
    /// # Errors
    /// When the member refuses or cannot be reached. Later failures come in the stream.
    async fn open(&self, candidate: &Candidate) -> Result<ByteStream, SourceError>;
}

/// What went wrong at a source.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct SourceError {
    /// What was tried, at which node, and what to do about it, without the cause.
    pub operation: String,
    /// Whether another member may do better.
    pub try_other_member: bool,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
