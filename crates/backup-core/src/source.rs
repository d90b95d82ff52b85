//! Sources of plain data: etcd snapshots and archives of objects or files.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

use crate::archive::{ObjectPath, TarWriter};
use crate::digest::Digest;
use crate::format::export::{ArchiveFacts, KubernetesFacts};
use crate::format::manifest::{EtcdFacts, Finding};
use crate::id::ComponentName;

/// A stream of plain bytes in blocks of up to a few hundred KiB.
///
/// The end of the stream does not prove completeness: only the snapshot's own trailer does.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// A member that a snapshot may be taken from, with what its server reported about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Address of the node as configured, without a port.
    pub node: String,
    /// Name of the member, if reported.
    pub member_name: Option<String>,
    /// Id of the member, if reported.
    pub member_id: Option<u64>,
    /// Version of its etcd server, if reported.
    pub etcd_version: Option<String>,
    /// Version of Talos, if reported.
    pub talos_version: Option<String>,
    /// SHA-256 of each authority certificate that its Talos was verified against; empty for a member
    /// without Talos.
    pub talos_authorities: Vec<Digest>,
    /// Whether it is the leader, if reported.
    pub leader: Option<bool>,
    /// Problems of this member: an alarm, a lag, a call without an answer.
    pub warnings: Vec<String>,
}

/// Members of one cluster, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Members to try, best first; never empty.
    pub candidates: Vec<Candidate>,
    /// Members that were expected and cannot be tried.
    pub unwell: Vec<Unwell>,
    /// Warnings about all of them, or about the connection to them.
    pub warnings: Vec<String>,
    /// Mismatches between the configuration and the members found.
    pub findings: Vec<Finding>,
}

/// A member that was expected and cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwell {
    /// Address of the node, in the form that [`Candidate::node`] has.
    pub node: String,
    /// Reason why it cannot be tried.
    pub cause: String,
}

/// Source of etcd snapshots of one cluster.
#[async_trait]
pub trait SnapshotSource: Debug + Send + Sync {
    /// Queries the state of each member.
    ///
    /// # Errors
    /// When no member can be queried; the error names each member and the reason.
    async fn members(&self) -> Result<Members, SourceError>;

    /// Queries again the candidates of `members` that had no warnings, and returns those that fail now.
    /// Queries only their state, since a query for alarms adds an entry to etcd's log.
    async fn gone(&self, members: &Members) -> Vec<Unwell>;

    /// Starts a snapshot of `candidate`.
    ///
    /// # Errors
    /// When the member refuses or cannot be reached. Later failures arrive in the stream.
    async fn open(&self, candidate: &Candidate) -> Result<ByteStream, SourceError>;
}

/// Source of a component that is an archive of objects or files.
#[async_trait]
pub trait ArchiveSource: Debug + Send + Sync {
    /// Writes the whole archive to `out`, in the order of its paths.
    ///
    /// # Errors
    /// When nothing can be read. A partial failure is a finding.
    async fn write(&self, out: &mut ArchiveSink) -> Result<Written, SourceError>;
}

/// Observer of the objects that are written to an archive.
pub trait ObjectTap: Debug + Send + Sync {
    /// Called for each object, in the order of the archive. It must be quick, since the archive waits;
    /// it handles its own failures.
    fn object(&self, path: &ObjectPath, json: &[u8]);
}

/// Description of an archive, known once it is written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Facts for the manifest.
    pub facts: ArchiveFacts,
    /// Findings about the data that was read.
    pub findings: Vec<Finding>,
}

/// Source of the facts about a cluster that its components do not contain.
#[async_trait]
pub trait ClusterSource: Debug + Send + Sync {
    /// Returns the UID of the namespace `kube-system`.
    fn uid(&self) -> &str;

    /// Returns all other facts; called once all components of the run are `taken`.
    async fn facts(&self, taken: &[Taken]) -> (KubernetesFacts, Vec<Finding>);
}

/// A component that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Name of the component.
    pub name: ComponentName,
    /// Facts read from an etcd snapshot.
    pub etcd: Option<EtcdFacts>,
    /// Facts about an archive.
    pub archive: Option<ArchiveFacts>,
}

/// Sink that accepts an archive block by block, and waits while the later stages are busy.
#[derive(Debug)]
pub struct ArchiveSink {
    tar: TarWriter,
    blocks: mpsc::Sender<Result<Bytes, SourceError>>,
    tap: Option<Arc<dyn ObjectTap>>,
}

/// Blocks of an archive that may wait, each of 256 KiB or of one object.
const BLOCKS: usize = 2;

impl ArchiveSink {
    /// Returns a sink and the stream of the bytes written to it.
    #[must_use]
    pub fn new() -> (Self, ByteStream) {
        let (blocks, taken) = mpsc::channel(BLOCKS);
        let tar = TarWriter::default();
        let stream = tokio_stream::wrappers::ReceiverStream::new(taken);
        let sink = Self {
            tar,
            blocks,
            tap: None,
        };
        (sink, Box::pin(stream))
    }

    /// Shows every following object to `tap`.
    pub fn show_to(&mut self, tap: Arc<dyn ObjectTap>) {
        self.tap = Some(tap);
    }

    /// Adds an object.
    ///
    /// # Errors
    /// When the run has ended.
    pub async fn object(&mut self, path: &ObjectPath, json: &[u8]) -> Result<(), SourceError> {
        self.tar.object(path, json).map_err(not_archived)?;
        if let Some(tap) = &self.tap {
            tap.object(path, json);
        }
        self.hand_on().await
    }

    /// Adds a file that is not an object.
    ///
    /// # Errors
    /// When the run has ended, or the path is too long.
    pub async fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), SourceError> {
        self.tar.file(path, bytes).map_err(not_archived)?;
        self.hand_on().await
    }

    async fn hand_on(&mut self) -> Result<(), SourceError> {
        while let Some(block) = self.tar.block() {
            self.blocks.send(Ok(block)).await.map_err(ended)?;
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the run has ended.
    pub async fn finish(self) -> Result<(), SourceError> {
        let rest = self.tar.finish().map_err(not_archived)?;
        self.blocks.send(Ok(rest)).await.map_err(ended)
    }

    /// Ends the stream with an error.
    pub async fn fail(self, error: SourceError) {
        // A reader that stopped listening has an error of its own.
        self.blocks.send(Err(error)).await.ok();
    }
}

fn not_archived(source: std::io::Error) -> SourceError {
    SourceError {
        operation: "cannot write the archive".to_owned(),
        try_other_member: false,
        source: Some(Box::new(source)),
    }
}

fn ended<T>(_: mpsc::error::SendError<T>) -> SourceError {
    SourceError {
        operation: "the run ended while the archive was written".to_owned(),
        try_other_member: false,
        source: None,
    }
}

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
