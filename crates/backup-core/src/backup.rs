//! Backup run that reads sources into the store and commits them with a manifest at the end.
//!
//! Order of writes: owner marker, epoch key, packs, recipes, indexes, signature, manifest. Each object names only
//! objects that were put before it. A run that dies leaves objects that nothing refers to, and never a
//! restore point with a hole.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::crypt::{Recipient, SigningKey};
use crate::digest::Digest;
use crate::format::manifest::{Finding, Manifest, StoredObject};
use crate::id::{ClusterName, ComponentName, RestorePointId};
use crate::num::to_u64;
use crate::progress::Progress;
use crate::source::{ArchiveSource, ByteStream, ClusterSource, SnapshotSource, SourceError};
use crate::store::{CreateOutcome, Key, Store};

mod archive;
mod batch;
mod check;
mod commit;
mod draft;
mod error;
mod etcd;
mod history;
mod owner_marker;
mod pipeline;
mod recorder;
mod run_state;
mod stages;
mod stored_component;
mod table;

pub use error::BackupError;

/// Protection of the objects that a run writes.
#[derive(Debug, Clone)]
pub enum Protection {
    /// Encrypted to these recipients.
    Recipients(Vec<Recipient>),
    /// Not encrypted, because that was requested explicitly.
    None,
}

impl Protection {
    /// Returns the recipients; none without encryption.
    fn recipients(&self) -> &[Recipient] {
        match self {
            Self::Recipients(recipients) => recipients,
            Self::None => &[],
        }
    }
}

/// Inputs of a run that do not depend on its sources.
#[derive(Debug)]
pub struct Run {
    /// The cluster that the prefix belongs to.
    pub cluster: ClusterName,
    /// Store that the run writes to.
    pub store: Arc<dyn Store>,
    /// Protection of what the run writes.
    pub protection: Protection,
    /// Key that signs the manifest; `None` only if that was requested explicitly.
    pub signing_key: Option<SigningKey>,
    /// Tool and version, for the manifest.
    pub tool: String,
    /// Reason for the run, for the manifest.
    pub reason: Option<String>,
    /// Whether the restore point is kept until it is unpinned.
    pub pinned: bool,
    /// Source of the current time.
    pub clock: Arc<dyn Clock>,
    /// Receiver of progress reports.
    pub progress: Arc<dyn Progress>,
    /// Token that ends the run early, with nothing committed.
    pub cancel: CancellationToken,
}

/// Contents of the restore point to be taken.
#[derive(Debug, Default)]
pub struct BackupPlan<'a> {
    /// Components, in the order in which they are taken.
    pub parts: Vec<(ComponentName, Origin<'a>)>,
    /// Source of facts about the cluster; `None` if the run does not query its API.
    pub cluster: Option<&'a dyn ClusterSource>,
    /// Components that were requested and cannot be started.
    pub missing: Vec<ComponentName>,
    /// Findings from before the run.
    pub findings: Vec<Finding>,
}

/// Origin of a component.
pub enum Origin<'a> {
    /// Best member that gives a whole etcd snapshot.
    Snapshot(&'a dyn SnapshotSource),
    /// Snapshot file that another tool wrote.
    File {
        /// Name of the file, for messages.
        name: &'a str,
        /// Bytes of the file.
        bytes: ByteStream,
    },
    /// Objects or files, one by one.
    Archive(&'a dyn ArchiveSource),
    /// No source: the component cannot be reached, for this reason.
    Nowhere(SourceError),
}

impl std::fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Snapshot(source) => f.debug_tuple("Snapshot").field(source).finish(),
            Self::File { name, .. } => f.debug_tuple("File").field(name).finish(),
            Self::Archive(source) => f.debug_tuple("Archive").field(source).finish(),
            Self::Nowhere(error) => f.debug_tuple("Nowhere").field(error).finish(),
        }
    }
}

