//! Counter of the keys in the folders of an etcd, which also finds the cluster that they belong to.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use super::explain::{EtcdFailure, KEYS};
use super::proto::{RangeRequest, RangeResponse};
use super::session::EtcdSession;
use super::{EtcdOptions, SourceError};
use crate::grpc::status::printable;
use backup_core::clock::Clock;
use backup_core::etcd::stored_uid;

/// Folders examined at the same time: hides round trips, three short calls each.
const AT_ONCE: usize = 8;

/// Contents of the folder of one schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaKeys {
    /// Number of keys.
    pub keys: u64,
    /// First key, as printable text.
    pub first: Option<String>,
    /// Whether it has the namespace `kube-system`, which every cluster has.
    pub kube_system: bool,
    /// UID of that namespace; absent if the namespace is missing or encrypted.
    pub kube_system_uid: Option<String>,
    /// Number of API servers that use it: the key of each expires 15 s after it ends.
    pub api_servers: u64,
}

/// Counts the keys below `/SCHEMA/` for each of `schemas`, and reads a few that identify the cluster;
/// no other value is read. Tries one member after the other, until one answers all calls.
///
/// # Errors
/// When no member answers; reports the reason of the last.
pub async fn schema_keys(
    options: &EtcdOptions,
    clock: &Arc<dyn Clock>,
    schemas: &[String],
) -> Result<BTreeMap<String, SchemaKeys>, SourceError> {
    let session = EtcdSession::begin(options, clock)?;
    let mut last = None;
    for endpoint in session.endpoints() {
        match at(&session, endpoint, schemas).await {
            Ok(found) => return Ok(found),
            Err(failure) => {
                let error = SourceError::from(failure);
                let everywhere = !error.try_other_member;
                last = Some(error);
                if everywhere {
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| SourceError {
        operation: format!("{KEYS} of {}: it has no endpoint", options.name),
        try_other_member: false,
        source: None,
    }))
}

async fn at(
    session: &EtcdSession,
    endpoint: &str,
    schemas: &[String],
) -> Result<BTreeMap<String, SchemaKeys>, EtcdFailure> {
    let mut looks = Vec::with_capacity(schemas.len());
    for schema in schemas {
        looks.push(count_keys(session, endpoint, schema));
    }
    futures::stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn count_keys(
    session: &EtcdSession,
    endpoint: &str,
    schema: &str,
) -> Result<(String, SchemaKeys), EtcdFailure> {
    let counted = range(session, endpoint, below(&format!("/{schema}"))).await?;
    let mut found = SchemaKeys::of(&counted);
    if found.keys > 0 {
        let one = RangeRequest {
            key: format!("/{schema}/namespaces/kube-system").into_bytes(),
            ..RangeRequest::default()
        };
        let system = range(session, endpoint, one).await?;
        let value = system.kvs.first().map(|entry| entry.value.as_slice());
        found.kube_system = value.is_some();
        found.kube_system_uid = value.and_then(stored_uid);
        let leases = below(&format!("/{schema}/masterleases"));
        let leases = range(session, endpoint, leases).await?;
        found.api_servers = u64::try_from(leases.count).unwrap_or_default();
    }
    Ok((schema.to_owned(), found))
}

/// Builds a request that counts the keys in a folder and returns the first.
fn below(folder: &str) -> RangeRequest {
    RangeRequest {
        key: format!("{folder}/").into_bytes(),
        // The end of the range: `0` is the character after `/`.
        range_end: format!("{folder}0").into_bytes(),
        limit: 1,
        keys_only: true,
    }
}

async fn range(
    session: &EtcdSession,
    endpoint: &str,
    request: RangeRequest,
) -> Result<RangeResponse, EtcdFailure> {
    let limit = session.call_timeout();
    let reply = session.keys(KEYS, endpoint, limit, |mut client, headers| {
        Box::pin(async move { Ok(client.range(headers.request(request)).await?.into_inner()) })
    });
    reply.await
}

impl SchemaKeys {
    fn of(reply: &RangeResponse) -> Self {
        let first = reply.kvs.first();
        Self {
            keys: u64::try_from(reply.count).unwrap_or_default(),
            first: first.map(|entry| printable(&String::from_utf8_lossy(&entry.key))),
            ..Self::default()
        }
    }
}
