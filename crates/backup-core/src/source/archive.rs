//! Source of archives of objects or files, and the sink that they are written to.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{ByteStream, SourceError};
use crate::archive::{ObjectPath, TarWriter};
use crate::format::export::ArchiveFacts;
use crate::format::manifest::Finding;

/// Source of a component that is an archive of objects or files.
#[async_trait]
pub trait ArchiveSource: Debug + Send + Sync {
    /// Writes the whole archive to `out`, in the order of its paths.
    ///
    /// # Errors
    /// When nothing can be read. A partial failure is a finding.
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError>;
}

/// Observer of the objects that are written to an archive.
pub trait ObjectTap: Debug + Send + Sync {
    /// Called for each object, in the order of the archive. It must be quick, since the archive waits;
    /// it handles its own failures.
    fn object(&self, path: &ObjectPath, json: &[u8]);
}

/// Description of an archive, known once it is written.
#[derive(Debug, Clone, Default)]
pub struct ArchiveReport {
    /// Facts for the manifest.
    pub facts: ArchiveFacts,
    /// Findings about the data that was read.
    pub findings: Vec<Finding>,
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
    pub fn attach_tap(&mut self, tap: Arc<dyn ObjectTap>) {
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
