//! Ends of a restore, as journals record them.

/// End of a restore with nothing left to do.
pub const COMPLETE: &str = "complete";
/// End of such a restore from a restore point with gaps.
pub const COMPLETE_OF_PARTIAL: &str = "complete, but the restore point was partial";
/// End of a restore that lacks something.
pub const PARTIAL: &str = "partial";
