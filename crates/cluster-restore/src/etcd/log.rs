//! Phases that a restore of etcd reports while it runs, so that a journal can record them.

use std::error::Error;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::plan::Proof;

/// Progress of a restore of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum EtcdPhase {
    /// The upload begins.
    Uploading {
        /// Node that receives the snapshot.
        node: String,
        /// Size of the snapshot in bytes.
        bytes: u64,
    },
    /// The node has the whole snapshot.
    Uploaded,
    /// The bootstrap is requested; from here on the node may act.
    Bootstrapping,
    /// The node has accepted the bootstrap and is restoring.
    Accepted,
    /// The node is not ready for the call, which is repeated.
    Waiting {
        /// Reason that the node gives.
        why: String,
    },
    /// The node has refused the bootstrap: its data is not from this bootstrap.
    Refused {
        /// Reason that the node gives.
        why: String,
    },
    /// A restore that was begun earlier is under way.
    UnderWay,
    /// The service `etcd` has changed its state.
    Service {
        /// State, in Talos' own words.
        state: String,
        /// Message of its last event.
        event: Option<String>,
    },
    /// The service runs.
    Running,
    /// The service runs and is healthy.
    Healthy,
    /// The content of etcd was read back.
    Revision {
        /// Newest revision in etcd.
        revision: u64,
    },
}

impl std::fmt::Display for EtcdPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uploading { node, bytes } => write!(f, "uploading {bytes} bytes to node {node}"),
            Self::Uploaded => f.write_str("uploaded"),
            Self::Bootstrapping => f.write_str("asking for the bootstrap"),
            Self::Accepted => f.write_str("bootstrap accepted; the node restores"),
            Self::Waiting { why } => write!(f, "waiting: {why}"),
            Self::Refused { why } => write!(f, "the node refused the bootstrap: {why}"),
            Self::UnderWay => f.write_str("a restore that was begun before is under way"),
            Self::Service { state, event } => match event {
                Some(event) => write!(f, "etcd is {state}: {event}"),
                None => write!(f, "etcd is {state}"),
            },
            Self::Running => f.write_str("etcd runs"),
            Self::Healthy => f.write_str("etcd is healthy"),
            Self::Revision { revision } => write!(f, "etcd is at revision {revision}"),
        }
    }
}

/// Evidence in a phase that an etcd which runs later was restored by this restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootstrapEvidence {
    /// Earlier evidence is void: a node without data receives a snapshot, or has refused it.
    Anew,
    /// The node was asked for the bootstrap.
    Asked,
    /// The node has accepted the bootstrap.
    Accepted,
}

impl BootstrapEvidence {
    /// Returns what is proved from here on.
    #[must_use]
    pub fn proof(self) -> Option<Proof> {
        match self {
            Self::Anew => None,
            Self::Asked => Some(Proof::Asked),
            Self::Accepted => Some(Proof::Accepted),
        }
    }
}

impl EtcdPhase {
    /// Returns the evidence in this phase, if any.
    #[must_use]
    pub fn trace(&self) -> Option<BootstrapEvidence> {
        match self {
            Self::Uploading { .. } | Self::Refused { .. } => Some(BootstrapEvidence::Anew),
            Self::Bootstrapping => Some(BootstrapEvidence::Asked),
            Self::Accepted => Some(BootstrapEvidence::Accepted),
            _ => None,
        }
    }
}

/// Reason why a phase could not be recorded.
pub type LogError = Box<dyn Error + Send + Sync>;

/// Receiver of each phase, in order, before the next one begins.
pub trait EtcdLog: Debug + Send + Sync {
    /// Records that a phase was reached.
    ///
    /// # Errors
    /// When the phase cannot be recorded. The restore stops at that point and can be called again.
    fn reached(&self, phase: &EtcdPhase) -> Result<(), LogError>;
}

/// Log that records nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl EtcdLog for NoLog {
    fn reached(&self, _: &EtcdPhase) -> Result<(), LogError> {
        Ok(())
    }
}
