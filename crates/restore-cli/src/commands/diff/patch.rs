//! Patch of one object: a unified diff of its YAML, without its secrets.

use std::time::Duration;

use backup_core::archive::{StoredJson, mask, mask_beside, strip_server_owned};
use serde_json::Value;
use similar::TextDiff;

use super::compare::ComparisonError;
use crate::commands::yaml::to_yaml;

/// Lines shown around a change.
const CONTEXT: usize = 3;
/// Time after which a longer diff is accepted instead of the shortest.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns the patch from `before` to `after`; empty if nothing that is shown differs.
pub(super) fn patch(
    before: &StoredJson,
    after: &StoredJson,
    status: bool,
) -> Result<String, ComparisonError> {
    let resource = &before.path.resource;
    let (mut was, mut is) = (before.value()?, after.value()?);
    for object in [&mut was, &mut is] {
        strip_server_owned(object);
        if !status && let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
    }
    mask_beside(resource, &mut is, &was);
    mask(resource, &mut was);
    unified(&was, &is, &before.path.to_string())
}

fn unified(was: &Value, is: &Value, name: &str) -> Result<String, ComparisonError> {
    let (was, is) = (to_yaml(was), to_yaml(is));
    let diff = TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(&was, &is);
    let mut unified = diff.unified_diff();
    unified.context_radius(CONTEXT);
    Ok(unified
        .header(&format!("A/{name}"), &format!("B/{name}"))
        .to_string())
}
