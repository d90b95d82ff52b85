//! What follows once etcd is back at one node: the others join, and those restart whose time went
//! back.

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::look::ETCD;
use super::plan::{EtcdPlan, Role};
use super::run::Pace;
use crate::source::talos::nodes::{ServiceView, TalosNodes};

/// The service that runs pods.
const KUBELET: &str = "kubelet";
/// More control plane nodes than any cluster has.
const AT_ONCE: usize = 32;

/// How a control plane node joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The node.
    pub node: String,
    /// Whether its etcd runs and is healthy.
    pub joined: bool,
    /// Its state when it was looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<ServiceView>,
    /// What to do if it has not joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Watches the other control plane nodes that were named join, for a bounded time. They do so by themselves, one
/// after the other.
pub async fn watch_others(nodes: &TalosNodes, plan: &EtcdPlan, pace: Pace) -> Vec<Joined> {
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

async fn watch(nodes: &TalosNodes, node: &str, pace: Pace) -> Joined {
    let begun = Instant::now();
    loop {
        let etcd = nodes.service(node, ETCD).await.ok().flatten();
        let joined = etcd.as_ref().is_some_and(ServiceView::is_up);
        let failed = etcd.as_ref().is_some_and(|etcd| etcd.state == "Failed");
        if joined || failed || begun.elapsed() >= pace.joined_within {
            let remedy = (!joined).then(|| {
                format!(
                    "see `talosctl --nodes {node} service etcd` and `talosctl --nodes {node} logs \
                     etcd`; a learner that is not promoted keeps the next from joining; one that has \
                     etcd data of before has to be wiped"
                )
            });
            return Joined {
                node: node.to_owned(),
                joined,
                etcd,
                remedy,
            };
        }
        sleep(pace.poll).await;
    }
}

/// What has to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestartKind {
    /// A node's kubelet.
    Kubelet,
    /// A node's own controller manager and scheduler.
    ControlPlane,
    /// Everything else that watches.
    Controllers,
}

/// One thing to restart after time went back: what it knows is newer than what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// What.
    pub kind: RestartKind,
    /// Where, if at one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How a person does it.
    pub command: String,
    /// Whether it was done; `None` if it was left to a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    /// Why it was not done, if it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// What has to restart, in the order in which it should.
#[must_use]
pub fn restarts(plan: &EtcdPlan) -> Vec<Restart> {
    let named = || plan.nodes.iter().filter(|facts| !facts.unnamed);
    let control_plane = named().filter(|n| n.role == Role::ControlPlane);
    let control_plane: Vec<&str> = control_plane.map(|facts| facts.node.as_str()).collect();
    let all: Vec<&str> = named().map(|facts| facts.node.as_str()).collect();
    restarts_on(&control_plane, &all)
}

/// The same for nodes that were not looked at: those of the control plane, and all that are known.
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

/// Restarts the kubelets in `list` whose nodes are known, one node after the other, and notes in it
/// what came of it.
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