/// Restore point that was just committed.
#[derive(Debug, Clone)]
pub struct NewRestorePoint {
    /// Id of the restore point.
    pub id: RestorePointId,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Manifest of the restore point.
    pub manifest: Manifest,
}

/// Reports whether the object of a run's finding is an etcd member, which is unhealthy although a snapshot
/// was taken.
#[must_use]
pub fn is_member(object: &str) -> bool {
    etcd::is_member(object)
}

/// Puts an object whose name is its digest, or finds that the store has it already.
async fn put(
    store: &dyn Store,
    key: &Key,
    bytes: Bytes,
    digest: Digest,
) -> Result<StoredObject, BackupError> {
    let size = to_u64(bytes.len());
    let failed = |source| BackupError::Store {
        key: key.clone(),
        source,
    };
    if store.create(key, bytes, digest).await.map_err(failed)? == CreateOutcome::Existed {
        // Names are digests, so the object has the same bytes; another size means damage.
        let there = store.head(key).await.map_err(failed)?;
        if there.size != size || there.recorded.is_some_and(|r| r != digest) {
            return Err(BackupError::Conflict { key: key.clone() });
        }
    }
    Ok(StoredObject {
        sha256: digest,
        bytes: size,
    })
}

impl Run {
    /// Takes every part of the plan that can be taken, and commits them as one restore point. Parts that
    /// could not be taken are in its findings. If no part could be taken, nothing is committed.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing is committed then.
    pub async fn take(&self, plan: BackupPlan<'_>) -> Result<NewRestorePoint, BackupError> {
        pipeline::take(self, plan).await
    }

    /// Checks in the store, by size and checksum, every object that this run put for `committed`, and returns
    /// their number. Objects of earlier runs are checked by an audit.
    ///
    /// # Errors
    /// [`BackupError::Lost`] if the store lacks an object or has it with another size or checksum.
    pub async fn check(&self, committed: &NewRestorePoint) -> Result<u64, BackupError> {
        check::check(self, committed).await
    }

    /// Reads every object that `committed` needs, including those of earlier runs, compares it with its name,
    /// and returns their number. Only a holder of a key can check whether the objects can be decrypted.
    ///
    /// # Errors
    /// [`BackupError::Lost`] if the store lacks an object or has it with other bytes.
    pub async fn read_back(&self, committed: &NewRestorePoint) -> Result<u64, BackupError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(BackupError::Cancelled),
            read = check::read_back(self, committed) => read,
        }
    }

    /// Takes a snapshot from the best member of `source` that gives a whole one, and commits it as component
    /// `etcd`.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing is committed then.
    pub async fn snapshot_etcd(
        &self,
        source: &dyn SnapshotSource,
    ) -> Result<NewRestorePoint, BackupError> {
        self.take(BackupPlan {
            parts: vec![(ComponentName::etcd(), Origin::Snapshot(source))],
            ..BackupPlan::default()
        })
        .await
    }

    /// Stores and commits a snapshot file that another tool wrote, as component `etcd`. `name` is the file's
    /// name for messages.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing is committed then.
    pub async fn import_etcd(
        &self,
        name: &str,
        bytes: ByteStream,
    ) -> Result<NewRestorePoint, BackupError> {
        self.take(BackupPlan {
            parts: vec![(ComponentName::etcd(), Origin::File { name, bytes })],
            ..BackupPlan::default()
        })
        .await
    }

    /// Returns the names of the files in the newest kit of the prefix; empty if there is none. The run that
    /// stored the files cannot read their content.
    ///
    /// # Errors
    /// If the store cannot be read, or its prefix belongs to another cluster.
    pub async fn kit_files(&self) -> Result<Vec<String>, BackupError> {
        let claimed = owner_marker::owner_marker(self).await?;
        history::kit_files(self, &claimed).await
    }

    fn finding(&self, findings: &mut Vec<Finding>, finding: Finding) {
        self.progress
            .note(&format!("{}: {}", finding.object, finding.cause));
        findings.push(finding);
    }
}
