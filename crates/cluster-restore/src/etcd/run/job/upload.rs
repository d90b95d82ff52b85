//! Upload of the snapshot to the node.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::EtcdRestoreError;
use super::Job;
use super::retry::RetryTimer;
use crate::etcd::log::EtcdPhase;
use backup_core::read::LocalSnapshot;
use cluster_client::talos::nodes::{CallErrorKind, Upload, UploadError};

/// A held snapshot as the Talos API takes it.
#[derive(Debug)]
struct SnapshotUpload(Arc<LocalSnapshot>);

impl Upload for SnapshotUpload {
    fn bytes(&self) -> u64 {
        self.0.facts().bytes
    }

    fn pieces(&self, piece: &mut dyn FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        self.0.pieces(piece)
    }
}

impl Job<'_> {
    /// Uploads the snapshot; waits while the node is absent or not ready.
    pub(in crate::etcd::run) async fn upload(&self) -> Result<(), EtcdRestoreError> {
        let node = self.target().to_owned();
        let bytes = self.snapshot.facts().bytes;
        self.reached(EtcdPhase::Uploading {
            node: node.clone(),
            bytes,
        })?;
        let mut waited = RetryTimer::new("upload the snapshot", self.pace.ready_within);
        loop {
            let snapshot = Arc::new(SnapshotUpload(Arc::clone(&self.snapshot)));
            let progress = Arc::clone(&self.progress);
            match self.nodes.upload(&node, snapshot, progress).await {
                Ok(()) => return self.reached(EtcdPhase::Uploaded),
                // The node is absent, or its disk is not mounted yet.
                Err(UploadError::Call(failure))
                    if matches!(
                        failure.kind,
                        CallErrorKind::NotReady | CallErrorKind::Unreachable
                    ) =>
                {
                    self.wait(&mut waited, failure).await?;
                }
                Err(source) => return Err(EtcdRestoreError::Upload { node, source }),
            }
        }
    }
}
