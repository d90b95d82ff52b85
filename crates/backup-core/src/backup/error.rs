//! The errors of a run.

use crate::causes;
use crate::crypt::{SealError, SigningError};
use crate::etcd::SnapshotError;
use crate::format::FormatError;
use crate::format::pack::PackError;
use crate::id::{ClusterName, ComponentName};
use crate::source::SourceError;
use crate::store::{Key, StoreError};

/// Why a run ended without a restore point.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Every member that was tried failed.
    #[error("no member gave a usable snapshot:{}", lines(.attempts))]
    NoMember {
        /// Each member and why not, causes included.
        attempts: Vec<String>,
    },
    /// The source could not be asked.
    #[error("cannot take a snapshot")]
    Source(#[source] SourceError),
    /// Not one component could be taken.
    #[error("nothing could be taken:{}", lines(&reasons(.failures, .known)))]
    Nothing {
        /// Each component that failed in the run, and why.
        failures: Vec<(ComponentName, BackupError)>,
        /// What had failed before the run, each with its cause.
        known: Vec<String>,
    },
    /// The two ways to the cluster lead to two clusters.
    #[error(
        "etcd holds the cluster whose kube-system has the UID {etcd}, and the Kubernetes API is \
         that of {api}; see that the talosconfig and the kubeconfig are of the same cluster"
    )]
    TwoClusters {
        /// As the snapshot says.
        etcd: String,
        /// As the API says.
        api: String,
    },
    /// What came is not a whole snapshot.
    #[error("{origin} gave no usable snapshot")]
    Snapshot {
        /// A node's address or a file's name.
        origin: String,
        /// What is wrong with it.
        source: SnapshotError,
    },
    /// A file to be imported cannot be read.
    #[error("cannot read {file}")]
    ReadFile {
        /// The file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("cannot store {key}")]
    Store {
        /// The object.
        key: Key,
        /// The failure.
        source: StoreError,
    },
    /// The store cannot be read.
    #[error("cannot read {what} from the store")]
    Read {
        /// What was read.
        what: &'static str,
        /// The failure.
        source: StoreError,
    },
    /// The prefix belongs to somebody else.
    #[error(
        "{store} was claimed for cluster `{owner}` on {since:.0}, and this run is for `{cluster}`; \
         give each cluster a prefix of its own"
    )]
    Claimed {
        /// The store's description.
        store: String,
        /// Who has it.
        owner: ClusterName,
        /// Since when.
        since: jiff::Timestamp,
        /// Who wanted it.
        cluster: ClusterName,
    },
    /// The claim cannot be understood.
    #[error("cannot read {key} of {store}")]
    Claim {
        /// The store's description.
        store: String,
        /// The claim's key.
        key: Key,
        /// Why not.
        source: FormatError,
    },
    /// The store does not keep what should be written once.
    #[error(
        "{store} {answer}; use a store that honours it (AWS S3, versitygw, MinIO, Ceph from Squid on)"
    )]
    NotWriteOnce {
        /// The store's description.
        store: String,
        /// What it does with a condition.
        answer: &'static str,
    },
    /// An object that was put is not there after the commit, or has other bytes.
    #[error(
        "{key} was put and is not in the store as it should be; the restore point that needs it \
         cannot be trusted: run `restore-cli audit`, and take another one"
    )]
    Lost {
        /// The object.
        key: Key,
    },
    /// An object that this run put is gone before its commit.
    #[error(
        "{key} was put by this run and is gone, so nothing is committed: somebody deletes here, or \
         leftovers are removed after less time than a run takes (`leftovers.grace`)"
    )]
    Removed {
        /// The object.
        key: Key,
    },
    /// An object of that name has another content.
    #[error("{key} is in the store already with other bytes; run `restore-cli audit`")]
    Conflict {
        /// The object.
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
    #[error("cannot take the stream apart")]
    Stage(#[source] std::io::Error),
    /// A stage of the pipeline panicked: a bug.
    #[error("a part of the program failed; please report this")]
    Panicked(#[source] tokio::task::JoinError),
    /// Told to end.
    #[error("interrupted; nothing was committed")]
    Cancelled,
}

/// Returns one line for each component that failed, then the causes that were known before.
fn reasons(failures: &[(ComponentName, BackupError)], known: &[String]) -> Vec<String> {
    let failures = failures.iter();
    let failures = failures.map(|(name, error)| format!("{name}: {}", causes::line(error)));
    failures.chain(known.iter().cloned()).collect()
}

fn lines(attempts: &[String]) -> String {
    attempts.iter().map(|a| format!("\n  {a}")).collect()
}
