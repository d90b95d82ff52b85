//! Steps of a restore of etcd at one node.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::super::log::{EtcdLog, EtcdPhase};
use super::super::node_report::{ETCD, cluster_of, data_empty, uploaded};
use super::super::plan::{EtcdPlan, NodeRole};
use super::super::wipe::WipeCommand;
use super::{EtcdRestoreError, Pace};
use backup_core::progress::Progress;
use backup_core::read::LocalSnapshot;
use cluster_client::talos::nodes::{ServiceView, TalosNodes};

mod bootstrap;
mod retry;
mod upload;

pub(super) use bootstrap::BootstrapAnswer;
use retry::RetryTimer;

/// One restore.
pub(super) struct Job<'a> {
    pub(super) nodes: &'a TalosNodes,
    pub(super) plan: &'a EtcdPlan,
    pub(super) snapshot: Arc<LocalSnapshot>,
    pub(super) log: &'a dyn EtcdLog,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) pace: Pace,
}

/// Progress of the node.
pub(super) enum NodeStage {
    /// It waits, without data; `uploaded` if a snapshot lies there.
    Ready { uploaded: bool },
    /// Its etcd runs or is about to start.
    Begun,
    /// It has data and gave up.
    Dirty { event: String },
}

/// Result of the node's restore.
pub(super) enum NodeOutcome {
    Up,
    Failed { event: String, empty: bool },
}

