//! The recipes of a component: read, checked against each other, and not longer than what they give.

use super::RestoreError;
use super::assemble::{Assembly, mismatch};
use crate::format::layout;
use crate::format::manifest::Component;
use crate::format::recipe::Segment;
use crate::store::MAX_OBJECT;

/// The segments of `component` in order. Together they give its plain bytes, and none takes more than it
/// gives.
pub(super) async fn read_recipes(
    assembly: &Assembly,
    component: &Component,
) -> Result<Vec<Segment>, RestoreError> {
    let pack_space = component
        .packs
        .iter()
        .fold(0_u64, |sum, p| sum.saturating_add(p.plain_bytes));
    let mut segments = Vec::with_capacity(component.recipes.len());
    let mut reached = 0_u64;
    for object in &component.recipes {
        let key = layout::recipe(object.sha256);
        let bytes = assembly.objects.get(&key, object.sha256).await?;
        let opened = assembly.unlocked.recipe_opener(component);
        let opened = opened.open(&bytes, MAX_OBJECT);
        let opened = opened.map_err(|e| RestoreError::Pack {
            key: key.clone(),
            source: e.into(),
        })?;
        let segment =
            Segment::decode(&opened, pack_space).map_err(|source| RestoreError::Format {
                key: key.clone(),
                source,
            })?;
        if segment.start != reached {
            return Err(mismatch(
                component,
                format!("{key} does not begin where the one before ends"),
            ));
        }
        // No chunker's transformed stream or layout is longer than its plain stream. A few bytes
        // can name the same run again and again, and all of it would go to the scratch file.
        let layout = u64::try_from(segment.layout.len()).unwrap_or(u64::MAX);
        if transformed_bytes(&segment).max(layout) > segment.plain_bytes {
            return Err(mismatch(
                component,
                format!("{key} takes more bytes than it gives"),
            ));
        }
        reached = reached.saturating_add(segment.plain_bytes);
        if reached > component.plain_bytes {
            break;
        }
        segments.push(segment);
    }
    if reached != component.plain_bytes {
        let want = component.plain_bytes;
        return Err(mismatch(
            component,
            format!("its recipes give {reached} bytes instead of {want}"),
        ));
    }
    Ok(segments)
}

/// The number of bytes that the runs of `segment` have.
pub(super) fn transformed_bytes(segment: &Segment) -> u64 {
    let lengths = segment.runs.iter().map(|r| r.length);
    lengths.fold(0, u64::saturating_add)
}
