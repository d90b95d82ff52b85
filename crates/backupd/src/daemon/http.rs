//! The daemon's HTTP: health, metrics, status, and restore points on demand.
//!
//! Everything is bounded: connections, handshakes, headers, bodies, the time of an answer, and streams.
//! Without TLS, what leaves the machine goes through the cluster's own means, or a proxy before it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use backup_cli::environment::Environment;
use backup_core::clock::Clock;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::lead::Lead;
use super::metrics::{CONTENT_TYPE, Metrics};
use crate::tls;
use access::{Access, Certified};
use snapshots::Keys;

pub(crate) mod access;
mod points;
mod snapshots;
mod stream;

/// Connections at the same time: Prometheus, probes, and some people.
const CONNECTIONS: usize = 64;
/// Streams of progress among them, so that those who only listen leave room for the others.
const STREAMS: usize = 16;
/// For the head of a request; a healthy client sends it at once.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head.
const HEAD_BYTES: usize = 16 << 10;
/// The largest body: some names and a reason.
const BODY_BYTES: usize = 16 << 10;
/// For an answer that is no stream; some read the store.
const ANSWER: Duration = Duration::from_secs(60);
/// No connection needs to live longer, and one whose other end does not read must not.
const CONNECTION: Duration = Duration::from_hours(3);

/// For the last answers at the end.
const REST: Duration = Duration::from_secs(2);

/// What all answers are made of.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lead: watch::Receiver<Lead>,
    pub(crate) access: Access,
    pub(crate) stop: CancellationToken,
    metrics: Metrics,
    keys: Keys,
    streams: Arc<Semaphore>,
    /// Answers that read the store.
    reads: Semaphore,
    pub(crate) environment: Environment,
}

impl Api {
    pub(crate) fn new(
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
        lead: watch::Receiver<Lead>,
        access: Access,
        stop: CancellationToken,
        environment: Environment,
    ) -> Self {
        Self {
            metrics: Metrics::new(Arc::clone(&board), Arc::clone(&clock)),
            board,
            clock,
            lead,
            access,
            stop,
            keys: Keys::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            reads: Semaphore::new(2),
            environment,
        }
    }
}

/// An answer that is no success, as JSON.
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
        (self.status, Json(self)).into_response()
    }
}

/// Serves until it is `over`: while a run at work is finished, it is told of.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<tls::Listener>>,
    api: Arc<Api>,
    over: CancellationToken,
) {
    let router = router(api);
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                match accepted {
                    Ok((stream, peer)) => {
                        connections.push(connection(stream, peer, tls.clone(), router.clone()));
                    }
                    // Too many open files, for example: it passes, and is no reason to spin.
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
            Some(()) = connections.next() => {}
            () = over.cancelled() => break,
        }
    }
    // Who follows a run hears its end, and who reads nothing is not waited for.
    let rest = async { while connections.next().await.is_some() {} };
    drop(tokio::time::timeout(REST, rest).await);
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<tls::Listener>>,
    router: Router,
) {
    let Some(tls) = tls else {
        return speak(stream, peer, Certified(false), router).await;
    };
    match tokio::time::timeout(HEAD, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            // One that is not of the authority ends the handshake.
            let shown = stream.get_ref().1.peer_certificates();
            let certified = Certified(shown.is_some_and(|chain| !chain.is_empty()));
            speak(stream, peer, certified, router).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with this client"),
        Err(_) => tracing::debug!(%peer, "a client did not end its handshake"),
    }
}

async fn speak<S>(stream: S, peer: SocketAddr, certified: Certified, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = router
        .layer(axum::Extension(ConnectInfo(peer)))
        .layer(axum::Extension(certified));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    match tokio::time::timeout(CONNECTION, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection ended"),
        Err(_) => tracing::warn!(%peer, "a connection was cut: it had lived too long"),
    }
}

fn router(api: Arc<Api>) -> Router {
    let writes = Router::new()
        .route("/v1/snapshots", post(snapshots::take))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            access::guard,
        ));
    let reads = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/status", get(status))
        .route("/v1/restore-points", get(points::list))
        .route("/v1/runs/{run}", get(snapshots::run))
        .layer(middleware::from_fn(in_time));
    let streams = Router::new().route("/v1/runs/{run}/events", get(snapshots::events));
    writes
        .merge(reads)
        .merge(streams)
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is no such page"))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(api)
}

async fn in_time(request: Request, next: Next) -> Response {
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
    Json(api.board.status(api.clock.now())).into_response()
}

/// Ready once a store could be looked at, and until the stop.
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
