//! Check of all nodes before a restore of etcd. It changes nothing.

use std::collections::BTreeSet;

use super::super::danger::Danger;
use super::node_report::{self, NodeReport};
use super::plan::{ClusterComparison, EtcdPlan, NodeFacts, NodeRole, Proof, SnapshotFacts};
use super::wipe::WipeCommand;
use backup_core::format::manifest::{Finding, Severity};
use cluster_client::talos::nodes::TalosNodes;

mod all_nodes;
mod findings;
mod other_node;
mod target;
mod target_state;

use self::findings::PreflightFindings;
use self::other_node::check_other_node;
use self::target::check_target;
use self::target_state::TargetEtcdState;

/// Request of a person: what to restore, and where.
#[derive(Debug, Clone)]
pub struct EtcdRequest {
    /// Node that receives the snapshot; `None` for the first that is ready.
    pub target: Option<String>,
    /// Snapshot to restore.
    pub snapshot: SnapshotFacts,
    /// Dangers that are allowed.
    pub allow: BTreeSet<Danger>,
    /// Proof from the restore's own journal that it has already brought etcd back.
    pub proof: Option<Proof>,
}

/// Checks all nodes. Every call has a deadline, and none of them writes.
pub async fn preflight(nodes: &TalosNodes, wanted: EtcdRequest) -> EtcdPlan {
    let mut names = nodes.nodes();
    if let Some(target) = &wanted.target
        && !names.contains(target)
    {
        names.push(target.clone());
    }
    let looked = all_nodes::query_all(nodes, names.clone()).await;
    let named = wanted.target.clone();
    let target = named.unwrap_or_else(|| choose(&looked));
    let cluster = looked.iter().find_map(|looked| looked.cluster.clone());
    let mut notes = PreflightFindings::default();
    notes.warnings.extend(wanted.snapshot.torn.iter().cloned());
    talosconfig(nodes, &names, &mut notes);
    let at = looked.iter().find(|looked| looked.facts.node == target);
    let standing = TargetEtcdState::of(nodes, at, &wanted).await;
    for looked in &looked {
        if looked.facts.node == target {
            check_target(looked, &wanted.snapshot, &standing, &mut notes);
        } else if !joined(nodes, looked, &standing).await {
            check_other_node(looked, &wanted.allow, &mut notes);
        }
    }
    if let (Some(of), Some(cluster)) = (looked.iter().find(|l| l.facts.node == target), &cluster)
        && let Some(own) = &of.cluster
        && let Some(difference) = cluster.differs(own)
    {
        let cause = format!("it is a node of another cluster, not the first node's: {difference}");
        notes.block(&target, cause, "name the nodes of one cluster with --nodes");
    }
    let found = looked.iter().find(|looked| looked.facts.node == target);
    lineage(nodes, &target, found, &wanted, &mut notes);
    let version = found.and_then(|looked| looked.facts.talos_version.as_deref());
    EtcdPlan {
        wipe: WipeCommand::of(&target, version),
        target,
        cluster: cluster.unwrap_or_else(|| node_report::unnamed(nodes)),
        nodes: looked.into_iter().map(|looked| looked.facts).collect(),
        snapshot: wanted.snapshot,
        blockers: notes.blockers,
        warnings: notes.warnings,
        holds: standing.holds().cloned(),
        proof: wanted.proof,
    }
}

/// Reports whether a node's etcd is a member of the restored etcd that runs at the target.
async fn joined(nodes: &TalosNodes, looked: &NodeReport, standing: &TargetEtcdState) -> bool {
    let Some(restored) = standing.holds().filter(|_| looked.runs_etcd()) else {
        return false;
    };
    let status = nodes.status(&looked.facts.node).await;
    status.is_ok_and(|own| restored.members.iter().any(|m| m.id == own.member_id))
}

