//! The restore points in a cluster's store, newest first.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use backup_cli::failure::Failure;
use backup_cli::open::{self, Access};
use backup_core::catalog::Catalog;
use backup_core::crypt::Trust;
use backup_core::id::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Api, Refusal, json};
use crate::daemon::apart::apart;

/// As many as are read for one answer; `restore-cli list` reads all.
const MOST: usize = 100;
/// As many if nothing is said.
const USUAL: usize = 20;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    cluster: Option<ClusterName>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    cluster: ClusterName,
    /// How many there are in all.
    count: usize,
    restore_points: Vec<Point>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    id: String,
    #[serde(flatten)]
    read: Option<Read>,
    /// Why its manifest cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    began: Timestamp,
    ended: Timestamp,
    components: Vec<String>,
    missing: Vec<String>,
    lacks: Vec<String>,
    partial: bool,
    pinned: bool,
    reason: Option<String>,
    /// What its signature is worth to this daemon's own key.
    signature: String,
    stored_bytes: u64,
}

/// `GET /v1/restore-points`.
pub(super) async fn list(State(api): State<Arc<Api>>, Query(asked): Query<Asked>) -> Response {
    let listed = apart(async move { listed(&api, asked).await }, |cause| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, cause))
    });
    match listed.await {
        Ok(listed) => json(&listed),
        Err(refusal) => refusal.into_response(),
    }
}

async fn listed(api: &Api, asked: Asked) -> Result<Listed, Refusal> {
    let cluster = asked.cluster.or_else(|| api.board.only()).ok_or_else(|| {
        let error = "name it with `?cluster=NAME`: there are several";
        Refusal::new(StatusCode::BAD_REQUEST, error)
    })?;
    let config = api.board.with(&cluster, |here| Arc::clone(&here.config));
    let config = config.ok_or_else(|| {
        let error = format!("cluster `{cluster}` is not one of this daemon's");
        Refusal::new(StatusCode::NOT_FOUND, error)
    })?;
    let closed = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "it is stopping");
    let _turn = api.reads.acquire().await.map_err(closed)?;
    let failed = |failure: Failure| Refusal::new(StatusCode::BAD_GATEWAY, failure.one_line());
    let url = config.need_store().map_err(|e| failed(e.into()))?;
    let key = config.need_signing_key().map_err(|e| failed(e.into()))?;
    let store = open::store(url, Access::Write, &api.environment).await;
    let store = store.map_err(failed)?;
    let catalog = Catalog::new(store);
    let mut entries = catalog.list().await.map_err(|e| failed(e.into()))?;
    let count = entries.len();
    entries.reverse();
    entries.truncate(asked.limit.unwrap_or(USUAL).min(MOST));
    let trust = Trust::Keys(vec![key.public().clone()]);
    let read = catalog.load_all(&entries, &trust).await;
    let points = entries.iter().zip(read).map(|(entry, read)| {
        let id = entry.id.to_string();
        let point = match read {
            Ok(point) => point,
            Err(error) => {
                let error = Some(Failure::from(error).one_line());
                return Point {
                    id,
                    read: None,
                    error,
                };
            }
        };
        let manifest = point.manifest;
        let read = Read {
            began: manifest.began,
            ended: manifest.ended,
            components: manifest
                .components
                .iter()
                .map(|c| c.name.to_string())
                .collect(),
            missing: manifest.missing.iter().map(ToString::to_string).collect(),
            lacks: manifest.gaps().iter().map(ToString::to_string).collect(),
            partial: manifest.is_partial(),
            pinned: manifest.pinned,
            reason: manifest.reason.clone(),
            signature: point.verdict.to_string(),
            stored_bytes: manifest.cost.stored_bytes,
        };
        Point {
            id,
            read: Some(read),
            error: None,
        }
    });
    Ok(Listed {
        cluster,
        count,
        restore_points: points.collect(),
    })
}
