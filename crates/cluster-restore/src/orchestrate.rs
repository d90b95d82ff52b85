//! Orchestration of a restore: what a program needs to plan, run and resume one without a terminal.

mod durations;
mod end;
mod gaps;
mod journals;
mod points;
mod reporter;
mod source;

pub use durations::{PastDurations, RestoreFilter};
pub use end::{COMPLETE, COMPLETE_OF_PARTIAL, PARTIAL};
pub use gaps::LocatedGap;
pub use journals::{journals_in, plan_file, replica_heads};
pub use points::{
    KindRequirement, LATEST, PointError, PointFinder, Requirement, has_objects, lost_parent_warning,
};
pub use reporter::Reporter;
pub use source::{ObjectSource, SourceDifference, same_source};
