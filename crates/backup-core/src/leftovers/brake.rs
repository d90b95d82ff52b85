//! The brake: where there is more to delete than runs that died can explain, somebody looks first.
//!
//! It asks only for what stays and what goes, so whatever else may delete one day can be held by it.

use super::{Plan, findings};
use crate::format::manifest::Finding;

/// What may go without a person: at most this share of what stays, as one in so many.
const SHARE: u64 = 2;

/// Says what to look at, where the plan goes too far.
pub(super) fn judge(plan: &Plan) -> Option<Finding> {
    if plan.restore_points == 0 {
        return Some(findings::no_restore_point(plan.old));
    }
    let far = plan.old.bytes.saturating_mul(SHARE) > plan.needed.bytes;
    far.then(|| findings::too_much(plan.old, plan.needed))
}
