//! Recipes of a component, read and checked against each other and against the size of their output.

use super::RestoreError;
use super::assemble::{Assembly, mismatch};
use crate::format::layout;
use crate::format::manifest::Component;
use crate::format::recipe::Segment;
use crate::num::to_u64;
use crate::store::MAX_OBJECT;

/// Largest memory that the recipes of a component may take.
const MAX_RECIPES: u64 = 4 << 30;
/// Number of times that runs may cross into the next pack, however few runs there are.
const FREE: u64 = 1 << 20;

/// Returns the segments of `component` in order. Together they give its plain bytes, and none reads more
/// bytes than it gives.
pub(super) async fn read_recipes(
    assembly: &Assembly,
    component: &Component,
) -> Result<Vec<Segment>, RestoreError> {
    let mut ends = Vec::with_capacity(component.packs.len());
    let mut pack_space = 0_u64;
    for pack in &component.packs {
        pack_space = pack_space.saturating_add(pack.plain_bytes);
        ends.push(pack_space);
    }
    let mut work = LayoutCost::new(&ends);
    let mut segments = Vec::new();
    let mut reached = 0_u64;
    for (at, object) in component.recipes.iter().enumerate() {
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
        // No chunker's transformed stream or layout is longer than its plain stream. A few bytes can name the
        // same run again and again, and would fill the scratch file.
        let layout = to_u64(segment.layout.len());
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
        // A writer that closed a segment at the exact end of the stream leaves an empty one behind it.
        let is_last = at.saturating_add(1) == component.recipes.len();
        if segment.plain_bytes == 0 && !is_last {
            return Err(mismatch(component, format!("{key} gives nothing")));
        }
        if assembly.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        work.add(&segment)
            .map_err(|what| mismatch(component, what))?;
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

/// Memory that the segments so far take, and the number of times that their runs cross into another pack.
struct LayoutCost<'e> {
    /// End of each pack in pack space.
    ends: &'e [u64],
    memory: u64,
    crossings: u64,
    runs: u64,
}

impl<'e> LayoutCost<'e> {
    fn new(ends: &'e [u64]) -> Self {
        Self {
            ends,
            memory: 0,
            crossings: 0,
            runs: 0,
        }
    }

    fn add(&mut self, segment: &Segment) -> Result<(), String> {
        let runs = to_u64(segment.runs.len());
        let memory = runs
            .saturating_mul(16)
            .saturating_add(to_u64(segment.layout.len()));
        self.memory = self.memory.saturating_add(memory);
        if self.memory > MAX_RECIPES {
            return Err(format!(
                "its recipes unpack to more than {MAX_RECIPES} bytes"
            ));
        }
        self.runs = self.runs.saturating_add(runs);
        for run in &segment.runs {
            let last = run.start.saturating_add(run.length).saturating_sub(1);
            let pack_of = |at| self.ends.partition_point(|end| *end <= at);
            let crossings = pack_of(last).saturating_sub(pack_of(run.start));
            self.crossings = self.crossings.saturating_add(to_u64(crossings));
        }
        // Consecutive chunks cross few packs. Many tiny packs under many long runs would cause unlimited
        // work.
        let packs = to_u64(self.ends.len());
        let most = self.runs.saturating_add(packs).saturating_mul(8);
        if self.crossings > most.saturating_add(FREE) {
            return Err("its runs are cut by too many packs".to_owned());
        }
        Ok(())
    }
}

/// Returns the number of bytes in the runs of `segment`.
pub(super) fn transformed_bytes(segment: &Segment) -> u64 {
    let lengths = segment.runs.iter().map(|r| r.length);
    lengths.fold(0, u64::saturating_add)
}
