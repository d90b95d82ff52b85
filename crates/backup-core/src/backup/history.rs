//! History of earlier runs: the parent, its epochs, and the chunks that are stored.

use super::owner_marker::StoredMarker;
use super::table::ChunkTable;
use super::{BackupError, Run};
use crate::catalog::RestorePoint;
use crate::crypt::Recipient;
use crate::format::manifest::{Component, Epoch, Finding, StoredObject};
use crate::id::ComponentName;

mod faults;
mod indexes;
mod kit;
mod parents;

use indexes::{IndexReader, load_indexes, shared_packs};
use kit::{carry_kit, check_kit};
use parents::{EarlierPoints, find_parents};

/// Component of an earlier restore point that this one also names.
pub(super) struct CarriedComponent {
    pub(super) component: Component,
    /// Epochs of the earlier restore point; the component's positions refer to these.
    pub(super) epochs: Vec<Epoch>,
}

/// See the module.
pub(super) struct RunHistory {
    /// Newest restore point with one of the components, if it can be trusted; else the newest sound one.
    pub(super) parent: Option<RestorePoint>,
    /// Chunks in earlier packs.
    pub(super) table: ChunkTable,
    /// Epochs that those packs may be encrypted to.
    pub(super) epochs: Vec<Epoch>,
    /// Index objects that the table was read from.
    pub(super) indexes: Vec<StoredObject>,
    /// Newest kit, which is named again; `None` if the run takes one.
    pub(super) kit: Option<CarriedComponent>,
    /// Whether no restore point has a kit.
    pub(super) kitless: bool,
    /// Recipient of new indexes besides the epoch.
    pub(super) index_recipient: Option<Recipient>,
}

/// Returns the names of the files in the newest kit; empty if there is none.
pub(super) async fn kit_files(
    run: &Run,
    claimed: &StoredMarker,
) -> Result<Vec<String>, BackupError> {
    let name = ComponentName::kit();
    let found = find_parents(run, claimed, &[], &mut Vec::new()).await?;
    let component = found
        .kit
        .and_then(|point| point.manifest.component(&name).cloned());
    let facts = component.and_then(|component| component.archive);
    Ok(facts.map(|facts| facts.files).unwrap_or_default())
}

/// Recalls what a run of `components` can build upon: for each component the newest restore point that has
/// it, which is mostly the same one.
pub(super) async fn load_history(
    run: &Run,
    claimed: &StoredMarker,
    components: &[&ComponentName],
    findings: &mut Vec<Finding>,
) -> Result<RunHistory, BackupError> {
    let reader = IndexReader::new(run, claimed);
    let mut history = RunHistory {
        parent: None,
        table: ChunkTable::new(reader.chunk_id_key.clone()),
        epochs: Vec::new(),
        indexes: Vec::new(),
        kit: None,
        kitless: false,
        index_recipient: reader.recipient.clone(),
    };
    let EarlierPoints {
        parents,
        newest,
        kit,
        kitless,
    } = find_parents(run, claimed, components, findings).await?;
    history.kitless = kitless;
    history.kit = kit.and_then(|point| carry_kit(run, point, findings));
    if let Some(kit) = &history.kit {
        check_kit(run, &kit.component, findings).await;
    }
    for parent in parents.iter().filter(|p| reader.can_read(p)) {
        let packs = parent.manifest.components.iter().flat_map(|c| &c.packs);
        let shared = shared_packs(run, parent);
        if shared.len() < packs.count() {
            run.finding(findings, new_recipient(parent));
        }
        let known: Vec<&StoredObject> = history.indexes.iter().collect();
        let new = parent.manifest.indexes.iter();
        let new: Vec<&StoredObject> = new.filter(|i| !known.contains(i)).collect();
        match load_indexes(run, &reader, &new, shared, &mut history.table).await {
            Ok(archived) => {
                if archived > 0 {
                    run.finding(findings, archived_packs(parent, archived));
                }
                let new: Vec<StoredObject> = new.into_iter().cloned().collect();
                history.indexes.extend(new);
                history.epochs.extend_from_slice(parent.manifest.epochs());
            }
            Err(cause) => {
                run.finding(findings, unread_indexes(parent, &cause));
                history.table = ChunkTable::new(reader.chunk_id_key.clone());
                history.indexes.clear();
                history.epochs.clear();
                break;
            }
        }
    }
    // A new component belongs to the same incarnation of the cluster as all others.
    history.parent = parents.into_iter().next().or(newest);
    Ok(history)
}

fn archived_packs(parent: &RestorePoint, count: usize) -> Finding {
    Finding::warning(
        format!("packs of {}", parent.entry.id),
        format!("{count} of them are archived, so what they hold is stored again"),
        "end the lifecycle rule or the tiering that archives what is below this prefix; \
         `restore-cli audit` names each, with the command that brings it back",
    )
}

fn unread_indexes(parent: &RestorePoint, cause: &str) -> Finding {
    Finding::warning(
        format!("indexes of {}", parent.entry.id),
        format!("{cause}, so this run stores everything again"),
        "run `restore-cli audit`; if the signing key was replaced, this is expected once",
    )
}

fn new_recipient(parent: &RestorePoint) -> Finding {
    Finding::info(
        format!("packs of {}", parent.entry.id),
        "a recipient was added that cannot read them, so what they hold is stored again",
        "nothing to do; only the earlier recipients can read older restore points",
    )
}
