//! Lead: whether this daemon is the one that makes runs.

use serde::Serialize;

use super::queue::RunRequest;
use backup_core::id::ComponentName;

/// Lead of this daemon; see the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub(crate) enum Lead {
    /// There is no election: this daemon makes runs. Two such daemons do not harm each other.
    #[default]
    Unelected,
    /// This daemon holds the lease.
    #[serde(rename_all = "camelCase")]
    Leading {
        lease: String,
        holder: String,
        /// Number of times that the lease has changed hands; with the holder it identifies one term.
        transitions: i64,
    },
    /// Another daemon holds the lease, or nobody yet.
    #[serde(rename_all = "camelCase")]
    Following {
        lease: String,
        holder: Option<String>,
        problem: Option<String>,
    },
    /// The API server has not answered for long, so nobody can hold the lease. The etcd snapshot, which does
    /// not need the API server, goes on.
    #[serde(rename_all = "camelCase")]
    Alone { lease: String, problem: String },
}

impl Lead {
    /// Reports whether a run may begin.
    pub(crate) fn allows(&self, wanted: &RunRequest) -> bool {
        match self {
            Self::Unelected | Self::Leading { .. } => true,
            Self::Following { .. } => false,
            Self::Alone { .. } => wanted.components == [ComponentName::etcd()],
        }
    }

    /// Reports whether `component` may be put into the queue.
    pub(crate) fn admits(&self, component: &ComponentName) -> bool {
        match self {
            Self::Unelected | Self::Leading { .. } => true,
            Self::Following { .. } => false,
            Self::Alone { .. } => *component == ComponentName::etcd(),
        }
    }

    /// Reports whether this daemon may remove leftovers of others.
    pub(crate) fn sweeps(&self) -> bool {
        matches!(self, Self::Unelected | Self::Leading { .. })
    }

    /// Reports whether this daemon takes runs on demand.
    pub(crate) fn takes_demands(&self) -> bool {
        matches!(self, Self::Unelected | Self::Leading { .. })
    }
}
