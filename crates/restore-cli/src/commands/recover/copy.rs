//! Copy of a journal in the store, fetched where the folder is lost.

use std::path::{Path, PathBuf};

use backup_cli::config::ConfigFlags;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use cluster_restore::journal_replica::ReplicaHead;
use cluster_restore::orchestrate;

use super::restore_failed;
use super::setup::IdentityFiles;
use crate::commands::open;

/// Writes the copy of the journal of `restore` into `folder`; returns its path and its head.
pub(crate) async fn fetch_copy(
    restore: &str,
    folder: &Path,
    given: &ConfigFlags,
    frame: &Frame,
) -> Result<(PathBuf, ReplicaHead), Failure> {
    let opened = frame.or_cancelled(open(given, frame)).await?;
    let identities = IdentityFiles {
        config: opened.config,
        terminal: frame.terminal.clone(),
    };
    let fetched = async {
        let fetched = orchestrate::fetch_copy(restore, folder, &opened.points, &identities).await;
        fetched.map_err(restore_failed)
    };
    frame.or_cancelled(fetched).await
}
