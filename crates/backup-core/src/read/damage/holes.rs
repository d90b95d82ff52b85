//! Holes that broken packs leave in the transformed stream of a component.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::walk::{ArchiveEntries, Hole, walk};
use crate::format::manifest::Component;
use crate::format::recipe::Segment;
use crate::read::RestoreError;
use crate::read::assemble::packs::{PackLoad, scatter};
use crate::scratch::Scratch;
use crate::store::Key;

/// Separates the loads from broken packs from the other loads.
pub(super) fn split(
    component: &Component,
    segments: &[Segment],
    broken: &BTreeMap<Key, String>,
    cancel: &CancellationToken,
) -> (Vec<PackLoad>, Vec<PackLoad>) {
    let loads = scatter(component, segments, cancel).into_iter();
    loads.partition(|load| broken.contains_key(load.key()))
}

/// Returns the holes in order; no two of them touch.
pub(super) fn holes(
    component: &Component,
    segments: &[Segment],
    broken: &BTreeMap<Key, String>,
    cancel: &CancellationToken,
) -> Vec<Hole> {
    let (bad, _) = split(component, segments, broken, cancel);
    let mut holes: Vec<Hole> = bad.iter().flat_map(PackLoad::wanted).collect();
    holes.sort_unstable_by_key(|hole| hole.start);
    let mut merged: Vec<Hole> = Vec::new();
    for hole in holes {
        match merged.last_mut() {
            Some(last) if hole.start <= last.end => last.end = last.end.max(hole.end),
            _ => merged.push(hole),
        }
    }
    merged
}

/// Reads the entries around the holes.
pub(super) async fn read_around(
    component: &Component,
    holes: Vec<Hole>,
    scratch: Arc<Scratch>,
    cancel: &CancellationToken,
) -> Result<ArchiveEntries, RestoreError> {
    let (bytes, cancel) = (component.plain_bytes, cancel.clone());
    let walked = spawn_blocking(move || walk(&scratch, bytes, &holes, &cancel)).await;
    walked.map_err(RestoreError::Panicked)
}
