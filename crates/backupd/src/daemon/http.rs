//! HTTP server of the daemon: health, metrics, status, and restore points on demand.
//!
//! Everything is bounded: connections, handshakes, headers, bodies, the time of an answer, and streams.
//! Without TLS, traffic that leaves the machine needs the cluster's own encryption or a proxy. Health has its
//! own listener, because a probe without an answer ends the process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use backup_cli::clean;
use backup_cli::environment::Environment;
use backup_core::clock::Clock;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::lead::Lead;
use super::metrics::{CONTENT_TYPE, Metrics};
use super::status::StatusBoard;
use access::{AccessRules, RequestKind};
use host::HostNames;
use snapshots::IdempotencyKeys;

pub(crate) mod access;
pub(crate) mod host;
pub(crate) mod listener;
mod points;
mod snapshots;
mod stream;

/// Largest number of progress streams at the same time. It leaves room for other requests, and is larger than
/// one client's number of connections.
const STREAMS: usize = 24;
/// Time limit for an answer that is not a stream; some answers read the store.
const ANSWER: Duration = Duration::from_secs(60);

/// State from which all answers are made.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lead: watch::Receiver<Lead>,
    pub(crate) access: AccessRules,
    pub(crate) names: HostNames,
    pub(crate) stop: CancellationToken,
    metrics: Metrics,
    keys: IdempotencyKeys,
    streams: Arc<Semaphore>,
    /// Slots for answers that read the store.
    reads: Semaphore,
    pub(crate) environment: Environment,
}

impl Api {
    pub(crate) fn new(
        board: Arc<StatusBoard>,
        clock: Arc<dyn Clock>,
        lead: watch::Receiver<Lead>,
        (access, names): (AccessRules, HostNames),
        stop: CancellationToken,
        environment: Environment,
    ) -> Self {
        Self {
            metrics: Metrics::new(Arc::clone(&board), Arc::clone(&clock)),
            board,
            clock,
            lead,
            access,
            names,
            stop,
            keys: IdempotencyKeys::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            reads: Semaphore::new(2),
            environment,
        }
    }
}

/// Error answer, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, json(&self)).into_response()
    }
}

/// Returns `value` as JSON that is safe to show on a terminal.
fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let text = clean::json(&text).into_owned();
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Returns the routes for metrics, status and restore points, and for health on the same listener.
pub(crate) fn api_routes(api: &Arc<Api>) -> Router {
    let guarded = |guard| middleware::from_fn_with_state((Arc::clone(api), guard), access::guard);
    let writes = Router::new()
        .route("/v1/snapshots", post(snapshots::take))
        .layer(guarded(RequestKind::Writes));
    let reads = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/restore-points", get(points::list))
        .route("/v1/runs/{run}", get(snapshots::run))
        .layer(middleware::from_fn(limit_time))
        .layer(guarded(RequestKind::Reads));
    let streams = Router::new()
        .route("/v1/runs/{run}/events", get(snapshots::events))
        .layer(guarded(RequestKind::Reads));
    let open = open_routes()
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(limit_time));
    with_fallback(writes.merge(reads).merge(streams).merge(open), api)
}

/// Returns the routes for health alone.
pub(crate) fn health_routes(api: &Arc<Api>) -> Router {
    with_fallback(open_routes(), api)
}

fn open_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

fn with_fallback(router: Router<Arc<Api>>, api: &Arc<Api>) -> Router {
    router
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is no such page"))
        .with_state(Arc::clone(api))
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let error = format!("no answer within {} s", ANSWER.as_secs());
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, error).into_response()
        }
    }
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.metrics.text()).into_response()
}

async fn status(State(api): State<Arc<Api>>) -> Response {
    json(&api.board.status(api.clock.now()))
}

/// Answers ready once a store could be read, and until the stop.
async fn ready(State(api): State<Arc<Api>>) -> Response {
    if api.stop.is_cancelled() {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "it is stopping").into_response();
    }
    let status = api.board.status(api.clock.now());
    let looked = status
        .clusters
        .iter()
        .any(|c| c.view.restore_points.is_some());
    if looked || status.clusters.is_empty() {
        return "ready\n".into_response();
    }
    let error = status
        .clusters
        .iter()
        .find_map(|c| c.view.store_error.clone());
    let error = error.unwrap_or_else(|| "no store was looked at yet".to_owned());
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error).into_response()
}
