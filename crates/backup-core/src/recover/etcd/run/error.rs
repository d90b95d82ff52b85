//! Why etcd is not back, and what to do.

use super::super::log::LogError;
use super::super::wipe::Wipe;
use crate::etcd::SnapshotError;
use crate::source::SourceError;
use crate::source::talos::nodes::{CallError, UploadError};

/// Why a restore of etcd did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum EtcdRestoreError {
    /// The plan says that it must not be run.
    #[error("the plan forbids it: {}", .causes.join("; "))]
    Blocked {
        /// What stands against it.
        causes: Vec<String>,
    },
    /// The plan was made for something else.
    #[error("the plan is not for this: {difference}; make a new one")]
    OtherTarget {
        /// What differs.
        difference: String,
    },
    /// A node cannot be asked.
    #[error("cannot {what}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: CallError,
    },
    /// The snapshot did not get there.
    #[error("cannot upload the snapshot to node {node}; nothing was changed there")]
    Upload {
        /// The node.
        node: String,
        /// Why not.
        source: UploadError,
    },
    /// A node is not ready for it and does not become so.
    #[error("node {node} is not ready within {} s: {why}", .within.as_secs())]
    NotReady {
        /// The node.
        node: String,
        /// What it says.
        why: String,
        /// How long it was waited for.
        within: std::time::Duration,
    },
    /// Another node has an etcd that runs.
    #[error(
        "etcd runs on node {node}: two etcd clusters would serve one Kubernetes. If quorum can be had \
         again, do that; if not, wipe it: `{}` (destroys {})", .wipe.command, .wipe.destroys
    )]
    OtherRuns {
        /// The node.
        node: String,
        /// How it would be wiped.
        wipe: Wipe,
    },
    /// The node could not restore it, and nothing was left behind.
    #[error(
        "node {node} could not restore the snapshot: {event}; it has no etcd data, so that it can be \
         tried again"
    )]
    Failed {
        /// The node.
        node: String,
        /// What it says.
        event: String,
    },
    /// There is data that is not this restore's.
    #[error(
        "node {node} has etcd data and its etcd does not run: {event}. What is there cannot be gone \
         on with. To try again, wipe it: `{}` (destroys {})", .wipe.command, .wipe.destroys
    )]
    Dirty {
        /// The node.
        node: String,
        /// What it says.
        event: String,
        /// How it would be wiped.
        wipe: Wipe,
    },
    /// It takes too long.
    #[error(
        "etcd on node {node} is not up within {} s; it is {state}. Nothing has to be undone: look at \
         `talosctl --nodes {node} service etcd` and `logs etcd`, and run this again", .within.as_secs()
    )]
    TooLong {
        /// The node.
        node: String,
        /// The state, and what the last event says.
        state: String,
        /// How long it was waited for.
        within: std::time::Duration,
    },
    /// It cannot be told what the etcd holds that is up.
    #[error("etcd is up on node {node}, and what it holds cannot be read back")]
    NotReadBack {
        /// The node.
        node: String,
        /// Why not.
        source: SourceError,
    },
    /// What was read back is no sound snapshot.
    #[error("etcd is up on node {node}, and what was read back is not sound")]
    NotSound {
        /// The node.
        node: String,
        /// Why not.
        source: SnapshotError,
    },
    /// It is up with other data.
    #[error(
        "etcd is up on node {node}, and it is not this restore point: {difference}. Nothing was \
         changed. If what it holds is not needed, wipe it: `{}` (destroys {})",
        .wipe.command, .wipe.destroys
    )]
    OtherData {
        /// The node.
        node: String,
        /// What differs.
        difference: String,
        /// How it would be wiped.
        wipe: Wipe,
    },
    /// The journal cannot be written.
    #[error("cannot record how far it is; nothing more was done")]
    Log(#[source] LogError),
}
