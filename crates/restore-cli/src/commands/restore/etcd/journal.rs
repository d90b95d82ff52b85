//! Journal of a restore of etcd alone, which shows a second run what the first one did.

use std::path::PathBuf;

use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::digest::Digest;
use cluster_restore::etcd::{EtcdPlan, Proof};
use cluster_restore::journal::Journal;

use crate::commands::recover::{JournalFlags, failed};

/// Folder of these journals, beside the journals of whole restores, which `resume` continues.
const FOLDER: &str = "etcd";

/// Returns a name that identifies a restore: the snapshot, the cluster, the node.
fn name(plan: &EtcdPlan) -> String {
    let short = |digest: &Digest| digest.to_string().chars().take(12).collect::<String>();
    let cluster = plan.cluster.id_sha256.as_ref();
    let cluster = cluster.or_else(|| plan.cluster.authorities.first());
    format!(
        "{}-{}-{}",
        short(&plan.snapshot.sha256),
        cluster.map_or("unknown".to_owned(), short),
        plan.target.replace([':', '/'], "-")
    )
}

fn folder(journals: &JournalFlags) -> PathBuf {
    journals.journals.join(FOLDER)
}

/// Returns the proof in the journal of this restore, if there is one.
pub(super) fn proof(journals: &JournalFlags, plan: &EtcdPlan) -> Result<Option<Proof>, Failure> {
    let path = folder(journals).join(format!("{}.journal", name(plan)));
    if !path.exists() {
        return Ok(None);
    }
    Ok(Journal::read_state(&path).map_err(failed)?.proof)
}

/// Opens the journal of this restore, or begins it.
pub(super) fn open(
    journals: &JournalFlags,
    plan: &EtcdPlan,
    frame: &Frame,
) -> Result<Journal, Failure> {
    let (folder, name) = (folder(journals), name(plan));
    let path = folder.join(format!("{name}.journal"));
    if path.exists() {
        return Journal::open(&path).map_err(failed);
    }
    let (snapshot, now) = (plan.snapshot.sha256, frame.clock.now());
    Journal::begin(&folder, &name, snapshot, now).map_err(failed)
}
