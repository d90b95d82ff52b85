//! Comparison of the target's running etcd with what this restore would make.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::node_report::{ETCD, NodeReport};
use super::super::plan::RestoredEtcd;
use super::super::read_back::read_back;
use super::EtcdRequest;
use backup_core::causes;
use backup_core::progress::SilentProgress;
use cluster_client::talos::nodes::{ServiceView, TalosNodes};

/// State of the target's etcd, seen from this restore.
pub(super) enum TargetEtcdState {
    /// It does not run.
    Down,
    /// It runs and is what the restore would make.
    Holds(RestoredEtcd),
    /// It runs and is something else.
    Other(String),
    /// It runs, and its content could not be read.
    Unread(String),
}

impl TargetEtcdState {
    /// Asks the node. Changes nothing.
    pub(super) async fn of(
        nodes: &TalosNodes,
        target: Option<&NodeReport>,
        wanted: &EtcdRequest,
    ) -> Self {
        let Some(target) = target.filter(|looked| looked.runs_etcd()) else {
            return Self::Down;
        };
        let node = target.facts.node.as_str();
        // If this restore has just started it, it gets time to become healthy.
        let patience = wanted.proof.is_some();
        if !is_up(nodes, node, target.facts.etcd.clone(), patience).await {
            return Self::Unread("it is not healthy".to_owned());
        }
        match read_back(nodes, node, &SilentProgress).await {
            Ok(back) => match back.restored(&wanted.snapshot, wanted.proof, true) {
                Ok(restored) => Self::Holds(restored),
                Err(difference) => Self::Other(difference),
            },
            Err(error) => Self::Unread(causes::line(&error)),
        }
    }

    /// Returns the restored etcd if the target already has it.
    pub(super) fn holds(&self) -> Option<&RestoredEtcd> {
        match self {
            Self::Holds(restored) => Some(restored),
            Self::Down | Self::Other(_) | Self::Unread(_) => None,
        }
    }
}

/// Reports whether a running etcd is healthy, or with `wait` becomes healthy soon.
async fn is_up(nodes: &TalosNodes, node: &str, etcd: Option<ServiceView>, wait: bool) -> bool {
    /// Time limit. Talos checks etcd's health first after 5 s; without quorum it never becomes
    /// healthy.
    const CHECKED_WITHIN: Duration = Duration::from_secs(30);
    const POLL: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    let mut etcd = etcd;
    loop {
        match &etcd {
            Some(etcd) if etcd.is_up() => return true,
            Some(etcd) if wait && etcd.state == "Running" && begun.elapsed() < CHECKED_WITHIN => {}
            _ => return false,
        }
        sleep(POLL).await;
        etcd = nodes.service(node, ETCD).await.ok().flatten();
    }
}
