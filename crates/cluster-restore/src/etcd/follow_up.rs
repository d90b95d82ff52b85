//! Work after etcd is back at one node: watching the other nodes join, and restarting components
//! that know newer state than etcd has.

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::node_report::ETCD;
use super::plan::{EtcdPlan, NodeRole};
use super::run::Pace;
use cluster_client::talos::nodes::{ServiceView, TalosNodes};

/// Name of the service that runs pods.
const KUBELET: &str = "kubelet";
/// Largest number of nodes watched at once, more than any cluster has control plane nodes.
const AT_ONCE: usize = 32;

/// Result of a control plane node joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeJoin {
    /// Node that joins.
    pub node: String,
    /// Whether its etcd runs and is healthy.
    pub joined: bool,
    /// Last known state of its etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<ServiceView>,
    /// Remedy if the node has not joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Watches the other control plane nodes that were named join, for a bounded time. They join
/// without help, one after the other.
pub async fn watch_others(nodes: &TalosNodes, plan: &EtcdPlan, pace: Pace) -> Vec<NodeJoin> {
    let watches: Vec<_> = plan
        .others()
        .filter(|other| !other.unnamed)
        .map(|other| watch(nodes, &other.node, pace))
        .collect();
    futures::stream::iter(watches)
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn watch(nodes: &TalosNodes, node: &str, pace: Pace) -> NodeJoin {
    let begun = Instant::now();
    loop {
        let etcd = nodes.service(node, ETCD).await.ok().flatten();
        let joined = etcd.as_ref().is_some_and(ServiceView::is_up);
        let failed = etcd.as_ref().is_some_and(|etcd| etcd.state == "Failed");
        if joined || failed || begun.elapsed() >= pace.joined_within {
            let remedy = (!joined).then(|| {
                format!(
                    "see `talosctl --nodes {node} service etcd` and `talosctl --nodes {node} logs \
                     etcd`; a learner that is not promoted keeps the next from joining; a node \
                     that has old etcd data must be wiped"
                )
            });
            return NodeJoin {
                node: node.to_owned(),
                joined,
                etcd,
                remedy,
            };
        }
        sleep(pace.poll).await;
    }
}

/// Component that has to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestartKind {
    /// Kubelet of a node.
    Kubelet,
    /// Controller manager and scheduler of a node.
    ControlPlane,
    /// All other components that watch.
    Controllers,
}

/// Component to restart after etcd went back in time: its state is newer than etcd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// Kind of component.
    pub kind: RestartKind,
    /// Node, if it runs on one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Command for a person.
    pub command: String,
    /// Whether it was restarted; `None` if that was left to a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    /// Reason why a restart failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// Returns what has to restart, in the order in which it should.
#[must_use]
pub fn restarts(plan: &EtcdPlan) -> Vec<Restart> {
    let named = || plan.nodes.iter().filter(|facts| !facts.unnamed);
    let control_plane = named().filter(|n| n.role == NodeRole::ControlPlane);
    let control_plane: Vec<&str> = control_plane.map(|facts| facts.node.as_str()).collect();
    let all: Vec<&str> = named().map(|facts| facts.node.as_str()).collect();
    restarts_on(&control_plane, &all)
}

/// Returns the same for nodes that were not checked: those of the control plane, and all that are
/// known.
#[must_use]
pub fn restarts_on(control_plane: &[&str], all: &[&str]) -> Vec<Restart> {
    let restart = |kind, node: Option<&str>, command: String| Restart {
        kind,
        node: node.map(ToOwned::to_owned),
        command,
        done: None,
        why_not: None,
    };
    let mut list = Vec::new();
    for node in control_plane.iter().copied() {
        let command = format!(
            "talosctl --nodes {node} containers --kubernetes   # then, for kube-controller-manager \
             and kube-scheduler: talosctl --nodes {node} restart --kubernetes ID"
        );
        list.push(restart(RestartKind::ControlPlane, Some(node), command));
    }
    for node in all.iter().copied() {
        let command = format!("talosctl --nodes {node} service kubelet restart");
        list.push(restart(RestartKind::Kubelet, Some(node), command));
    }
    let workers = "talosctl --nodes WORKER service kubelet restart   # on every worker that was not \
                   named: kubectl get nodes -o wide";
    list.push(restart(RestartKind::Kubelet, None, workers.to_owned()));
    let controllers = "kubectl get namespaces   # then, for every one with operators or controllers: \
                       kubectl --namespace NAMESPACE rollout restart deployment,statefulset,daemonset";
    list.push(restart(
        RestartKind::Controllers,
        None,
        controllers.to_owned(),
    ));
    list
}

/// Restarts the kubelets in `list` whose nodes are known, one node after the other, and records the
/// results in it.
pub async fn restart_kubelets(nodes: &TalosNodes, list: &mut [Restart]) {
    for restart in list {
        let (RestartKind::Kubelet, Some(node)) = (restart.kind, restart.node.as_deref()) else {
            continue;
        };
        match nodes.restart_service(node, KUBELET).await {
            Ok(()) => restart.done = Some(true),
            Err(failure) => {
                restart.done = Some(false);
                restart.why_not = Some(format!("{failure} ({})", failure.said()));
            }
        }
    }
}
