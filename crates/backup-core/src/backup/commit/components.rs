//! Components of a manifest, and the epochs that their packs are encrypted to.

use std::collections::BTreeMap;

use super::Draft;
use crate::backup::BackupError;
use crate::backup::history::RunHistory;
use crate::backup::stored_component::StoredComponent;
use crate::format::FormatError;
use crate::format::manifest::{Component, Epoch, PackRef};

/// Returns the components as the manifest lists them, and the epochs in the order of their positions.
pub(super) fn components(
    draft: &Draft,
    history: &RunHistory,
    parts: &[StoredComponent],
) -> Result<(Vec<Component>, Vec<Epoch>), BackupError> {
    let all: BTreeMap<&str, &Epoch> = history
        .epochs
        .iter()
        .chain(&draft.epoch)
        .chain(history.kit.iter().flat_map(|kit| &kit.epochs))
        .map(|e| (e.recipient.as_str(), e))
        .collect();
    let missing = |what: &str| FormatError::damaged("run", format!("a {what} is not known"));
    let table = &history.table;
    let current = draft.epoch.as_ref().map(|e| e.recipient.clone());
    let mut used: Vec<&Epoch> = Vec::new();
    for number in parts.iter().flat_map(|p| &p.seen.packs) {
        let pack = table.pack(*number).ok_or_else(|| missing("pack"))?;
        if pack.epoch.is_empty() {
            continue;
        }
        let epoch = all.get(pack.epoch.as_str());
        let epoch = epoch.ok_or_else(|| missing("pack's epoch"))?;
        if !used.contains(epoch) {
            used.push(epoch);
        }
    }
    let kit = history.kit.as_ref();
    for position in kit.iter().flat_map(|kit| epochs_of(&kit.component)) {
        let epoch = kit.and_then(|kit| kit.epochs.get(position));
        let epoch = epoch.ok_or_else(|| missing("kit's epoch"))?;
        if !used.iter().any(|u| u.recipient == epoch.recipient) {
            used.push(epoch);
        }
    }
    // The run's own epoch is always listed, and is the last: recipes are encrypted to it.
    used.retain(|e| Some(&e.recipient) != current.as_ref());
    used.sort_by_key(|e| e.began);
    let epochs: Vec<Epoch> = used.into_iter().chain(&draft.epoch).cloned().collect();
    let position = |text: &str| epochs.iter().position(|e| e.recipient.as_str() == text);
    let mut components = Vec::with_capacity(parts.len());
    for part in parts {
        let mut packs = Vec::with_capacity(part.seen.packs.len());
        for number in &part.seen.packs {
            let pack = table.pack(*number).ok_or_else(|| missing("pack"))?;
            let (sha256, bytes) = pack.stored.ok_or_else(|| missing("pack's digest"))?;
            packs.push(PackRef {
                sha256,
                bytes,
                plain_bytes: pack.plain_bytes,
                epoch: position(&pack.epoch)
                    .and_then(|p| u64::try_from(p).ok())
                    .unwrap_or(0),
            });
        }
        components.push(Component {
            name: part.name.clone(),
            media_type: part.media_type.clone(),
            plain_bytes: part.plain_bytes,
            plain_sha256: part.plain_sha256,
            packs,
            recipes: part.recipes.clone(),
            recipe_epoch: None,
            carried_from: None,
            etcd: part.etcd.clone(),
            archive: part.archive.clone(),
            more: BTreeMap::new(),
        });
    }
    if let Some(kit) = kit {
        let mut component = kit.component.clone();
        // The kit's epoch positions refer to its own restore point.
        let moved = |old: u64| {
            let old = usize::try_from(old).ok();
            let epoch = old.and_then(|old| kit.epochs.get(old))?;
            u64::try_from(position(epoch.recipient.as_str())?).ok()
        };
        for pack in &mut component.packs {
            pack.epoch = moved(pack.epoch).unwrap_or(0);
        }
        component.recipe_epoch = component.recipe_epoch.and_then(moved);
        components.push(component);
    }
    Ok((components, epochs))
}

/// Returns the positions of the epochs that a component needs; none without encryption.
fn epochs_of(component: &Component) -> impl Iterator<Item = usize> {
    let encrypted = component.recipe_epoch.is_some();
    let packs = component.packs.iter().map(|pack| pack.epoch);
    let packs = packs.filter(move |_| encrypted);
    let all = packs.chain(component.recipe_epoch);
    all.filter_map(|position| usize::try_from(position).ok())
}
