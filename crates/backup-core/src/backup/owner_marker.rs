//! OwnerMarker of a prefix for one cluster.

use bytes::Bytes;

use super::{BackupError, Run};
use crate::digest::Digest;
use crate::format::owner_marker::OwnerMarker;
use crate::format::{VERSION, layout};
use crate::store::{CreateOutcome, StoreError, WriteOnceSupport};

/// OwnerMarker of the prefix, and the SHA-256 of its stored bytes.
pub(super) struct StoredMarker {
    pub(super) marker: OwnerMarker,
    pub(super) digest: Digest,
}

/// Reads the owner marker, or creates it if the prefix has none. Refuses the prefix of another cluster.
pub(super) async fn owner_marker(run: &Run) -> Result<StoredMarker, BackupError> {
    let key = layout::owner_marker();
    let store = run.store.as_ref();
    let failed = |source| BackupError::Read {
        what: "the owner marker",
        source,
    };
    let bytes = match store.get(&key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => {
            let probe = store.probe().await.map_err(failed)?;
            let answer = match probe.write_once {
                WriteOnceSupport::Honoured => None,
                WriteOnceSupport::Ignored => {
                    Some("ignores `If-None-Match: *` and would overwrite objects")
                }
                WriteOnceSupport::NotImplemented => Some(
                    "answers a put with `If-None-Match: *` with 501: it does not know conditions",
                ),
            };
            if let Some(answer) = answer {
                return Err(BackupError::NotWriteOnce {
                    store: store.describe(),
                    answer,
                });
            }
            let marker = OwnerMarker {
                version: VERSION,
                cluster: run.cluster.clone(),
                id: hex::encode(uuid::Uuid::new_v4().as_bytes()),
                claimed: run.clock.now(),
                tool: run.tool.clone(),
            };
            let bytes = Bytes::from(marker.to_bytes()?);
            let put = store.create(&key, bytes.clone(), Digest::of(&bytes)).await;
            match put.map_err(|source| BackupError::Store {
                key: key.clone(),
                source,
            })? {
                CreateOutcome::New => bytes,
                // Another run was faster, or our first try succeeded: the stored one counts.
                CreateOutcome::Existed => store.get(&key).await.map_err(failed)?,
            }
        }
        Err(other) => return Err(failed(other)),
    };
    let marker = OwnerMarker::parse(&bytes).map_err(|source| BackupError::OwnerMarker {
        store: store.describe(),
        key: key.clone(),
        source,
    })?;
    if marker.cluster != run.cluster {
        return Err(BackupError::Claimed {
            store: store.describe(),
            owner: marker.cluster,
            since: marker.claimed,
            cluster: run.cluster.clone(),
        });
    }
    Ok(StoredMarker {
        digest: Digest::of(&bytes),
        marker,
    })
}
