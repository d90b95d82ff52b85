//! What goes wrong between us and a Kubernetes API, and what to do about it.

use std::time::Duration;

use http::StatusCode;

use crate::source::SourceError;

/// Why something could not be had from the API.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// No way to the API is configured or it cannot be used.
    #[error("cannot use {what}")]
    Config {
        /// The kubeconfig or the pod's service account.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody answered.
    #[error("GET {path} of {server} got no answer")]
    Unreachable {
        /// The API server.
        server: String,
        /// What was asked.
        path: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("GET {path} of {server} took longer than {} s", .limit.as_secs())]
    Slow {
        /// The API server.
        server: String,
        /// What was asked.
        path: String,
        /// How long it could take.
        limit: Duration,
    },
    /// The right is missing.
    #[error(
        "the API server forbids it: {message}; give the right with the ClusterRole in \
         deploy/rbac.yaml"
    )]
    Forbidden {
        /// The server's words, which name user, verb and resource.
        message: String,
    },
    /// The credentials are not accepted.
    #[error(
        "{server} does not accept the credentials (401): {message}; see that the kubeconfig's \
         certificate or token is of this cluster and has not expired"
    )]
    Unauthorized {
        /// The API server.
        server: String,
        /// The server's words.
        message: String,
    },
    /// Another answer than was asked for.
    #[error("GET {path} answered {status}: {message}")]
    Status {
        /// What was asked.
        path: String,
        /// The status.
        status: StatusCode,
        /// The server's words.
        message: String,
        /// When to come again, if the server told.
        retry_after: Option<Duration>,
    },
    /// The selection's labels are none.
    #[error(
        "the API server does not understand the label selector `{selector}`: {message}; want one \
         such as `team=blue,tier!=test`"
    )]
    Selector {
        /// As it was given.
        selector: String,
        /// The server's words.
        message: String,
    },
    /// The revision of a list is gone.
    #[error("GET {path}: the list's revision was compacted (410)")]
    Gone {
        /// What was asked.
        path: String,
        /// With this the list goes on at a later revision, if the server gave it.
        token: Option<String>,
    },
    /// An answer is larger than can be held.
    #[error("GET {path} answered more than {most} bytes")]
    TooLarge {
        /// What was asked.
        path: String,
        /// The limit.
        most: usize,
    },
    /// An answer is no JSON of the kind that was asked for.
    #[error("GET {path} answered what is no {wanted}, at {at}")]
    Malformed {
        /// What was asked.
        path: String,
        /// What should have come.
        wanted: &'static str,
        /// Where it differs. The text itself may hold a secret and is not told.
        at: String,
    },
}

impl KubeError {
    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Status { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            _ => false,
        }
    }

    /// Whether the server failed inside, as over an object that it cannot decrypt, decode or convert.
    pub(super) fn is_inside(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The server's own words, or the error in one line.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Status { message, .. } if !message.is_empty() => message.clone(),
            _ => self.line(),
        }
    }

    /// Whether the server refuses us, rather than what we ask for.
    pub(super) fn is_of_rights(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Unauthorized { .. })
    }

    /// How long the server asked us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the whole API is out of reach, so that no other kind would fare better.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        matches!(
            self,
            Self::Config { .. } | Self::Unreachable { .. } | Self::Unauthorized { .. }
        )
    }

    /// Whether the server answered that it failed: it cannot read what was asked for, or nothing.
    #[must_use]
    pub fn is_of_the_answer(&self) -> bool {
        matches!(self, Self::Status { status, .. } if status.is_server_error())
    }

    /// Whether the server says that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
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