impl Job<'_> {
    fn target(&self) -> &str {
        &self.plan.target
    }

    pub(super) fn reached(&self, phase: EtcdPhase) -> Result<(), EtcdRestoreError> {
        let reached = self.log.reached(&phase);
        drop(phase);
        reached.map_err(EtcdRestoreError::Log)
    }

    pub(super) fn dirty(&self, event: String) -> EtcdRestoreError {
        EtcdRestoreError::Dirty {
            node: self.target().to_owned(),
            event,
            wipe: self.plan.wipe.clone(),
        }
    }

    pub(super) fn other_data(&self, difference: String) -> EtcdRestoreError {
        EtcdRestoreError::OtherData {
            node: self.target().to_owned(),
            difference,
            wipe: self.plan.wipe.clone(),
        }
    }

    pub(super) fn failed(&self, event: String) -> EtcdRestoreError {
        EtcdRestoreError::Failed {
            node: self.target().to_owned(),
            event,
        }
    }

    /// Checks that the plan allows the restore and is for this cluster and this snapshot.
    pub(super) async fn check(&self) -> Result<(), EtcdRestoreError> {
        if !self.plan.can_run() {
            let causes = self.plan.blockers.iter();
            let causes = causes.map(|finding| format!("{}: {}", finding.object, finding.cause));
            return Err(EtcdRestoreError::Blocked {
                causes: causes.collect(),
            });
        }
        let (planned, held) = (&self.plan.snapshot, self.snapshot.facts());
        let other = |difference: String| EtcdRestoreError::OtherTarget { difference };
        if planned.sha256 != held.sha256 || planned.raw != held.raw {
            return Err(other(format!(
                "its snapshot has SHA-256 {}, this one has {}",
                planned.sha256, held.sha256
            )));
        }
        if let (Some(planned), Some(held)) = (&planned.kube_system_uid, &held.kube_system_uid)
            && planned != held
        {
            return Err(other(format!(
                "its snapshot is of the cluster with kube-system {planned}, this one is of {held}"
            )));
        }
        let mut waited = RetryTimer::new("ask which cluster it is", self.pace.ready_within);
        let now = loop {
            match cluster_of(self.nodes, self.target()).await {
                Ok(now) => break now,
                Err(failure) => self.wait(&mut waited, failure).await?,
            }
        };
        self.plan
            .cluster
            .differs(&now)
            .map_or(Ok(()), |d| Err(other(d)))
    }

    /// Returns the state of the target's service `etcd`; waits while the node is absent.
    async fn service(&self) -> Result<ServiceView, EtcdRestoreError> {
        let mut waited = RetryTimer::new("ask for the state of etcd", self.pace.ready_within);
        loop {
            match self.nodes.service(self.target(), ETCD).await {
                Ok(Some(service)) => return Ok(service),
                // A booting node lists its services one after the other.
                Ok(None) if waited.begun.elapsed() < waited.within => sleep(self.pace.poll).await,
                Ok(None) => {
                    return Err(EtcdRestoreError::NotReady {
                        node: self.target().to_owned(),
                        why: "it has no service etcd".to_owned(),
                        within: waited.within,
                    });
                }
                Err(failure) => self.wait(&mut waited, failure).await?,
            }
        }
    }

    /// Returns how far the node is. Waits while it is between two stages.
    pub(super) async fn stage(&self) -> Result<NodeStage, EtcdRestoreError> {
        let begun = Instant::now();
        loop {
            let service = self.service().await?;
            // If this is unknown, the node decides: it refuses to bootstrap over data.
            let empty = data_empty(self.nodes, self.target()).await.unwrap_or(true);
            match (service.state.as_str(), empty) {
                ("Running", _) | ("Preparing", false) => return Ok(NodeStage::Begun),
                ("Preparing" | "Failed", true) => {
                    let lies = uploaded(self.nodes, self.target()).await;
                    let uploaded = lies.is_ok_and(|bytes| bytes.is_some());
                    return Ok(NodeStage::Ready { uploaded });
                }
                ("Failed", false) => {
                    let event = service.last_event.unwrap_or_default();
                    return Ok(NodeStage::Dirty { event });
                }
                // Between two states.
                _ if begun.elapsed() < self.pace.ready_within => sleep(self.pace.poll).await,
                (state, _) => {
                    let event = service.last_event.as_deref().unwrap_or_default();
                    return Err(EtcdRestoreError::NotReady {
                        node: self.target().to_owned(),
                        why: format!("etcd is {state} and not Preparing: {event}"),
                        within: self.pace.ready_within,
                    });
                }
            }
        }
    }

    /// Reports whether a node that already has an uploaded snapshot is active: it may be verifying
    /// it, and must not get another one in its place.
    pub(super) async fn shows_activity(&self) -> Result<bool, EtcdRestoreError> {
        let lies = "the node has a snapshot already: checking whether a restore is under way";
        self.reached(EtcdPhase::Waiting {
            why: lies.to_owned(),
        })?;
        let begun = Instant::now();
        let settle = Pace::with_size(self.pace.settle, self.snapshot.facts().bytes);
        while begun.elapsed() < settle {
            sleep(self.pace.poll).await;
            match self.stage().await? {
                NodeStage::Ready { uploaded: true } => {}
                NodeStage::Ready { uploaded: false } => return Ok(false),
                NodeStage::Begun | NodeStage::Dirty { .. } => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Checks that no other control plane node has an etcd that runs.
    pub(super) async fn nobody_else_runs(&self) -> Result<(), EtcdRestoreError> {
        // A node that did not answer when the plan was made may be back.
        let others = self.plan.nodes.iter();
        let others = others.filter(|n| n.role != NodeRole::Worker && n.node != self.plan.target);
        for other in others {
            let service = self.nodes.service(&other.node, ETCD).await;
            // The plan already warned of a node that does not answer.
            if let Ok(Some(service)) = service
                && service.state == "Running"
            {
                return Err(EtcdRestoreError::OtherRuns {
                    node: other.node.clone(),
                    wipe: WipeCommand::of(&other.node, other.talos_version.as_deref()),
                });
            }
        }
        Ok(())
    }

    /// Asks until etcd runs and is healthy, or has failed.
    pub(super) async fn watch(&self) -> Result<NodeOutcome, EtcdRestoreError> {
        self.progress.step("waiting for etcd", None);
        let begun = Instant::now();
        let within = Pace::with_size(self.pace.restored_within, self.snapshot.facts().bytes);
        let mut told: Option<(String, Option<String>)> = None;
        loop {
            let service = self.service().await?;
            let now = (service.state.clone(), service.last_event.clone());
            if told.as_ref() != Some(&now) {
                self.reached(if service.state == "Running" {
                    EtcdPhase::Running
                } else {
                    EtcdPhase::Service {
                        state: now.0.clone(),
                        event: now.1.clone(),
                    }
                })?;
                told = Some(now);
            }
            if service.is_up() {
                self.reached(EtcdPhase::Healthy)?;
                return Ok(NodeOutcome::Up);
            }
            if service.state == "Failed" {
                let empty = data_empty(self.nodes, self.target()).await.unwrap_or(false);
                let event = service.last_event;
                return Ok(NodeOutcome::Failed {
                    event: event.unwrap_or_else(|| "it does not say why".to_owned()),
                    empty,
                });
            }
            if begun.elapsed() >= within {
                let event = service.last_event.unwrap_or_default();
                return Err(EtcdRestoreError::TooLong {
                    node: self.target().to_owned(),
                    state: format!("{} ({event})", service.state),
                    within,
                });
            }
            sleep(self.pace.poll).await;
        }
    }
}
