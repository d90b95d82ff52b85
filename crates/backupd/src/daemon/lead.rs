//! Whether this daemon is the one that makes runs.

use serde::Serialize;

use super::queue::Wanted;
use backup_core::id::ComponentName;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub(crate) enum Lead {
    /// There is no election: it makes runs. Two such daemons do no harm to each other.
    #[default]
    Unelected,
    /// It holds the lease.
    #[serde(rename_all = "camelCase")]
    Leading {
        lease: String,
        holder: String,
        /// How often the lease has changed hands: with the holder it names one term.
        transitions: i64,
    },
    /// Somebody else does, or nobody yet.
    #[serde(rename_all = "camelCase")]
    Following {
        lease: String,
        holder: Option<String>,
        problem: Option<String>,
    },
    /// The API server has not answered for long: nobody can hold the lease. What needs no API
    /// server, the etcd snapshot, goes on.
    #[serde(rename_all = "camelCase")]
    Alone { lease: String, problem: String },
}

impl Lead {
    /// Whether a run may begin.
    pub(crate) fn allows(&self, wanted: &Wanted) -> bool {
        match self {
            Self::Unelected | Self::Leading { .. } => true,
            Self::Following { .. } => false,
            Self::Alone { .. } => wanted.components == [ComponentName::etcd()],
        }
    }

    /// Whether `component` may be put into the queue.
    pub(crate) fn admits(&self, component: &ComponentName) -> bool {
        match self {
            Self::Unelected | Self::Leading { .. } => true,
            Self::Following { .. } => false,
            Self::Alone { .. } => *component == ComponentName::etcd(),
        }
    }

    /// Whether it may remove what others left.
    pub(crate) fn sweeps(&self) -> bool {
        matches!(self, Self::Unelected | Self::Leading { .. })
    }

    /// Whether it takes what people ask for.
    pub(crate) fn takes_demands(&self) -> bool {
        matches!(self, Self::Unelected | Self::Leading { .. })
    }
}
