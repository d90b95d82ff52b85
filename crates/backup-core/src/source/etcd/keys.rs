//! How many keys there are in the folders of an etcd, and whether there are any.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::explain::Failure;
use super::proto::{RangeRequest, RangeResponse};
use super::session::Session;
use super::{EtcdOptions, SourceError};
use crate::clock::Clock;
use crate::source::status::printable;

/// What the call is called in messages.
pub(super) const METHOD: &str = "KV.Range";

/// What lies in the folder of one schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaKeys {
    /// How many keys.
    pub keys: u64,
    /// The first of them, as text for a person.
    pub first: Option<String>,
}

/// Counts the keys below `/SCHEMA/` for each of `schemas`, without reading any value. One member
/// after the other is asked, until one answers all.
///
/// # Errors
/// When no member answers; says why of the last.
pub async fn schema_keys(
    options: &EtcdOptions,
    clock: &Arc<dyn Clock>,
    schemas: &[String],
) -> Result<BTreeMap<String, SchemaKeys>, SourceError> {
    let session = Session::begin(options, clock)?;
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
        operation: format!("{METHOD} of {}: it has no endpoint", options.name),
        try_other_member: false,
        source: None,
    }))
}

async fn at(
    session: &Session,
    endpoint: &str,
    schemas: &[String],
) -> Result<BTreeMap<String, SchemaKeys>, Failure> {
    let mut found = BTreeMap::new();
    for schema in schemas {
        let request = RangeRequest {
            key: format!("/{schema}/").into_bytes(),
            // The character after the slash.
            range_end: format!("/{schema}0").into_bytes(),
            limit: 1,
            keys_only: true,
        };
        let limit = session.call_timeout();
        let reply = session.keys(METHOD, endpoint, limit, |mut client, headers| {
            Box::pin(async move { Ok(client.range(headers.request(request)).await?.into_inner()) })
        });
        found.insert(schema.clone(), SchemaKeys::of(&reply.await?));
    }
    Ok(found)
}

impl SchemaKeys {
    fn of(reply: &RangeResponse) -> Self {
        let first = reply.kvs.first();
        Self {
            keys: u64::try_from(reply.count).unwrap_or_default(),
            first: first.map(|entry| printable(&String::from_utf8_lossy(&entry.key))),
        }
    }
}
