//! List of the restore points in a cluster's store that its own key signed, newest first.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use backup_cli::failure::Failure;
use backup_cli::open::{self, StoreAccess};
use backup_core::catalog::{Catalog, ReadPolicy, RestorePoint};
use backup_core::causes;
use backup_core::crypt::Trust;
use backup_core::id::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Api, Refusal, json};
use crate::daemon::isolation::isolate;

/// Largest number of restore points in one answer; `restore-cli list` reads all.
const MOST: usize = 100;
/// Default number of restore points.
const USUAL: usize = 20;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    cluster: Option<ClusterName>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PointList {
    cluster: ClusterName,
    /// Number of all restore points.
    count: usize,
    restore_points: Vec<PointEntry>,
    /// Restore points that do not count, a line for each reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PointEntry {
    id: String,
    #[serde(flatten)]
    read: Option<PointFacts>,
    /// Reason why the manifest cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PointFacts {
    began: Timestamp,
    ended: Timestamp,
    components: Vec<String>,
    missing: Vec<String>,
    lacks: Vec<String>,
    partial: bool,
    pinned: bool,
    reason: Option<String>,
    /// Result of checking the signature with this daemon's own key.
    signature: String,
    stored_bytes: u64,
}

/// `GET /v1/restore-points`.
pub(super) async fn list(State(api): State<Arc<Api>>, Query(asked): Query<ListQuery>) -> Response {
    let listed = isolate(async move { listed(&api, asked).await }, |cause| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, cause))
    });
    match listed.await {
        Ok(listed) => json(&listed),
        Err(refusal) => refusal.into_response(),
    }
}

async fn listed(api: &Api, asked: ListQuery) -> Result<PointList, Refusal> {
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
    let store = open::store(url, StoreAccess::Write, &api.environment).await;
    let store = store.map_err(failed)?;
    let catalog = Catalog::new(store);
    let count = catalog.list().await.map_err(|e| failed(e.into()))?.len();
    let limit = asked.limit.unwrap_or(USUAL).min(MOST);
    let view = ReadPolicy {
        trust: Trust::Keys(vec![key.public().clone()]),
        now: api.clock.now(),
    };
    let mut points: Vec<PointEntry> = Vec::new();
    let each = |point: RestorePoint| {
        if points.len() >= limit {
            return ControlFlow::Break(());
        }
        points.push(PointEntry::of(point));
        ControlFlow::Continue(())
    };
    let looked = catalog.look_back(&view, None, each).await;
    let (_, left_out) = looked.map_err(|e| failed(e.into()))?;
    points.extend(left_out.unread.iter().map(|(entry, error)| PointEntry {
        id: entry.id.to_string(),
        read: None,
        error: Some(causes::line(error)),
    }));
    points.sort_by(|a, b| b.id.cmp(&a.id));
    let told = left_out.distrusted_line().into_iter();
    Ok(PointList {
        cluster,
        count,
        restore_points: points,
        warnings: told.chain(left_out.future_line()).collect(),
    })
}

impl PointEntry {
    fn of(point: RestorePoint) -> Self {
        let id = point.entry.id.to_string();
        let manifest = point.manifest;
        let read = PointFacts {
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
        Self {
            id,
            read: Some(read),
            error: None,
        }
    }
}
