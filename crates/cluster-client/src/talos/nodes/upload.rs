//! Upload of a snapshot: whole, or not at all.
//!
//! A server takes the bytes it received as the whole snapshot when the client ends the stream, and
//! removes them when the client aborts it. So the upload aborts the stream when the snapshot turns out
//! to differ from the one that was checked.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{CallError, TalosNodes};
use crate::talos::proto::common::Data;
use crate::talos::session::{TalosClient, TalosHeaders, only};
use backup_core::num::to_u64;
use backup_core::progress::Progress;

/// Pieces read ahead of those sent; the reader makes each up to 64 KiB large.
const AHEAD: usize = 4;
/// Interval of the checks whether bytes still move.
const LOOK: Duration = Duration::from_millis(500);

/// Snapshot that can be read from its start repeatedly.
pub trait Upload: Debug + Send + Sync {
    /// Returns its size in bytes.
    fn bytes(&self) -> u64;

    /// Passes all of it to `piece`, in order, in pieces that fit a message: at most 64 KiB.
    ///
    /// # Errors
    /// When it cannot be read, has changed since it was checked, or `piece` fails.
    fn pieces(&self, piece: &mut dyn FnMut(Bytes) -> io::Result<()>) -> io::Result<()>;
}

/// Reason why an upload failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The node did not accept it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The snapshot could not be read to its end; the node keeps no part of it.
    #[error("the snapshot could not be read to its end, so the node did not get it")]
    Read(#[source] io::Error),
}

impl TalosNodes {
    /// Uploads a snapshot to a node for a following bootstrap.
    ///
    /// # Errors
    /// See [`UploadError`]; the node then has no snapshot.
    pub async fn upload(
        &self,
        node: &str,
        snapshot: Arc<dyn Upload>,
        progress: Arc<dyn Progress>,
    ) -> Result<(), UploadError> {
        let idle = self.options.idle_timeout;
        let call = self.session.call(
            "EtcdRecover",
            Some(node),
            self.options.total_timeout,
            |client, to| {
                let (snapshot, progress) = (Arc::clone(&snapshot), Arc::clone(&progress));
                Box::pin(send(client, to, snapshot, progress, idle))
            },
        );
        call.await
            .map_err(CallError::from)?
            .map_err(UploadError::Read)
    }
}

/// Sends the snapshot. The outer result is the server's, the inner one the reader's.
async fn send(
    mut client: TalosClient,
    mut to: TalosHeaders,
    snapshot: Arc<dyn Upload>,
    progress: Arc<dyn Progress>,
    idle: Duration,
) -> Result<io::Result<()>, Status> {
    let (pieces, taken) = mpsc::channel::<Bytes>(AHEAD);
    let moved = Arc::new(AtomicU64::new(0));
    progress.step("uploading the snapshot", Some(snapshot.bytes()));
    let mut reading = spawn_blocking({
        let (pieces, moved) = (pieces.clone(), Arc::clone(&moved));
        move || {
            snapshot.pieces(&mut |bytes| {
                let length = to_u64(bytes.len());
                pieces
                    .blocking_send(bytes)
                    .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
                moved.fetch_add(length, Ordering::Relaxed);
                progress.advance(length);
                Ok(())
            })
        }
    });
    let stream = ReceiverStream::new(taken).map(|bytes| Data {
        metadata: None,
        bytes,
    });
    let request = to.request(stream);
    let mut call = std::pin::pin!(client.etcd_recover(request));
    // While this is held, the stream does not end.
    let mut held = Some(pieces);
    let mut read = false;
    let (mut seen, mut still) = (0, Duration::ZERO);
    loop {
        tokio::select! {
            reply = &mut call => {
                let reply = reply?.into_inner();
                only(reply.messages, |message| message.metadata.as_ref())?;
                if !read {
                    return Err(Status::unknown("the node answered before it had the whole snapshot"));
                }
                return Ok(Ok(()));
            }
            ended = &mut reading, if !read => {
                read = true;
                match ended {
                    Ok(Ok(())) => held = None,
                    // The server closed the stream; its answer gives the reason.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                    Ok(Err(error)) => return Ok(Err(error)),
                    Err(panicked) => return Ok(Err(io::Error::other(panicked))),
                }
            }
            // The last bytes sent are being written to the disk: that may take up to the limit of the call.
            () = tokio::time::sleep(LOOK), if held.is_some() => {
                let now = moved.load(Ordering::Relaxed);
                still = if now == seen { still.saturating_add(LOOK) } else { Duration::ZERO };
                seen = now;
                if still >= idle {
                    let told = format!("the node accepted no byte for {} s", idle.as_secs_f64());
                    return Err(Status::deadline_exceeded(told));
                }
            }
        }
    }
}
