//! Endpoints for restore points on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use backup_core::digest::Digest;
use backup_core::id::{ClusterName, ComponentName};
use futures::StreamExt as _;
use serde::Deserialize;

use super::stream::follow;
use super::{Api, Refusal, json};
use crate::daemon::queue::RunRequest;
use crate::daemon::run_handle::{RunCause, RunHandle};
use crate::run_builder::Note;
use crate::run_builder::sources::component;

/// Largest body: some names and a reason.
const BODY_BYTES: usize = 16 << 10;
/// Bytes of a larger body that are still read: a client that is still sending does not read the answer.
const READ_OVER: usize = 1 << 20;
/// Time limit for the body.
const BODY: Duration = Duration::from_secs(10);
/// Number of remembered keys; the oldest is forgotten first.
const KEYS: usize = 256;
/// Longest key, and longest reason.
const LONGEST: usize = 200;

/// Accepted requests, by their idempotency key.
#[derive(Debug, Default)]
pub(super) struct IdempotencyKeys(Mutex<VecDeque<(String, Digest, Arc<RunHandle>)>>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SnapshotRequest {
    cluster: Option<ClusterName>,
    #[serde(default)]
    components: Vec<String>,
    reason: Option<String>,
    #[serde(default)]
    pin: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct WaitQuery {
    wait: Option<bool>,
}

/// `POST /v1/snapshots`.
pub(super) async fn take(
    State(api): State<Arc<Api>>,
    Query(wait): Query<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match whole(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let handle = match begin(&api, &headers, &body) {
        Ok(handle) => handle,
        Err(refusal) => {
            let busy = refusal.status == StatusCode::TOO_MANY_REQUESTS;
            let mut answer = refusal.into_response();
            if busy {
                answer.headers_mut().insert(header::RETRY_AFTER, 30.into());
            }
            return answer;
        }
    };
    if wait.wait == Some(false) {
        return (StatusCode::ACCEPTED, json(&handle.status())).into_response();
    }
    follow(&api, handle)
}

/// Reads the body, if it arrives in time and is not too large.
async fn whole(body: Body) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(BODY, read(body)).await {
        Ok(read) => read,
        Err(_) => {
            let error = format!("the body did not come within {} s", BODY.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut parts = body.into_data_stream();
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(part) = parts.next().await {
        let broken = |_| Refusal::new(StatusCode::BAD_REQUEST, "the body broke off");
        let part = part.map_err(broken)?;
        length = length.saturating_add(part.len());
        if length <= BODY_BYTES {
            kept.extend_from_slice(&part);
        } else if length > READ_OVER {
            break;
        }
    }
    if length > BODY_BYTES {
        let error = format!("want a body of at most {BODY_BYTES} bytes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    Ok(kept)
}

fn begin(api: &Api, headers: &HeaderMap, body: &[u8]) -> Result<Arc<RunHandle>, Refusal> {
    let key = key(headers)?;
    let digest = Digest::of(body);
    // The lock is held to the end: of two requests with the same key, the second finds the first.
    let mut keys = api.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
    let known = keys
        .iter()
        .find(|(known, _, _)| Some(known) == key.as_ref());
    if let Some((_, known, handle)) = known {
        return if *known == digest {
            Ok(Arc::clone(handle))
        } else {
            let error = "this idempotency key came with another request before";
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error))
        };
    }
    let handle = demand(api, body)?;
    if let Some(key) = key {
        if keys.len() >= KEYS {
            keys.pop_front();
        }
        keys.push_back((key, digest, Arc::clone(&handle)));
    }
    Ok(handle)
}

fn demand(api: &Api, body: &[u8]) -> Result<Arc<RunHandle>, Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let body = if body.is_empty() { b"{}" } else { body };
    let asked: SnapshotRequest = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let parsed: Result<Vec<ComponentName>, _> =
        asked.components.iter().map(|c| component(c)).collect();
    let components = parsed.map_err(bad)?;
    if asked
        .reason
        .as_ref()
        .is_some_and(|reason| reason.len() > LONGEST)
    {
        return Err(bad(format!("`reason` is longer than {LONGEST} bytes")));
    }
    let busy = |error: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error);
    if api.stop.is_cancelled() {
        return Err(busy("the daemon is stopping".to_owned()));
    }
    let lead = api.lead.borrow().clone();
    if !lead.takes_demands() {
        let lead = serde_json::to_string(&lead).unwrap_or_default();
        return Err(busy(format!("this daemon does not lead: {lead}")));
    }
    let cluster = asked.cluster.or_else(|| api.board.only());
    let cluster = cluster.ok_or_else(|| bad("name the `cluster`: there are several".to_owned()))?;
    let cause = RunCause::Demand;
    let handle = RunHandle::new(&cluster, components.clone(), cause, &api.clock);
    let wanted = RunRequest {
        components,
        cause,
        note: Note {
            reason: asked.reason.or_else(|| Some(cause.reason().to_owned())),
            pin: asked.pin,
        },
        handle: Some(Arc::clone(&handle)),
    };
    let put = api.board.with(&cluster, |here| {
        let put = here.queue.demand(wanted);
        if put.is_ok() {
            here.watch(&handle);
        }
        put
    });
    match put {
        Some(Ok(())) => Ok(handle),
        Some(Err(full)) => Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            full.to_string(),
        )),
        None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("cluster `{cluster}` is not one of this daemon's"),
        )),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .ok()
        .filter(|text| (1..=LONGEST).contains(&text.len()));
    match text {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("an idempotency key is 1 to {LONGEST} characters of ASCII"),
        )),
    }
}

/// `GET /v1/runs/RUN`.
pub(super) async fn run(State(api): State<Arc<Api>>, Path(run): Path<String>) -> Response {
    match api.board.find(&run) {
        Some(handle) => json(&handle.status()),
        None => no_run().into_response(),
    }
}

/// `GET /v1/runs/RUN/events`.
pub(super) async fn events(State(api): State<Arc<Api>>, Path(run): Path<String>) -> Response {
    match api.board.find(&run) {
        Some(handle) => follow(&api, handle),
        None => no_run().into_response(),
    }
}

fn no_run() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is no such run; of those that have ended only the newest are kept",
    )
}
