//! Stream of a run's events, one JSON object a line. A slow reader misses some events and delays nobody.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use backup_cli::clean;
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::{Api, Refusal};
use crate::daemon::run_handle::{RunEvent, RunHandle, RunStatus};

/// Longest time between two lines, so that both ends see that the other is there.
const PULSE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
#[serde(rename_all = "camelCase", tag = "event")]
enum StreamLine {
    /// Status of the run: the first line, some lines between, and the last.
    Status(RunStatus),
    /// Event of the run.
    Progress(RunEvent),
    /// Number of events that a slow reader missed.
    #[serde(rename_all = "camelCase")]
    Missed { events: u64 },
}

struct RunStream {
    handle: Arc<RunHandle>,
    events: broadcast::Receiver<RunEvent>,
    begun: bool,
    ended: bool,
    _turn: OwnedSemaphorePermit,
}

/// Streams `handle` to its end.
pub(super) fn follow(api: &Api, handle: Arc<RunHandle>) -> Response {
    let Ok(turn) = Arc::clone(&api.streams).try_acquire_owned() else {
        let error = format!(
            "too many follow runs already; ask for /v1/runs/{} now and then",
            handle.run()
        );
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error).into_response();
    };
    let reader = RunStream {
        events: handle.listen(),
        handle,
        begun: false,
        ended: false,
        _turn: turn,
    };
    let lines = stream::unfold(reader, async |mut reader| {
        let line = reader.next().await?;
        Some((line, reader))
    });
    let body = Body::from_stream(lines);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

impl RunStream {
    async fn next(&mut self) -> Option<serde_json::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let status = self.handle.status();
        if !self.begun || status.state.is_end() {
            (self.begun, self.ended) = (true, status.state.is_end());
            return Some(line(&StreamLine::Status(status)));
        }
        let told = match tokio::time::timeout(PULSE, self.events.recv()).await {
            // The status reports the end, because it contains the result.
            Ok(Ok(event)) if event.state.is_end() => {
                self.ended = true;
                StreamLine::Status(self.handle.status())
            }
            Ok(Ok(event)) => StreamLine::Progress(event),
            Ok(Err(broadcast::error::RecvError::Lagged(events))) => StreamLine::Missed { events },
            Ok(Err(broadcast::error::RecvError::Closed)) | Err(_) => {
                StreamLine::Status(self.handle.status())
            }
        };
        Some(line(&told))
    }
}

fn line(line: &StreamLine) -> serde_json::Result<Bytes> {
    let text = serde_json::to_string(line)?;
    let mut text = clean::json(&text).into_owned();
    text.push('\n');
    Ok(Bytes::from(text))
}
