//! Snapshot stream in blocks of bytes, with limits on silence and on the total time.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::time::{Instant, Sleep};
use tonic::{Status, Streaming};

use super::status::Cause;
use backup_core::num::to_u64;
use backup_core::source::SourceError;

/// Size of a block for the later stages; servers send 1 to 32 KiB at a time.
const BLOCK: usize = 256 << 10;

/// Time limit for the first bytes of a snapshot: an etcd that restarts answers after 6 s, and one that
/// runs sends its first bytes at once.
pub(crate) const FIRST_BYTE: Duration = Duration::from_secs(15);

/// Message that carries a piece of a snapshot.
pub(crate) trait SnapshotMessage {
    /// Returns its bytes, or the error that it carries.
    fn bytes(self) -> Result<Bytes, Status>;
}

/// Function that explains a failed stream: what it means and what to do, and the cause.
pub(crate) type StatusExplainer = Box<dyn Fn(&Status) -> (String, Cause) + Send>;

/// Function called when a stream hangs.
pub(crate) type StallHandler = Box<dyn Fn() + Send>;

/// Time limits of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimits {
    /// Longest time without a byte.
    pub(crate) idle: Duration,
    /// Total time, counted from `begun`.
    pub(crate) total: Duration,
    /// Time at which the snapshot was requested.
    pub(crate) begun: Instant,
}

/// Stream of one snapshot.
pub(crate) struct SnapshotStream<M> {
    /// Origin for messages, as in `node 10.5.0.3`.
    origin: String,
    explain: StatusExplainer,
    stalled: StallHandler,
    messages: Option<Streaming<M>>,
    /// Bytes that were received and not yet passed on.
    block: BytesMut,
    /// The rest of a message larger than a block.
    rest: Bytes,
    received: u64,
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    /// Whether bytes came since the idle timer was set.
    moved: bool,
    deadline: Pin<Box<Sleep>>,
    total: Duration,
}

impl<M> SnapshotStream<M> {
    /// Continues with `messages`, of which `first` was already read.
    pub(crate) fn new(
        origin: String,
        (explain, stalled): (StatusExplainer, StallHandler),
        messages: Streaming<M>,
        first: Bytes,
        limits: StreamLimits,
    ) -> Self {
        let StreamLimits { idle, total, begun } = limits;
        Self {
            origin,
            explain,
            stalled,
            messages: Some(messages),
            block: BytesMut::new(),
            received: to_u64(first.len()),
            rest: first,
            idle: Box::pin(tokio::time::sleep(idle)),
            idle_timeout: idle,
            moved: false,
            deadline: Box::pin(tokio::time::sleep_until(begun + total)),
            total,
        }
    }

    /// Moves bytes of the last message into the block, and reports whether the block is full.
    fn fill(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        if self.block.capacity() == 0 {
            self.block.reserve(BLOCK);
        }
        let room = BLOCK.saturating_sub(self.block.len());
        let part = self.rest.split_to(room.min(self.rest.len()));
        self.block.extend_from_slice(&part);
        self.block.len() >= BLOCK
    }

    fn take_block(&mut self) -> Bytes {
        std::mem::take(&mut self.block).freeze()
    }

    /// Ends the stream: drops the call, and yields nothing more.
    fn fail(&mut self, text: &str, cause: Option<Cause>) -> SourceError {
        self.messages = None;
        self.block = BytesMut::new();
        self.rest = Bytes::new();
        SourceError {
            operation: format!(
                "the snapshot stream of {} broke after {} bytes: {text}",
                self.origin, self.received
            ),
            try_other_member: true,
            source: cause.map(Into::into),
        }
    }

    fn late(&mut self) -> SourceError {
        (self.stalled)();
        let text = format!(
            "not finished within {} s: check whether the network or the server is too slow, or raise the \
             deadline",
            self.total.as_secs_f64()
        );
        self.fail(&text, None)
    }

    fn broken(&mut self, status: &Status) -> SourceError {
        let (text, cause) = (self.explain)(status);
        self.fail(&text, Some(cause))
    }
}

impl<M: SnapshotMessage> Stream for SnapshotStream<M> {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.fill() {
                // A stream that never pauses must also end in time.
                if Instant::now() >= this.deadline.deadline() {
                    return Poll::Ready(Some(Err(this.late())));
                }
                return Poll::Ready(Some(Ok(this.take_block())));
            }
            let Some(messages) = this.messages.as_mut() else {
                if this.block.is_empty() {
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Ok(this.take_block())));
            };
            match Pin::new(messages).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    let bytes = match message.bytes() {
                        Ok(bytes) => bytes,
                        Err(status) => return Poll::Ready(Some(Err(this.broken(&status)))),
                    };
                    let length = to_u64(bytes.len());
                    this.received = this.received.saturating_add(length);
                    // A message without bytes is legal, but not progress.
                    this.moved |= length > 0;
                    this.rest = bytes;
                }
                Poll::Ready(Some(Err(status))) => {
                    return Poll::Ready(Some(Err(this.broken(&status))));
                }
                // The status OK does not prove completeness, so this is only the end.
                Poll::Ready(None) => this.messages = None,
                Poll::Pending => return this.poll_clocks(cx),
            }
        }
    }
}

impl<M> SnapshotStream<M> {
    /// Waits for the next message, up to the time limits.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SourceError>>> {
        if self.moved {
            self.moved = false;
            let until = Instant::now() + self.idle_timeout;
            self.idle.as_mut().reset(until);
        }
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.late())));
        }
        if self.idle.as_mut().poll(cx).is_ready() {
            (self.stalled)();
            let text = format!(
                "no byte arrived for {} s: etcd or the connection to it hangs",
                self.idle_timeout.as_secs_f64()
            );
            return Poll::Ready(Some(Err(self.fail(&text, None))));
        }
        Poll::Pending
    }
}
