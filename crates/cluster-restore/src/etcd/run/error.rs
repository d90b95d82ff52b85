//! Errors of a restore of etcd, with remedies.

use super::super::log::LogError;
use super::super::wipe::WipeCommand;
use backup_core::etcd::SnapshotError;
use backup_core::source::SourceError;
use cluster_client::talos::nodes::{CallError, UploadError};

/// Reason why a restore of etcd did not finish.
#[derive(Debug, thiserror::Error)]
pub enum EtcdRestoreError {
    /// The plan has blockers.
    #[error("the plan forbids it: {}", .causes.join("; "))]
    Blocked {
        /// Blockers of the plan.
        causes: Vec<String>,
    },
    /// The plan was made for another cluster or snapshot.
    #[error("the plan does not match: {difference}; make a new one")]
    OtherTarget {
        /// Difference between them.
        difference: String,
    },
    /// A call to a node failed.
    #[error("cannot {what}")]
    Call {
        /// Call that failed.
        what: &'static str,
        /// Cause.
        source: CallError,
    },
    /// The snapshot could not be uploaded.
    #[error("cannot upload the snapshot to node {node}; nothing was changed there")]
    Upload {
        /// Node that was to receive it.
        node: String,
        /// Cause.
        source: UploadError,
    },
    /// A node did not become ready.
    #[error("node {node} is not ready within {} s: {why}", .within.as_secs())]
    NotReady {
        /// Node that is not ready.
        node: String,
        /// Reason that the node gives.
        why: String,
        /// Time limit.
        within: std::time::Duration,
    },
    /// Another node has an etcd that runs.
    #[error(
        "etcd runs on node {node}: two etcd clusters would serve one Kubernetes. If quorum can be \
         restored, do that; if not, wipe it: `{}` (destroys {})", .wipe.command, .wipe.destroys
    )]
    OtherRuns {
        /// Node with that etcd.
        node: String,
        /// Command that would wipe it.
        wipe: WipeCommand,
    },
    /// The node could not restore the snapshot, and left no data behind.
    #[error(
        "node {node} could not restore the snapshot: {event}; it has no etcd data, so you can try \
         again"
    )]
    Failed {
        /// Target node.
        node: String,
        /// Message of its last event.
        event: String,
    },
    /// The node has etcd data that is not from this restore.
    #[error(
        "node {node} has etcd data and its etcd does not run: {event}. The restore cannot continue \
         with that data. To try again, wipe it: `{}` (destroys {})", .wipe.command, .wipe.destroys
    )]
    Dirty {
        /// Target node.
        node: String,
        /// Message of its last event.
        event: String,
        /// Command that would wipe it.
        wipe: WipeCommand,
    },
    /// Etcd did not come up in time.
    #[error(
        "etcd on node {node} is not up within {} s; it is {state}. Nothing has to be undone: look at \
         `talosctl --nodes {node} service etcd` and `logs etcd`, and run this again", .within.as_secs()
    )]
    TooLong {
        /// Target node.
        node: String,
        /// State of etcd, and the message of its last event.
        state: String,
        /// Time limit.
        within: std::time::Duration,
    },
    /// Etcd is up, but its content could not be read.
    #[error("etcd is up on node {node}, but its data cannot be read back")]
    NotReadBack {
        /// Target node.
        node: String,
        /// Cause.
        source: SourceError,
    },
    /// The data that was read back is not a sound snapshot.
    #[error("etcd is up on node {node}, but the data that was read back is not sound")]
    NotSound {
        /// Target node.
        node: String,
        /// Cause.
        source: SnapshotError,
    },
    /// Etcd is up with other data.
    #[error(
        "etcd is up on node {node}, but it is not this restore point: {difference}. Nothing was \
         changed. If its data is not needed, wipe it: `{}` (destroys {})",
        .wipe.command, .wipe.destroys
    )]
    OtherData {
        /// Target node.
        node: String,
        /// Difference from the snapshot.
        difference: String,
        /// Command that would wipe it.
        wipe: WipeCommand,
    },
    /// The journal cannot be written.
    #[error("cannot record the progress; nothing more was done")]
    Log(#[source] LogError),
}