/// Checks that the snapshot was taken of the Talos cluster of these nodes: other clusters have
/// other secrets.
fn lineage(
    nodes: &TalosNodes,
    target: &str,
    found: Option<&NodeReport>,
    wanted: &EtcdRequest,
    notes: &mut PreflightFindings,
) {
    let own = found.and_then(|looked| looked.cluster.clone());
    let own = own.unwrap_or_else(|| node_report::unnamed(nodes));
    let captured = wanted.snapshot.cluster.as_ref();
    let (danger, cause, remedy) = match captured.map(|captured| captured.compare(&own)) {
        Some(ClusterComparison::Same) => return,
        Some(ClusterComparison::Other(difference)) => (
            Danger::OtherLineage,
            format!("the snapshot is of another Talos cluster than this node: {difference}"),
            "give the talosconfig and the nodes of the cluster that was captured; if these were \
             set up again in its place, or their authority was replaced since,",
        ),
        Some(ClusterComparison::Unknown) | None => (
            Danger::UnknownCluster,
            "it is not known which Talos cluster the snapshot is from, so it cannot be compared \
             with this node's"
                .to_owned(),
            "restore from a restore point that was taken through the Talos API; if you are sure \
             that these are the snapshot's own nodes,",
        ),
    };
    let severity = if wanted.allow.contains(&danger) {
        Severity::Warning
    } else {
        Severity::Error
    };
    let remedy = format!("{remedy} `--allow {}` continues anyway", danger.name());
    notes.say(severity, target, cause, remedy);
}

/// Chooses the first node that is ready, or else the first control plane node, or else the first.
fn choose(looked: &[NodeReport]) -> String {
    let ready = |facts: &&NodeFacts| {
        let preparing = facts.etcd.as_ref().is_some_and(|e| e.state == "Preparing");
        preparing && facts.data_empty == Some(true)
    };
    let named = looked.iter().map(|looked| &looked.facts);
    let facts = || named.clone().filter(|facts| !facts.unnamed);
    let chosen = facts()
        .find(ready)
        .or_else(|| facts().find(|facts| facts.role == NodeRole::ControlPlane))
        .or_else(|| facts().next());
    chosen.map(|facts| facts.node.clone()).unwrap_or_default()
}

fn talosconfig(nodes: &TalosNodes, names: &[String], notes: &mut PreflightFindings) {
    let mut say = |severity, cause: String, remedy: &str| {
        notes.add(Finding::new(severity, "talosconfig", cause, remedy));
    };
    if !nodes.is_admin() {
        let roles: Vec<_> = nodes.roles().iter().map(String::as_str).collect();
        let cause = format!(
            "its certificate carries {}, and only os:admin may restore an etcd",
            if roles.is_empty() {
                "no role".to_owned()
            } else {
                roles.join(", ")
            }
        );
        let remedy = "use the administrator's talosconfig with --talosconfig; the one in the \
                      cluster can never restore it";
        say(Severity::Error, cause, remedy);
    }
    if names.is_empty() {
        let cause = "it names no node by its address, and a restore must go to one node";
        let remedy = "name all control plane nodes with --nodes ADDRESS,…";
        say(Severity::Error, cause.to_owned(), remedy);
    }
    for warning in nodes.warnings() {
        say(Severity::Warning, warning.clone(), "see the talosconfig");
    }
}

/// Blocks a machine of the old type `init`, on which Talos bootstraps etcd at every start.
fn init(facts: &NodeFacts, notes: &mut PreflightFindings) {
    if facts.machine_type.as_deref() == Some("init") {
        let cause = "its machine type is the old `init`, which starts an etcd of its own at every \
                     boot";
        let remedy = format!(
            "set `machine.type: controlplane` first: `talosctl --nodes {} edit machineconfig \
             --mode=staged`, then reboot it",
            facts.node
        );
        notes.block(&facts.node, cause.to_owned(), remedy);
    }
}

/// Returns the reason why a node gave no answer.
fn first_failure(looked: &NodeReport) -> String {
    let first = looked.failures.first();
    let why = first.map(|failure| format!("{failure} ({})", failure.said()));
    why.unwrap_or_default()
}

/// Reports a node whose etcd may be running.
fn report_unseen(
    node: &str,
    cause: String,
    remedy: &str,
    allow: &BTreeSet<Danger>,
    notes: &mut PreflightFindings,
) {
    let danger = Danger::UnseenNode;
    let severity = if allow.contains(&danger) {
        Severity::Warning
    } else {
        Severity::Error
    };
    let remedy = format!("{remedy}; `--allow {}` continues anyway", danger.name());
    notes.say(severity, node, cause, remedy);
}
