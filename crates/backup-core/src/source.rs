//! Where plain bytes come from.

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

pub mod etcd;
pub mod kit;
pub mod kube;
pub mod talos;

// What sources have in common.
mod again;
mod at_rest;
mod connect;
mod endpoint;
mod pem;
mod status;
mod stream;

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
    /// The SHA-256 of the certificates of the authorities that its Talos was believed by; empty where
    /// it has none.
    pub talos_authorities: Vec<Digest>,
    /// Whether it leads, if told.
    pub leader: Option<bool>,
    /// What is not well with this member: an alarm, a lag, a call without an answer.
    pub warnings: Vec<String>,
}

/// The members of one cluster, as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Those to try, best first; never empty.
    pub candidates: Vec<Candidate>,
    /// Those that were expected and cannot be tried.
    pub unwell: Vec<Unwell>,
    /// What a person should know of all of them, or of the way to them.
    pub warnings: Vec<String>,
    /// What of the configuration does not fit the members there are.
    pub findings: Vec<Finding>,
}

/// A member that was expected and cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwell {
    /// Its own address, as a candidate has it.
    pub node: String,
    /// What is wrong with it.
    pub cause: String,
}

/// Gives etcd snapshots of one cluster.
#[async_trait]
pub trait SnapshotSource: Debug + Send + Sync {
    /// Asks the members how they are.
    ///
    /// # Errors
    /// When no member can be asked at all; names each and why.
    async fn members(&self) -> Result<Members, SourceError>;

    /// Asks the candidates of `members` that were well once more; gives those that are not now. It asks
    /// for their state alone, since a question for alarms is an entry of etcd's own log.
    async fn gone(&self, members: &Members) -> Vec<Unwell>;

    /// Begins a snapshot of `candidate`.
    ///
    /// # Errors
    /// When the member refuses or cannot be reached. Later failures come in the stream.
    async fn open(&self, candidate: &Candidate) -> Result<ByteStream, SourceError>;
}

/// Gives a component that is an archive of objects or files.
#[async_trait]
pub trait ArchiveSource: Debug + Send + Sync {
    /// Writes all of it to `out`, in the order of its paths.
    ///
    /// # Errors
    /// When nothing of it can be had. What fails in part is a finding.
    async fn write(&self, out: &mut ArchiveSink) -> Result<Written, SourceError>;
}

/// Sees the objects of an archive on their way into it.
pub trait ObjectTap: Debug + Send + Sync {
    /// Called for each object, in the order of the archive. It must be quick, since the archive waits;
    /// what goes wrong with it is its own affair.
    fn object(&self, path: &ObjectPath, json: &[u8]);
}

/// What an archive holds, told when it is written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// For the manifest.
    pub facts: ArchiveFacts,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

/// Tells what there is to say of a cluster beside its components.
#[async_trait]
pub trait ClusterSource: Debug + Send + Sync {
    /// The UID of the namespace `kube-system`.
    fn uid(&self) -> &str;

    /// Everything else; asked when all components of the run were `taken`.
    async fn facts(&self, taken: &[Taken]) -> (KubernetesFacts, Vec<Finding>);
}

/// A component that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its name.
    pub name: ComponentName,
    /// What was read out of an etcd snapshot.
    pub etcd: Option<EtcdFacts>,
    /// What an archive holds.
    pub archive: Option<ArchiveFacts>,
}

/// Takes an archive in, block by block; waits while the stages behind it are busy.
#[derive(Debug)]
pub struct ArchiveSink {
    tar: TarWriter,
    blocks: mpsc::Sender<Result<Bytes, SourceError>>,
    tap: Option<Arc<dyn ObjectTap>>,
}

/// Blocks of an archive that wait, each of 256 KiB or of one object.
const BLOCKS: usize = 2;

impl ArchiveSink {
    /// A sink and the stream of what is put into it.
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

    /// Shows `tap` every object from now on.
    pub fn show_to(&mut self, tap: Arc<dyn ObjectTap>) {
        self.tap = Some(tap);
    }

    /// Adds an object.
    ///
    /// # Errors
    /// When the run ended.
    pub async fn object(&mut self, path: &ObjectPath, json: &[u8]) -> Result<(), SourceError> {
        self.tar.object(path, json).map_err(not_archived)?;
        if let Some(tap) = &self.tap {
            tap.object(path, json);
        }
        self.hand_on().await
    }

    /// Adds a file that is no object.
    ///
    /// # Errors
    /// When the run ended, or the path is too long.
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
    /// When the run ended.
    pub async fn finish(self) -> Result<(), SourceError> {
        let rest = self.tar.finish().map_err(not_archived)?;
        self.blocks.send(Ok(rest)).await.map_err(ended)
    }

    /// Ends the stream with an error.
    pub(crate) async fn fail(self, error: SourceError) {
        // Who does not listen any more has an error of their own.
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
