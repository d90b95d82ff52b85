//! What a restore has done, on disk before and after it does it: a line of JSON for each.
//!
//! A crash at any point leaves lines from which the same restore goes on: what is done is not done
//! again, what was begun is looked at first, and what was stopped is put back.

mod file;
mod records;
mod state;

pub use file::Journal;
pub use records::{Outcome, Phase, Record};
pub use state::{Done, State};
