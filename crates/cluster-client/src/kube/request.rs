//! GET requests of bounded size and time, retried while that may help.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connect::KubeOptions;
use super::failure::KubeError;
use backup_core::archive::{MAX_DEPTH, read_json};
use backup_core::proxy::Proxies;

mod lines;
mod refusal;
mod write;

pub use write::WriteError;
pub(super) use write::WriteRequest;

/// Largest small answer. A list of kinds or a version is some KiB; the largest groups have 300.
pub(super) const SMALL: usize = 4 << 20;
/// Largest error text that is read.
const MAX_ERROR: usize = 64 << 10;
/// Time for which error answers are retried. Throttling and start-up pass in seconds; an extension API
/// that is down stays down.
const REFUSED: Duration = Duration::from_secs(20);
/// The same for discovery, which queries every group; most of them are not needed.
const REFUSED_SOON: Duration = Duration::from_secs(3);
/// Longest pause between two tries, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Maximum number of tries after a 500: an error inside the server, such as a webhook that cannot be
/// called, seldom heals in seconds.
const TRIES_OF_500: usize = 3;

/// Time for which a refusal may be temporary: an API server that has just started refuses everyone for
/// some seconds, until it has read the access rules.
const LEARNING: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
/// Media type of lists of heads: name, labels and revision, without values or their sizes.
const HEADS: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// API of a cluster.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    pub(super) server: String,
    request_timeout: Duration,
    /// Time for which a request is retried when the server does not answer.
    retry_for: Duration,
    /// Time for which a request is retried when the server answers with an error.
    refused_for: Duration,
    /// Maximum number of tries when the server fails internally.
    tries_of_500: usize,
    /// Time at which the server last did not answer.
    lost: Arc<Mutex<Option<Instant>>>,
    /// Requested media type.
    accept: &'static str,
    /// Proxies for other servers.
    pub(super) proxies: Proxies,
}

impl Api {
    pub(super) async fn connect(options: &KubeOptions) -> Result<Self, KubeError> {
        let (client, server) = options.connect().await?;
        Ok(Self {
            client,
            server,
            request_timeout: options.request_timeout,
            retry_for: options.retry_for,
            refused_for: options.request_timeout.min(REFUSED),
            tries_of_500: TRIES_OF_500,
            lost: Arc::default(),
            accept: JSON,
            proxies: options.proxies.clone(),
        })
    }

    /// Creates the API from an existing client. Nothing is retried.
    pub(super) fn without_retries(
        client: Client,
        server: String,
        request_timeout: Duration,
    ) -> Self {
        Self {
            client,
            server,
            request_timeout,
            retry_for: Duration::ZERO,
            refused_for: Duration::ZERO,
            tries_of_500: TRIES_OF_500,
            lost: Arc::default(),
            accept: JSON,
            proxies: Proxies::default(),
        }
    }

    /// Returns the same API, which requests heads of objects where possible.
    pub(super) fn heads(&self) -> Self {
        Self {
            accept: HEADS,
            ..self.clone()
        }
    }

    /// Returns the same API, with shorter retries for a part of it that answers with errors.
    pub(super) fn with_short_retries(&self) -> Self {
        Self {
            refused_for: self.refused_for.min(REFUSED_SOON),
            ..self.clone()
        }
    }

    /// Returns the same API, without retries after an internal error.
    pub(super) fn without_internal_retries(&self) -> Self {
        Self {
            tries_of_500: 1,
            ..self.clone()
        }
    }

    /// Returns the client itself, for requests other than lists.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the answer to `path`, read as `T`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        wanted: &'static str,
    ) -> Result<T, KubeError> {
        let bytes = self.bytes(path, SMALL).await?;
        parse(path, wanted, &bytes)
    }

    /// Returns the answer to `path`, at most `most` bytes; retries while that may help.
    pub(super) async fn bytes(&self, path: &str, most: usize) -> Result<Bytes, KubeError> {
        let began = Instant::now();
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(8))
            .without_max_times()
            .with_jitter();
        let mut failed_inside = 0_usize;
        (|| self.once(path, most))
            .retry(pauses)
            .when(|e| {
                if let KubeError::Status { status, .. } = e
                    && *status == StatusCode::INTERNAL_SERVER_ERROR
                {
                    failed_inside = failed_inside.saturating_add(1);
                }
                let left = match e {
                    // A request that was slow has used its time.
                    KubeError::Slow { .. } => Duration::ZERO,
                    KubeError::Status { .. } => self.refused_for,
                    _ => self.retry_for,
                };
                let passing = e.is_transient() || (e.is_denied() && self.is_learning());
                passing && failed_inside < self.tries_of_500 && began.elapsed() < left
            })
            .adjust(|e, pause| match (e.retry_after(), pause) {
                (Some(asked), Some(own)) => Some(asked.max(own).min(LONGEST_PAUSE)),
                (_, own) => own,
            })
            .notify(|e, pause| {
                tracing::debug!(path, error = %e, pause_ms = pause.as_millis(), "trying again");
            })
            .await
    }

    async fn once(&self, path: &str, most: usize) -> Result<Bytes, KubeError> {
        match tokio::time::timeout(self.request_timeout, self.answer(path, most)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.slow(path)),
        }
    }

    fn slow(&self, path: &str) -> KubeError {
        KubeError::Slow {
            server: self.server.clone(),
            path: path.to_owned(),
            limit: self.request_timeout,
        }
    }

    async fn answer(&self, path: &str, most: usize) -> Result<Bytes, KubeError> {
        let response = self.ask(path, self.accept).await?;
        self.body(path, response, most).await
    }

    /// Sends one request, and returns the answer unless it is an error.
    async fn ask(&self, path: &str, accept: &str) -> Result<Response<Body>, KubeError> {
        let request = Request::get(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .map_err(|e| self.unreachable(path, e))?;
        let response = self.client.send(request).await;
        let response = response.map_err(|e| self.unreachable(path, e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let after = parts.headers.get(header::RETRY_AFTER);
        let after = after.and_then(|v| v.to_str().ok()?.parse().ok());
        let answer = Response::from_parts(parts, body);
        let status = answer.status();
        let text = self.body(path, answer, MAX_ERROR).await?;
        Err(self.refused(path, status, after, &text))
    }

    async fn body(
        &self,
        path: &str,
        response: Response<Body>,
        most: usize,
    ) -> Result<Bytes, KubeError> {
        let mut blocks = response.into_body().into_data_stream();
        let mut held = BytesMut::new();
        while let Some(block) = blocks.next().await {
            let block = block.map_err(|e| self.unreachable(path, e))?;
            if held.len().saturating_add(block.len()) > most {
                let path = path.to_owned();
                return Err(KubeError::TooLarge { path, most });
            }
            held.extend_from_slice(&block);
        }
        Ok(held.freeze())
    }

    /// Reports whether the server recently did not answer.
    fn is_learning(&self) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.is_some_and(|lost| lost.elapsed() < LEARNING)
    }

    fn unreachable<E>(&self, path: &str, source: E) -> KubeError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost = Some(Instant::now());
        KubeError::Unreachable {
            server: self.server.clone(),
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.server)
    }
}

/// Parses an answer. Errors contain only the position: the text may be a Secret's.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    path: &str,
    wanted: &'static str,
    bytes: &'a [u8],
) -> Result<T, KubeError> {
    read_json(bytes).map_err(|flaw| KubeError::Malformed {
        path: path.to_owned(),
        wanted,
        at: if flaw.too_deep {
            format!("a depth of more than {MAX_DEPTH} levels")
        } else {
            format!("line {} column {}", flaw.line, flaw.column)
        },
    })
}
