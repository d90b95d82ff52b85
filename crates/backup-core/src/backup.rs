//! One run: sources into the store, committed by a manifest at the end.
//!
//! Order of writes: claim, epoch key, packs, recipes, indexes, signature, manifest. Each names only
//! what was put before it, so a run that dies leaves objects that nobody refers to, and never a
//! restore point with a hole.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::crypt::{Recipient, SigningKey};
use crate::digest::Digest;
use crate::format::manifest::{Finding, Manifest, StoredObject};
use crate::id::{ClusterName, ComponentName, RestorePointId};
use crate::progress::Progress;
use crate::source::{ArchiveSource, ByteStream, ClusterSource, SnapshotSource, SourceError};
use crate::store::{Created, Key, Store};

mod archive;
mod batch;
mod check;
mod claim;
mod commit;
mod error;
mod etcd;
mod memory;
mod recorder;
mod stages;
mod table;
mod work;

pub use error::BackupError;

/// How a run protects what it writes.
#[derive(Debug, Clone)]
pub enum Protection {
    /// Encrypted to these recipients.
    Recipients(Vec<Recipient>),
    /// Not encrypted, asked for by name.
    None,
}

impl Protection {
    /// Whom it is encrypted to; nobody where it is not.
    fn recipients(&self) -> &[Recipient] {
        match self {
            Self::Recipients(recipients) => recipients,
            Self::None => &[],
        }
    }
}

/// What a run needs that does not depend on its sources.
#[derive(Debug)]
pub struct Run {
    /// The cluster that the prefix belongs to.
    pub cluster: ClusterName,
    /// Where to.
    pub store: Arc<dyn Store>,
    /// For whom.
    pub protection: Protection,
    /// Who vouches; `None` only if asked for by name.
    pub signing_key: Option<SigningKey>,
    /// The tool and version, for the manifest.
    pub tool: String,
    /// Why the run is made.
    pub reason: Option<String>,
    /// Whether to keep it until somebody unpins it.
    pub pinned: bool,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Told how it goes.
    pub progress: Arc<dyn Progress>,
    /// Ends the run early, with nothing committed.
    pub cancel: CancellationToken,
}

/// What a restore point is to hold.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// The components, in the order they are taken.
    pub parts: Vec<(ComponentName, Origin<'a>)>,
    /// Who tells about the cluster; `None` if its API is not asked.
    pub cluster: Option<&'a dyn ClusterSource>,
    /// Components that were asked for and cannot even be begun.
    pub missing: Vec<ComponentName>,
    /// What is known before the run.
    pub findings: Vec<Finding>,
}

/// Where a component comes from.
pub enum Origin<'a> {
    /// The best member that gives a whole etcd snapshot.
    Snapshot(&'a dyn SnapshotSource),
    /// A snapshot file that another tool wrote.
    File {
        /// Its name, for messages.
        name: &'a str,
        /// Its bytes.
        bytes: ByteStream,
    },
    /// Objects or files, one by one.
    Archive(&'a dyn ArchiveSource),
    /// Nowhere: there is no way to it, and this is why.
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

/// A restore point just committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its id.
    pub id: RestorePointId,
    /// The SHA-256 of its manifest.
    pub digest: Digest,
    /// What it consists of.
    pub manifest: Manifest,
}

/// Whether the object of a run's finding is a member of an etcd, which is not well although a snapshot
/// was taken.
#[must_use]
pub fn is_member(object: &str) -> bool {
    etcd::is_member(object)
}

/// Puts an object whose name is its digest, or finds it there already.
async fn put(
    store: &dyn Store,
    key: &Key,
    bytes: Bytes,
    digest: Digest,
) -> Result<StoredObject, BackupError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let failed = |source| BackupError::Store {
        key: key.clone(),
        source,
    };
    if store.create(key, bytes, digest).await.map_err(failed)? == Created::Existed {
        // Names are digests, so it is ours or equal to ours; another size is damage.
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
    /// Takes every part of the plan that can be taken, and commits them as one restore point. What
    /// could not be taken is in its findings; if that is everything, nothing is committed.
    ///
    /// # Errors
    /// As [`BackupError`] says; nothing is committed then.
    pub async fn take(&self, plan: Plan<'_>) -> Result<Committed, BackupError> {
        work::take(self, plan).await
    }

    /// Asks the store for every object that this run put for `committed`, by size and checksum; gives
    /// their number. Objects of earlier runs are those of an audit.
    ///
    /// # Errors
    /// [`BackupError::Lost`] if one is not there as it was put.
    pub async fn check(&self, committed: &Committed) -> Result<u64, BackupError> {
        check::check(self, committed).await
    }

    /// Reads every object that `committed` needs, also those of earlier runs, and compares it with its
    /// name; gives their number. Whether it can be decrypted only a holder of a key can tell.
    ///
    /// # Errors
    /// [`BackupError::Lost`] if one is not there as it was put.
    pub async fn read_back(&self, committed: &Committed) -> Result<u64, BackupError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(BackupError::Cancelled),
            read = check::read_back(self, committed) => read,
        }
    }

    /// Takes a snapshot from the best member of `source` that gives a whole one, stores and
    /// commits it as component `etcd`.
    ///
    /// # Errors
    /// As [`BackupError`] says; nothing is committed then.
    pub async fn snapshot_etcd(
        &self,
        source: &dyn SnapshotSource,
    ) -> Result<Committed, BackupError> {
        self.take(Plan {
            parts: vec![(ComponentName::etcd(), Origin::Snapshot(source))],
            ..Plan::default()
        })
        .await
    }

    /// Stores and commits a snapshot file that another tool wrote, as component `etcd`. `name`
    /// is the file's name for messages.
    ///
    /// # Errors
    /// As [`BackupError`] says; nothing is committed then.
    pub async fn import_etcd(
        &self,
        name: &str,
        bytes: ByteStream,
    ) -> Result<Committed, BackupError> {
        self.take(Plan {
            parts: vec![(ComponentName::etcd(), Origin::File { name, bytes })],
            ..Plan::default()
        })
        .await
    }

    /// The names of the files in the newest kit of the prefix; empty if there is none. Their content
    /// cannot be read by who stored it.
    ///
    /// # Errors
    /// When the store cannot be read, or its prefix belongs to another cluster.
    pub async fn kit_files(&self) -> Result<Vec<String>, BackupError> {
        let claimed = claim::claim(self).await?;
        memory::kit_files(self, &claimed).await
    }

    fn finding(&self, findings: &mut Vec<Finding>, finding: Finding) {
        self.progress
            .note(&format!("{}: {}", finding.object, finding.cause));
        findings.push(finding);
    }
}
