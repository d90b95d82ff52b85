//! Copy of a journal in the store that the restore reads from, so that another machine can continue the
//! restore: the plan first, then lines as they come, each object stored once.
//!
//! Everything except a short head is sealed for those who can read the restore point. An object with lines is
//! named by the position where its lines begin: if two continue one restore, only one stores the next lines.

mod head;
mod keeper;
mod stored;

pub use head::{ReplicaHead, RestoreProgress};
pub use keeper::ReplicaKeeper;
pub use stored::{StoredJournal, list};

use backup_core::format::layout::JournalPart;
use backup_core::store::StoreError;

/// Largest number of bytes of lines in one object: a journal of ten thousand objects takes a few of these.
const SEGMENT: usize = 2 << 20;
/// Largest number of plan bytes in one object.
const PLAN_PART: usize = 8 << 20;
/// Largest size of a decompressed object; lines are never longer than a segment and one line.
const UNFOLDED: usize = 16 << 20;

/// Reason why a copy cannot be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The store failed.
    #[error("cannot keep the journal of {restore} in the store")]
    Store {
        /// Name of the restore.
        restore: String,
        /// Error of the store.
        source: StoreError,
    },
    /// Somebody else continues the restore.
    #[error(
        "restore {restore} was continued elsewhere: the copy of its journal in the store has lines \
         that this one lacks; continue there, or here from the copy: move the folder of journals \
         away, then `restore-cli resume {restore}`"
    )]
    Elsewhere {
        /// Name of the restore.
        restore: String,
    },
    /// The store has no copy.
    #[error("the store has no journal of a restore {restore}; `restore-cli status` lists them")]
    NoSuch {
        /// Requested restore.
        restore: String,
    },
    /// A part of the copy is missing, was changed, or was sealed by somebody else.
    #[error("the copy of the journal of {restore} is damaged: {part:?} is {what}")]
    Damaged {
        /// Name of the restore.
        restore: String,
        /// Damaged part.
        part: JournalPart,
        /// Description of the damage.
        what: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} {file}")]
    File {
        /// Operation that failed.
        operation: &'static str,
        /// Path of the file.
        file: String,
        /// Error of the operation.
        source: std::io::Error,
    },
}
