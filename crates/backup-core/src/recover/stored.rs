//! The copy of a journal in the store that the restore reads from, so that it can be gone on with on
//! another machine: the plan first, then lines as they come, each object put once.
//!
//! All of it but a short head is sealed for those who can read the restore point. The place that lines
//! begin at is their name: of two that go on with one restore, only one puts the next lines.

mod head;
mod keep;
mod look;

pub use head::{Head, Told};
pub use keep::Keeper;
pub use look::{Stored, list};

use crate::format::layout::JournalPart;
use crate::store::StoreError;

/// Lines of one object, at most: a journal of ten thousand objects is a few of these.
const SEGMENT: usize = 2 << 20;
/// Bytes of a plan in one object.
const PLAN_PART: usize = 8 << 20;
/// Bytes that an object may unfold to; lines are never longer than a segment and one line.
const UNFOLDED: usize = 16 << 20;

/// Why a copy cannot be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The store failed.
    #[error("cannot keep the journal of {restore} in the store")]
    Store {
        /// The restore.
        restore: String,
        /// Why not.
        source: StoreError,
    },
    /// Somebody else goes on with the restore.
    #[error(
        "restore {restore} went on elsewhere: the copy of its journal in the store has lines that \
         this one has not; go on there, or here from the copy: move the folder of journals away, then \
         `restore-cli resume {restore}`"
    )]
    Elsewhere {
        /// The restore.
        restore: String,
    },
    /// There is none.
    #[error("the store has no journal of a restore {restore}; `restore-cli status` lists them")]
    NoSuch {
        /// What was asked for.
        restore: String,
    },
    /// A part of the copy is missing, was changed, or is sealed by somebody else.
    #[error("the copy of the journal of {restore} is damaged: {part:?} is {what}")]
    Damaged {
        /// The restore.
        restore: String,
        /// The part.
        part: JournalPart,
        /// What is wrong.
        what: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} {file}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
}
