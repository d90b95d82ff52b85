//! Errors of a run.

use crate::causes;
use crate::crypt::{SealError, SigningError};
use crate::etcd::SnapshotError;
use crate::format::FormatError;
use crate::format::pack::PackError;
use crate::id::{ClusterName, ComponentName};
use crate::source::SourceError;
use crate::store::{Key, StoreError};

/// Reason why a run ended without a restore point, or why a restore point failed its check.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Every member that was tried failed.
    #[error("no member gave a usable snapshot:{}", lines(.attempts))]
    NoMember {
        /// Each member and its error, causes included.
        attempts: Vec<String>,
    },
    /// The source could not be queried.
    #[error("cannot take a snapshot")]
    Source(#[source] SourceError),
    /// No component could be taken.
    #[error("nothing could be taken:{}", lines(&reasons(.failures, .known)))]
    Nothing {
        /// Each component that failed in the run, and its error.
        failures: Vec<(ComponentName, BackupError)>,
        /// Failures from before the run, each with its cause.
        known: Vec<String>,
    },
    /// The etcd snapshot and the Kubernetes API belong to different clusters.
    #[error(
        "etcd holds the cluster whose kube-system has the UID {etcd}, and the Kubernetes API is \
         that of {api}; see that the talosconfig and the kubeconfig are of the same cluster"
    )]
    TwoClusters {
        /// UID in the snapshot.
        etcd: String,
        /// UID from the API.
        api: String,
    },
    /// The stream is not a whole snapshot.
    #[error("{origin} gave no usable snapshot")]
    Snapshot {
        /// Address of a node or name of a file.
        origin: String,
        /// Fault of the snapshot.
        source: SnapshotError,
    },
    /// A file to be imported cannot be read.
    #[error("cannot read {file}")]
    ReadFile {
        /// Name of the file.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("cannot store {key}")]
    Store {
        /// Key of the object.
        key: Key,
        /// Error of the store.
        source: StoreError,
    },
    /// The store cannot be read.
    #[error("cannot read {what} from the store")]
    Read {
        /// Object that was read.
        what: &'static str,
        /// Error of the store.
        source: StoreError,
    },
    /// The prefix belongs to another cluster.
    #[error(
        "{store} was claimed for cluster `{owner}` on {since:.0}, and this run is for `{cluster}`; \
         give each cluster a prefix of its own"
    )]
    Claimed {
        /// Description of the store.
        store: String,
        /// Cluster that has the owner marker.
        owner: ClusterName,
        /// Time of the owner marker.
        since: jiff::Timestamp,
        /// Cluster of this run.
        cluster: ClusterName,
    },
    /// The owner marker cannot be parsed.
    #[error("cannot read {key} of {store}")]
    OwnerMarker {
        /// Description of the store.
        store: String,
        /// Key of the owner marker.
        key: Key,
        /// Cause.
        source: FormatError,
    },
    /// The store overwrites objects, or does not support conditional puts.
    #[error(
        "{store} {answer}; use a store that honours it (AWS S3, versitygw, MinIO, Ceph from Squid on)"
    )]
    NotWriteOnce {
        /// Description of the store.
        store: String,
        /// Answer of the store to a conditional put.
        answer: &'static str,
    },
    /// The store lacks an object that was put, or has it with other bytes.
    #[error(
        "{key} was put but is not in the store as it should be; the restore point that needs it cannot be \
         trusted: run `restore-cli audit`, and take another one"
    )]
    Lost {
        /// Key of the object.
        key: Key,
    },
    /// The store lacks an object that this run put, before its commit.
    #[error(
        "{key} was put by this run and is gone, so nothing is committed: somebody deletes here, or \
         leftovers are removed after less time than a run takes (`leftovers.grace`)"
    )]
    Removed {
        /// Key of the object.
        key: Key,
    },
    /// The store has an object of that name with other content.
    #[error("{key} is in the store already with other bytes; run `restore-cli audit`")]
    Conflict {
        /// Key of the object.
        key: Key,
    },
    /// Encryption failed.
    #[error("cannot encrypt")]
    Seal(#[from] SealError),
    /// A pack could not be made.
    #[error("cannot make a pack")]
    Pack(#[from] PackError),
    /// A part of the format could not be written.
    #[error("cannot write the restore point")]
    Format(#[from] FormatError),
    /// The signing key failed.
    #[error("cannot sign the manifest")]
    Sign(#[from] SigningError),
    /// A stage of the pipeline failed.
    #[error("cannot split the stream into chunks")]
    Stage(#[source] std::io::Error),
    /// A stage of the pipeline panicked: a bug.
    #[error("a part of the program failed; please report this")]
    Panicked(#[source] tokio::task::JoinError),
    /// The run was cancelled.
    #[error("interrupted; nothing was committed")]
    Cancelled,
}

/// Returns one line for each component that failed, then the causes from before the run.
fn reasons(failures: &[(ComponentName, BackupError)], known: &[String]) -> Vec<String> {
    let failures = failures.iter();
    let failures = failures.map(|(name, error)| format!("{name}: {}", causes::line(error)));
    failures.chain(known.iter().cloned()).collect()
}

fn lines(attempts: &[String]) -> String {
    attempts.iter().map(|a| format!("\n  {a}")).collect()
}
