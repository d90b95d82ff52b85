//! What a restore of etcd tells while it goes on, so that a journal can record it.

use std::error::Error;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::plan::Proof;

/// How far a restore of etcd is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum EtcdPhase {
    /// The upload begins.
    Uploading {
        /// To which node.
        node: String,
        /// How many bytes.
        bytes: u64,
    },
    /// The node has all of it.
    Uploaded,
    /// The bootstrap is asked for; from here on the node may act.
    Bootstrapping,
    /// The node has accepted the bootstrap, and restores.
    Accepted,
    /// The node is not ready for what was asked; it is asked again.
    Waiting {
        /// What it says.
        why: String,
    },
    /// The node has refused the bootstrap: what is there is not of this one.
    Refused {
        /// What it says.
        why: String,
    },
    /// A restore that was begun before is found under way.
    UnderWay,
    /// The service `etcd` is in another state.
    Service {
        /// The state, in Talos' own words.
        state: String,
        /// What its last event says.
        event: Option<String>,
    },
    /// The service runs.
    Running,
    /// It runs and is healthy.
    Healthy,
    /// What it holds was read back.
    Revision {
        /// Its newest revision.
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

/// What a phase shows of whose work the etcd is that runs afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trace {
    /// Nothing of before counts: a node without data is given a snapshot, or has refused it.
    Anew,
    /// It was asked for the bootstrap.
    Asked,
    /// It has accepted.
    Accepted,
}

impl Trace {
    /// What is proved from here on.
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
    /// What it shows, if anything.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        match self {
            Self::Uploading { .. } | Self::Refused { .. } => Some(Trace::Anew),
            Self::Bootstrapping => Some(Trace::Asked),
            Self::Accepted => Some(Trace::Accepted),
            _ => None,
        }
    }
}

/// Why something could not be recorded.
pub type LogError = Box<dyn Error + Send + Sync>;

/// Told each phase, in order, before the next begins.
pub trait EtcdLog: Debug + Send + Sync {
    /// A phase is reached.
    ///
    /// # Errors
    /// When it cannot be recorded; the restore stops where it is, and can be called again.
    fn reached(&self, phase: &EtcdPhase) -> Result<(), LogError>;
}

/// Records nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl EtcdLog for NoLog {
    fn reached(&self, _: &EtcdPhase) -> Result<(), LogError> {
        Ok(())
    }
}
