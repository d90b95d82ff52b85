//! Check of the node that receives the snapshot.

use super::super::node_report::NodeReport;
use super::super::plan::{NodeRole, SnapshotFacts};
use super::super::version_check;
use super::super::wipe::WipeCommand;
use super::findings::PreflightFindings;
use super::target_state::TargetEtcdState;
use super::{first_failure, init};

/// Reports what forbids the restore onto this node, and what a person should know of it.
pub(super) fn check_target(
    looked: &NodeReport,
    snapshot: &SnapshotFacts,
    standing: &TargetEtcdState,
    notes: &mut PreflightFindings,
) {
    let facts = &looked.facts;
    let node = facts.node.as_str();
    let wipe = WipeCommand::of(node, facts.talos_version.as_deref());
    if looked.is_silent() {
        let (cause, remedy) = if looked.is_refusing() {
            (
                "it refuses this certificate",
                "use the administrator's talosconfig",
            )
        } else {
            (
                "it does not answer",
                "bring it up, or restore onto another node with --node",
            )
        };
        return notes.block(node, format!("{cause}: {}", first_failure(looked)), remedy);
    }
    if facts.role == NodeRole::Worker {
        let cause = "it is a worker, which has no etcd".to_owned();
        return notes.block(node, cause, "choose a control plane node with --node");
    }
    init(facts, notes);
    match facts.etcd.as_ref().map(|etcd| (etcd.state.as_str(), etcd)) {
        Some(("Preparing", _)) if facts.data_empty == Some(false) => {
            let cause = "its etcd is still preparing and has data already: a restore is under way";
            let remedy = "nothing: the restore waits for it first";
            notes.warn(node, cause.to_owned(), remedy);
        }
        Some(("Preparing", _)) => {}
        Some(("Running", _)) => {
            let what = match standing {
                TargetEtcdState::Holds(_) | TargetEtcdState::Down => None,
                TargetEtcdState::Other(difference) => Some(difference.clone()),
                TargetEtcdState::Unread(why) => Some(format!("its data cannot be read ({why})")),
            };
            if let Some(what) = what {
                let cause = format!(
                    "its etcd runs, and its data is not what this restore makes: {what}; a restore \
                     would throw that data away"
                );
                let remedy = format!(
                    "if its data is needed, restore quorum instead of restoring a snapshot; if \
                     not, wipe it yourself: `{}` (destroys {})",
                    wipe.command, wipe.destroys
                );
                notes.block(node, cause, remedy);
            }
        }
        Some(("Failed", etcd)) if facts.data_empty == Some(true) => {
            let event = etcd.last_event.as_deref().unwrap_or("it does not say why");
            let cause = format!("its etcd has failed and left no data behind: {event}");
            notes.warn(node, cause, "nothing: it can be restored as it is");
        }
        Some((state, etcd)) if facts.data_empty != Some(false) => {
            let event = etcd.last_event.as_deref().unwrap_or_default();
            let cause = format!("its etcd is {state} and not Preparing: {event}");
            let remedy = format!(
                "wait until `talosctl --nodes {node} service etcd` says Preparing; after 30 minutes \
                 of waiting it gives up, then reboot the node"
            );
            notes.block(node, cause, remedy);
        }
        Some(_) => {}
        None => {
            let cause = "it does not report the state of its etcd".to_owned();
            let remedy = format!("see `talosctl --nodes {node} services`");
            notes.block(node, cause, remedy);
        }
    }
    let state = facts.etcd.as_ref().map_or("", |etcd| etcd.state.as_str());
    if facts.data_empty == Some(false) && !["Preparing", "Running"].contains(&state) {
        let cause = format!("its etcd is {state} and its data directory is not empty");
        let remedy = format!(
            "wipe it yourself, if nothing on it is needed: `{}` (destroys {})",
            wipe.command, wipe.destroys
        );
        notes.block(node, cause, remedy);
    }
    if facts.data_empty.is_none() {
        let cause = "it is not known whether it has etcd data".to_owned();
        notes.warn(
            node,
            cause,
            "nothing: the node itself refuses to bootstrap over data",
        );
    }
    if facts.time_in_sync == Some(false) {
        let cause = "its clock is not in sync, and it does not bootstrap until it is".to_owned();
        let remedy = format!(
            "the restore waits for it; if that takes minutes, see `talosctl --nodes {node} get \
             timestatus` and its time servers"
        );
        notes.warn(node, cause, remedy);
    }
    if let Some(talos) = &facts.talos_version
        && let Some(finding) =
            version_check::versions(snapshot, node, talos, looked.etcd_image.as_deref())
    {
        notes.add(finding);
    }
    if let Some(prefixes) = &looked.encryption_prefixes {
        encryption(node, snapshot, prefixes, notes);
    }
}

/// Checks that the API server has the keys of the snapshot's encrypted Secrets.
fn encryption(node: &str, snapshot: &SnapshotFacts, has: &[String], notes: &mut PreflightFindings) {
    const KNOWN: [&str; 3] = ["k8s:enc:secretbox:", "k8s:enc:aescbc:", "k8s:enc:aesgcm:"];
    for prefix in &snapshot.encryption_prefixes {
        let known = KNOWN.iter().any(|known| prefix.starts_with(known));
        if known && !has.iter().any(|own| prefix.starts_with(own.as_str())) {
            let cause = format!(
                "the snapshot's Secrets are encrypted ({prefix}), and its machine configuration has \
                 no such key: they could not be read"
            );
            let remedy = "use the machine secrets that the cluster was made with; component \
                          `machine-config` of the restore point has them";
            notes.block(node, cause, remedy);
        }
    }
}
