//! Components that are archives of objects or files.

use sha2::{Digest as _, Sha256};

use super::BackupError;
use super::run_state::RunState;
use super::stages::{Observer, StreamOutcome, StreamRejection};
use super::stored_component::StoredComponent;
use crate::chunk::ChunkerKind;
use crate::chunk::tar::TarChunker;
use crate::digest::Digest;
use crate::id::ComponentName;
use crate::num::to_u64;
use crate::source::{ArchiveSink, ArchiveSource};

/// Media type of an archive.
const MEDIA_TYPE: &str = "application/x-tar";

/// Watch that counts and digests the bytes of an archive.
#[derive(Default)]
struct ArchiveObserver {
    sha256: Sha256,
    bytes: u64,
}

impl Observer for ArchiveObserver {
    type Verdict = (Digest, u64);

    fn push(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        let more = to_u64(bytes.len());
        self.bytes = self.bytes.saturating_add(more);
    }

    fn finish(self) -> Self::Verdict {
        (
            Digest::from_bytes(self.sha256.finalize().into()),
            self.bytes,
        )
    }
}

pub(super) async fn archive(
    work: &mut RunState<'_>,
    name: &ComponentName,
    source: &dyn ArchiveSource,
) -> Result<(), BackupError> {
    let run = work.run;
    run.progress.step(name.as_str(), None);
    let (mut sink, stream) = ArchiveSink::new();
    let writing = async {
        let written = tokio::select! {
            () = run.cancel.cancelled() => return None,
            written = source.write(&mut sink) => written,
        };
        match written {
            // If the end cannot be written, the stage that ended early reports the cause.
            Ok(written) => sink.finish().await.ok().map(|()| written),
            Err(e) => {
                sink.fail(e).await;
                None
            }
        }
    };
    let accept = |(_, bytes): &(Digest, u64)| Some(*bytes);
    let chunker = TarChunker::new();
    let storing = work.stream(
        ChunkerKind::Plain,
        chunker,
        ArchiveObserver::default(),
        accept,
        stream,
    );
    let (written, outcome) = tokio::join!(writing, storing);
    let stored = match outcome? {
        StreamOutcome::Stored(stored) => stored,
        StreamOutcome::Rejected(StreamRejection::Source(e)) => return Err(BackupError::Source(e)),
        StreamOutcome::Rejected(StreamRejection::Verdict(_)) => return Err(unwritten()),
    };
    if run.cancel.is_cancelled() {
        return Err(BackupError::Cancelled);
    }
    let written = written.ok_or_else(unwritten)?;
    for finding in written.findings {
        run.finding(&mut work.findings, finding);
    }
    let (plain_sha256, plain_bytes) = stored.verdict;
    work.parts.push(StoredComponent {
        name: name.clone(),
        media_type: MEDIA_TYPE.to_owned(),
        plain_bytes,
        plain_sha256,
        seen: stored.seen,
        recipes: stored.recipes,
        etcd: None,
        archive: Some(written.facts),
        kube_system_uid: None,
    });
    Ok(())
}

fn unwritten() -> BackupError {
    BackupError::Stage(std::io::Error::other(
        "the archive was not written to its end",
    ))
}
