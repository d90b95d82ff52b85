//! Check of a node beside the one that receives the snapshot: no second etcd may run.

use std::collections::BTreeSet;

use super::super::super::danger::Danger;
use super::super::node_report::NodeReport;
use super::super::plan::NodeRole;
use super::super::wipe::WipeCommand;
use super::findings::PreflightFindings;
use super::{first_failure, init, report_unseen};
use cluster_client::talos::nodes::CallErrorKind;

/// Reports what the node's etcd means for the restore.
pub(super) fn check_other_node(
    looked: &NodeReport,
    allow: &BTreeSet<Danger>,
    notes: &mut PreflightFindings,
) {
    let facts = &looked.facts;
    let node = facts.node.as_str();
    let wipe = WipeCommand::of(node, facts.talos_version.as_deref());
    if looked.is_silent() {
        let what = if looked.is_refusing() {
            "it refuses this certificate"
        } else {
            "it does not answer"
        };
        let cause = format!(
            "{what}, so it is not known whether its etcd runs: {}",
            first_failure(looked)
        );
        let remedy = "make sure that it is down; before it comes back, wipe its etcd data, so that \
                      it joins the restored cluster and not its own old one";
        return report_unseen(node, cause, remedy, allow, notes);
    }
    if facts.role == NodeRole::Worker {
        return;
    }
    init(facts, notes);
    let state = facts.etcd.as_ref().map(|etcd| etcd.state.as_str());
    let wiped = || format!("wipe it: `{}` (destroys {})", wipe.command, wipe.destroys);
    match state {
        Some("Running") => {
            let cause = "its etcd runs: two etcd clusters would serve one Kubernetes".to_owned();
            let remedy = format!(
                "if quorum can be restored, do that instead of restoring a snapshot; if not, {}",
                wiped()
            );
            notes.block(node, cause, remedy);
        }
        _ if facts.data_empty == Some(false) => {
            let cause = "its etcd has old data, so it will not join".to_owned();
            notes.warn(node, cause, wiped());
        }
        Some("Preparing") => {}
        Some(state) => {
            let cause = format!("its etcd is {state} and not Preparing, so it may not join");
            let remedy =
                format!("see `talosctl --nodes {node} service etcd`; reboot it if it stays so");
            notes.warn(node, cause, remedy);
        }
        None => {
            let cause = "it does not report the state of its etcd".to_owned();
            let not_allowed = CallErrorKind::NotAllowed;
            let role = looked
                .failures
                .iter()
                .any(|failure| failure.kind == not_allowed);
            let remedy = if role {
                "use the administrator's talosconfig"
            } else {
                "see its services"
            };
            report_unseen(node, cause, remedy, allow, notes);
        }
    }
}
