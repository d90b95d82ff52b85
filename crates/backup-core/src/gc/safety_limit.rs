//! Brake that holds a plan which would delete more than dead runs can explain, until a person has checked.
//!
//! It depends only on what stays and what goes, so it can also hold other deletions.

use super::{RemovalPlan, findings};
use crate::format::manifest::Finding;

/// Largest part of the needed bytes that may be removed without a person's check, as one in this many.
const SHARE: u64 = 2;

/// Returns a finding that explains what to check, if the plan goes too far.
pub(super) fn judge(plan: &RemovalPlan) -> Option<Finding> {
    if plan.restore_points == 0 {
        return Some(findings::no_restore_point(plan.old));
    }
    let far = plan.old.bytes.saturating_mul(SHARE) > plan.needed.bytes;
    far.then(|| findings::too_much(plan.old, plan.needed))
}
