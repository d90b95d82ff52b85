//! Reader of restore points: keys, verification, a component as a file, and its objects one by one.

use crate::archive::ArchiveError;
use crate::etcd::SnapshotError;
use crate::format::FormatError;
use crate::format::pack::PackError;
use crate::id::{ComponentName, RestorePointId};
use crate::store::{Key, StoreError};

mod archive;
mod assemble;
mod damage;
mod fetch;
mod keys;
mod local_snapshot;
mod objects;
mod parts;
mod recipes;
mod tenant;
mod verify;
mod writeback;

pub use archive::ObjectReader;
pub use damage::{Assessor, Damage, DataLoss};
pub use fetch::{FetchedFile, fetch};
pub use keys::{PointKeys, unlock};
pub use local_snapshot::{LocalSnapshot, LocalSnapshotError, LocalSnapshotFacts};
pub use tenant::Kubeconfig;
pub use verify::{VerifyDepth, VerifyReport, verify};

/// Reason why something could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// None of the identities opens the restore point.
    #[error(
        "{}; use --identity with the private key of one of: {}",
        closed(*given, id),
        .recipients.join(", ")
    )]
    WrongIdentity {
        /// The restore point.
        id: RestorePointId,
        /// Number of the given identities.
        given: usize,
        /// Recipients whose private keys open the restore point.
        recipients: Vec<String>,
    },
    /// A carried component is older than the recipient.
    #[error(
        "component `{component}` was stored before this identity's key became a recipient; use --identity \
         with the private key of one of: {}",
        .recipients.join(", ")
    )]
    Closed {
        /// The component.
        component: ComponentName,
        /// Recipients whose private keys open the component.
        recipients: Vec<String>,
    },
    /// The restore point has no such component.
    #[error("restore point {id} has no component `{wanted}`; it has {}", .has.join(", "))]
    NoComponent {
        /// The restore point.
        id: RestorePointId,
        /// Requested component.
        wanted: ComponentName,
        /// Components that the restore point has.
        has: Vec<String>,
    },
    /// An object cannot be read from the store.
    #[error("cannot read {key}, which restore point {id} needs")]
    Store {
        /// The restore point.
        id: RestorePointId,
        /// Key of the object.
        key: Key,
        /// Error of the store.
        source: StoreError,
    },
    /// An object's bytes do not match its name.
    #[error(
        "{key} was changed or damaged: its bytes are not those of its name; `restore-cli audit --deep` \
         shows which restore points need it"
    )]
    Changed {
        /// Key of the object.
        key: Key,
    },
    /// A key object cannot be used.
    #[error("cannot use the key object {key}")]
    KeyObject {
        /// Key of the object.
        key: Key,
        /// Cause.
        source: crate::crypt::SealError,
    },
    /// A recipe or index cannot be read.
    #[error("cannot read {key}")]
    Format {
        /// Key of the object.
        key: Key,
        /// Cause.
        source: FormatError,
    },
    /// A pack cannot be read.
    #[error("cannot read {key}")]
    Pack {
        /// Key of the object.
        key: Key,
        /// Cause.
        source: PackError,
    },
    /// The recipe does not give the bytes that the manifest records.
    #[error("component `{component}` cannot be rebuilt as it was: {what}")]
    Mismatch {
        /// The component.
        component: ComponentName,
        /// Difference.
        what: String,
    },
    /// The component comes back bit for bit, but is not a sound snapshot.
    #[error("component `{component}` is not a sound etcd snapshot")]
    Snapshot {
        /// The component.
        component: ComponentName,
        /// Fault of the snapshot.
        source: SnapshotError,
    },
    /// The component is not an archive of objects.
    #[error(
        "component `{component}` holds no objects; `restore-cli fetch --component {component}` returns it \
         as a file"
    )]
    NoObjects {
        /// The component.
        component: ComponentName,
    },
    /// The archive comes back bit for bit, but cannot be read.
    #[error("component `{component}` is not an archive of objects")]
    Archive {
        /// The component.
        component: ComponentName,
        /// Cause.
        source: ArchiveError,
    },
    /// A local file cannot be written or read.
    #[error("cannot {operation} {file}")]
    File {
        /// Operation that failed.
        operation: &'static str,
        /// Name of the file.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A part of the program panicked: a bug.
    #[error("a part of the program failed; please report this")]
    Panicked(#[source] tokio::task::JoinError),
    /// The operation was cancelled.
    #[error("interrupted; what was downloaded is kept, and the same command continues from there")]
    Cancelled,
}

fn closed(given: usize, id: &RestorePointId) -> String {
    match given {
        0 => format!("restore point {id} is encrypted, and no identity was given"),
        1 => format!("the identity given does not open restore point {id}"),
        n => format!("none of the {n} identities given opens restore point {id}"),
    }
}
