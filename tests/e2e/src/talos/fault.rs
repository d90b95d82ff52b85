//! Faults of a node of the stand-in.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures::StreamExt as _;
use tonic::Code;

use super::backend::BlobStream;

/// Fault of a snapshot stream. Offsets count plain bytes of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// Ends with OK after this many bytes, as when etcd dies; 0 gives an empty stream.
    CutAfter(u64),
    /// Sends nothing more after this many bytes; 0 not even headers.
    StallAfter(u64),
    /// Flips one bit in the byte at this offset.
    FlipAt(u64),
    /// Ends with this status after this many bytes, as when the API server restarts.
    FailAfter(u64, Code, String),
    /// Ends with OK after this many bytes and a message that carries an error in-band.
    InBandAfter(u64, Code, String),
}

/// Fault of a call that is not a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// Never answers.
    Hang,
    /// Answers with this status.
    Refuse(Code, String),
    /// Answers OK with an error in-band.
    InBand(Code, String),
}

/// Switches of one node. All are off at first.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Fault of every snapshot, while set.
    pub snapshot: Option<StreamFault>,
    /// Faults of the next snapshots, one each, before `snapshot` counts.
    pub snapshot_once: VecDeque<StreamFault>,
    /// Faults of calls by the method's name, while set; also `EtcdSnapshot` before it begins.
    pub calls: BTreeMap<&'static str, CallFault>,
    /// Whether the member reports that it is a learner.
    pub learner: bool,
    /// Whether the member has the alarm CORRUPT.
    pub corrupt: bool,
    /// Whether the member has the alarm NOSPACE.
    pub nospace: bool,
    /// Number of raft entries that the member is behind.
    pub lag: u64,
    /// Whether there is no quorum: no leader, and calls that need one fail or hang.
    pub no_quorum: bool,
    /// Whether the etcd process is down: calls that need it hang.
    pub etcd_down: bool,
    /// Number of answers to `EtcdStatus` after which it hangs, as with an etcd that crashes repeatedly.
    pub etcd_answers: Option<u32>,
    /// Whether the node cannot be reached, as endpoint or as target; open connections break.
    pub unreachable: bool,
    /// Whether the node is frozen: it accepts connections and answers nothing, and open streams stand still;
    /// as endpoint, as target of forwarding, and as member.
    pub frozen: bool,
    /// Whether the time is not in sync.
    pub time_unsynced: bool,
    /// Whether the container runtime is not up yet.
    pub booting: bool,
    /// Whether the machine config lacks the etcd authority.
    pub no_etcd_ca: bool,
}

impl Faults {
    /// Returns the fault of the next snapshot.
    pub(super) fn next_snapshot(&mut self) -> Option<StreamFault> {
        self.snapshot_once
            .pop_front()
            .or_else(|| self.snapshot.clone())
    }
}

/// End of a stream with a fault.
#[derive(Debug, Clone)]
pub(super) enum End {
    Ok,
    Stall,
    Status(Code, String),
    InBand(Code, String),
}

/// Applies `fault` to the bytes; returns how the stream ends after them.
pub(super) fn apply(blobs: BlobStream, fault: Option<StreamFault>) -> (BlobStream, End) {
    match fault {
        None => (blobs, End::Ok),
        Some(StreamFault::CutAfter(at)) => (cut(blobs, at), End::Ok),
        Some(StreamFault::StallAfter(at)) => (cut(blobs, at), End::Stall),
        Some(StreamFault::FailAfter(at, code, text)) => (cut(blobs, at), End::Status(code, text)),
        Some(StreamFault::InBandAfter(at, code, text)) => (cut(blobs, at), End::InBand(code, text)),
        Some(StreamFault::FlipAt(at)) => (flip(blobs, at), End::Ok),
    }
}

fn cut(blobs: BlobStream, at: u64) -> BlobStream {
    let mut left = usize::try_from(at).unwrap_or(usize::MAX);
    Box::pin(
        blobs
            .map(move |blob| {
                blob.map(|mut bytes| {
                    bytes.truncate(left);
                    left -= bytes.len();
                    bytes
                })
            })
            // Only blobs past the cut are empty.
            .take_while(|blob| {
                let goes_on = !matches!(blob, Ok(bytes) if bytes.is_empty());
                std::future::ready(goes_on)
            }),
    )
}

fn flip(blobs: BlobStream, at: u64) -> BlobStream {
    let mut before = 0_u64;
    Box::pin(blobs.map(move |blob| {
        blob.map(|bytes| {
            let index = at
                .checked_sub(before)
                .and_then(|index| usize::try_from(index).ok());
            before += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let mut bytes = Vec::from(bytes);
            if let Some(byte) = index.and_then(|index| bytes.get_mut(index)) {
                *byte ^= 1;
            }
            Bytes::from(bytes)
        })
    }))
}
