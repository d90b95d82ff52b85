//! Failure of a call at a node, with its meaning for a restore.

use tonic::Code;

use crate::grpc::status::Cause;
use crate::talos::explain::{TalosFailure, TalosFailureReason};

/// Meaning of a failed call for a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallErrorKind {
    /// Neither an endpoint nor the node could be reached.
    Unreachable,
    /// The certificate's role does not allow the call.
    NotAllowed,
    /// The node is not ready yet, or its clock is not in sync: a later call may succeed.
    NotReady,
    /// The node is not a control plane node.
    Worker,
    /// The node has data where none is allowed.
    NotEmpty,
    /// The requested item does not exist.
    NotFound,
    /// No answer came in time.
    Hung,
    /// Any other failure.
    Other,
}

/// Failure of a call at a node.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct CallError {
    /// Meaning of the failure.
    pub kind: CallErrorKind,
    /// Operation and node, and what to do.
    text: String,
    /// Error text of the server or the transport.
    #[source]
    cause: Cause,
}

impl CallError {
    /// Returns the server's own error text.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.cause.0
    }
}

impl From<TalosFailure> for CallError {
    fn from(failure: TalosFailure) -> Self {
        let absent = failure.code == Code::NotFound
            || (failure.code == Code::Unknown && failure.cause.0.contains("no such file"));
        let kind = match (failure.reason, failure.code) {
            (
                TalosFailureReason::Unreachable
                | TalosFailureReason::NoForwarding
                | TalosFailureReason::Connection(_),
                _,
            ) => CallErrorKind::Unreachable,
            (TalosFailureReason::Role, _) => CallErrorKind::NotAllowed,
            (TalosFailureReason::Worker, _) => CallErrorKind::Worker,
            (TalosFailureReason::Hung | TalosFailureReason::Stalled, _) => CallErrorKind::Hung,
            (_, Code::FailedPrecondition) => CallErrorKind::NotReady,
            (_, Code::AlreadyExists) => CallErrorKind::NotEmpty,
            _ if absent => CallErrorKind::NotFound,
            _ => CallErrorKind::Other,
        };
        Self {
            kind,
            text: failure.text(),
            cause: failure.cause,
        }
    }
}
