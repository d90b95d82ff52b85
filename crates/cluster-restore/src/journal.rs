//! Journal of a restore: a line of JSON on disk before and after each thing that it does.
//!
//! After a crash at any point the same restore continues from these lines: what is done is not
//! repeated, what was begun is checked first, and what was stopped is put back.

mod file;
mod records;
mod state;

pub use file::Journal;
pub use records::{Outcome, Phase, Record};
pub use state::{JournalState, ObjectResult};
