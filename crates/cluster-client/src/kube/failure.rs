//! Errors of a Kubernetes API, with advice.

use std::time::Duration;

use http::StatusCode;

use backup_core::causes;
use backup_core::source::SourceError;

/// Reason why a request to the API failed.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// No connection to the API is configured, or the configuration cannot be used.
    #[error("cannot use {what}")]
    Config {
        /// The kubeconfig or the pod's service account.
        what: String,
        /// Cause of the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server did not answer.
    #[error("GET {path} of {server} got no answer")]
    Unreachable {
        /// Address of the API server.
        server: String,
        /// Path of the request.
        path: String,
        /// Cause of the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("GET {path} of {server} took longer than {} s", .limit.as_secs())]
    Slow {
        /// Address of the API server.
        server: String,
        /// Path of the request.
        path: String,
        /// Time limit of the request.
        limit: Duration,
    },
    /// The right is missing.
    #[error(
        "the API server forbids it: {message}; grant the right with the ClusterRole in deploy/rbac.yaml"
    )]
    Forbidden {
        /// Server's message, which names user, verb and resource.
        message: String,
    },
    /// The credentials are not accepted.
    #[error(
        "{server} does not accept the credentials (401): {message}; check that the kubeconfig's certificate \
         or token is for this cluster and has not expired"
    )]
    Unauthorized {
        /// Address of the API server.
        server: String,
        /// Server's message.
        message: String,
    },
    /// The answer has an error status.
    #[error("GET {path} answered {status}: {message}")]
    Status {
        /// Path of the request.
        path: String,
        /// Status of the answer.
        status: StatusCode,
        /// Server's message.
        message: String,
        /// Time after which to retry, if the server gave it.
        retry_after: Option<Duration>,
    },
    /// The selection's label selector is invalid.
    #[error(
        "the API server does not understand the label selector `{selector}`: {message}; want one like \
         `team=blue,tier!=test`"
    )]
    Selector {
        /// Selector as given.
        selector: String,
        /// Server's message.
        message: String,
    },
    /// The revision of a list was compacted away.
    #[error("GET {path}: the list's revision was compacted (410)")]
    Gone {
        /// Path of the request.
        path: String,
        /// Token that continues the list at a later revision, if the server gave it.
        token: Option<String>,
    },
    /// An answer is larger than the limit.
    #[error("GET {path} answered more than {most} bytes")]
    TooLarge {
        /// Path of the request.
        path: String,
        /// Largest answer, in bytes.
        most: usize,
    },
    /// An answer is not JSON of the requested kind.
    #[error("GET {path}: the answer is not the expected {wanted}, at {at}")]
    Malformed {
        /// Path of the request.
        path: String,
        /// Expected content.
        wanted: &'static str,
        /// Position of the error. The text itself may hold a secret and is left out.
        at: String,
    },
}

impl KubeError {
    /// Reports whether the same request may succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Status { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            _ => false,
        }
    }

    /// Reports whether the server failed internally, as on an object that it cannot decrypt, decode or
    /// convert.
    pub(super) fn is_internal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the server's own message, or the error in one line.
    pub(super) fn message_or_line(&self) -> String {
        match self {
            Self::Status { message, .. } if !message.is_empty() => message.clone(),
            _ => self.line(),
        }
    }

    /// Reports whether the server refuses the client, rather than this request.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Unauthorized { .. })
    }

    /// Returns the delay that the server asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Reports whether the whole API is out of reach, so that other kinds would fail too.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        matches!(
            self,
            Self::Config { .. } | Self::Unreachable { .. } | Self::Unauthorized { .. }
        )
    }

    /// Reports whether the server answered with an internal error: about this request, or about all.
    #[must_use]
    pub fn is_of_the_answer(&self) -> bool {
        matches!(self, Self::Status { status, .. } if status.is_server_error())
    }

    /// Reports whether the server says that the object or path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Returns the error and its causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        causes::line(self)
    }
}

impl From<KubeError> for SourceError {
    fn from(error: KubeError) -> Self {
        Self {
            operation: "cannot export from the Kubernetes API".to_owned(),
            try_other_member: false,
            source: Some(Box::new(error)),
        }
    }
}
