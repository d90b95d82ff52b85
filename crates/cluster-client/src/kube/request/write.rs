//! Single writes, bounded in time and retried when the server did not accept them.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;

use super::refusal::ApiStatus;
use super::{Api, MAX_ERROR};
use backup_core::archive::read_json;
use backup_core::causes;

/// Largest answer: it is the object, and requests are limited to 3 MiB.
const MAX_ANSWER: usize = 16 << 20;
/// Longest pause between two tries, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Write request.
#[derive(Clone)]
pub(in crate::kube) struct WriteRequest<'a> {
    pub(in crate::kube) method: Method,
    /// Path and query.
    pub(in crate::kube) path: String,
    pub(in crate::kube) content_type: &'static str,
    pub(in crate::kube) body: &'a Value,
}

/// Reason why a write failed, or why its result is unknown.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The server did not answer: the write may have been done.
    #[error("{request} got no answer from {server}")]
    Unreachable {
        /// Verb and path.
        request: String,
        /// Address of the API server.
        server: String,
        /// Cause of the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time: the write may have been done.
    #[error("{request} took longer than {} s", .limit.as_secs())]
    Slow {
        /// Verb and path.
        request: String,
        /// Time limit of the request.
        limit: Duration,
    },
    /// The server refused.
    #[error("{request} answered {status}: {message}")]
    Refused {
        /// Verb and path.
        request: String,
        /// Status of the answer.
        status: StatusCode,
        /// Server's reason code, such as `AlreadyExists`; empty if it gave none.
        reason: String,
        /// Server's message.
        message: String,
        /// Time after which to retry, if the server gave it.
        retry_after: Option<Duration>,
    },
    /// The answer is not an object. Its text may hold a secret and is left out.
    #[error("{request}: the answer is not an object")]
    Malformed {
        /// Verb and path.
        request: String,
    },
}

impl WriteError {
    /// Reports whether the server's reason code is `reason`, such as `AlreadyExists`.
    #[must_use]
    pub fn is(&self, reason: &str) -> bool {
        matches!(self, Self::Refused { reason: told, .. } if told == reason)
    }

    /// Reports whether the whole API is out of reach.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Slow { .. })
    }

    /// Reports whether the server says that the kind, object or namespace does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Reports whether another client wrote the object in between.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.is("Conflict")
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Refused { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS
                    || matches!(
                        *status,
                        StatusCode::SERVICE_UNAVAILABLE
                            | StatusCode::BAD_GATEWAY
                            | StatusCode::GATEWAY_TIMEOUT
                    )
            }
            Self::Malformed { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns the error and its causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        causes::line(self)
    }
}

impl Api {
    /// Sends `write`, and returns the object as it is after the write. A write whose answer was lost is
    /// retried: the caller must judge the result of the retry.
    pub(in crate::kube) async fn write(
        &self,
        write: &WriteRequest<'_>,
    ) -> Result<Value, WriteError> {
        let began = Instant::now();
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(8))
            .without_max_times()
            .with_jitter();
        (|| self.write_once(write))
            .retry(pauses)
            .when(|e| e.is_transient() && began.elapsed() < self.retry_for)
            .adjust(|e, pause| match (e.retry_after(), pause) {
                (Some(asked), Some(own)) => Some(asked.max(own).min(LONGEST_PAUSE)),
                (_, own) => own,
            })
            .notify(|e, pause| {
                tracing::debug!(error = %e, pause_ms = pause.as_millis(), "trying again");
            })
            .await
    }

    async fn write_once(&self, write: &WriteRequest<'_>) -> Result<Value, WriteError> {
        match tokio::time::timeout(self.request_timeout, self.written(write)).await {
            Ok(answer) => answer,
            Err(_) => Err(WriteError::Slow {
                request: write.request(),
                limit: self.request_timeout,
            }),
        }
    }

    async fn written(&self, write: &WriteRequest<'_>) -> Result<Value, WriteError> {
        let lost = |e: Box<dyn std::error::Error + Send + Sync>| WriteError::Unreachable {
            request: write.request(),
            server: self.server.clone(),
            source: e,
        };
        let body = serde_json::to_vec(write.body).map_err(|e| lost(e.into()))?;
        let request = Request::builder()
            .method(write.method.clone())
            .uri(&write.path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, write.content_type)
            .body(Body::from(body))
            .map_err(|e| lost(e.into()))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|e| lost(e.into()))?;
        let status = response.status();
        let after = response.headers().get(header::RETRY_AFTER);
        let after: Option<u64> = after.and_then(|v| v.to_str().ok()?.parse().ok());
        let most = if status.is_success() {
            MAX_ANSWER
        } else {
            MAX_ERROR
        };
        let bytes: Bytes = self
            .body(&write.path, response, most)
            .await
            .map_err(|e| lost(e.into()))?;
        if status.is_success() {
            return read_json(&bytes).map_err(|_| WriteError::Malformed {
                request: write.request(),
            });
        }
        let told: ApiStatus = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = if told.message.is_empty() {
            String::from_utf8_lossy(&bytes).chars().take(300).collect()
        } else {
            told.message
        };
        let seconds = after.unwrap_or(told.details.retry_after_seconds);
        Err(WriteError::Refused {
            request: write.request(),
            status,
            reason: told.reason,
            message: message.trim().to_owned(),
            retry_after: Some(Duration::from_secs(seconds)).filter(|d| !d.is_zero()),
        })
    }
}

impl WriteRequest<'_> {
    fn request(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}
