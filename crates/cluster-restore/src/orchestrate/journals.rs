//! Journals of restores: those in a folder, their plans, and the heads of those in a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::store::{Store, StoreError};

use crate::journal_replica::{self, ReplicaHead};

/// Largest number of journals that are searched.
pub(super) const SEARCHED: usize = 50;

/// Returns the heads of the newest copies in `store`, newest first. Leaves out heads that cannot be read.
///
/// # Errors
/// When the store cannot list the copies.
pub async fn replica_heads(store: &Arc<dyn Store>) -> Result<Vec<ReplicaHead>, StoreError> {
    let mut found = Vec::new();
    for stored in journal_replica::list(store)
        .await?
        .iter()
        .rev()
        .take(SEARCHED)
    {
        if let Ok(Some(head)) = stored.head().await {
            found.push(head);
        }
    }
    Ok(found)
}

/// Returns the journals of `folder`, oldest first: their names begin with the time.
///
/// # Errors
/// When the folder cannot be read.
pub fn journals_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "journal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the path of the plan that a journal follows.
#[must_use]
pub fn plan_file(journal: &Path) -> PathBuf {
    journal.with_extension("plan.json")
}
