//! Steps of a restore of etcd at one node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::log::{EtcdLog, EtcdPhase};
use super::super::node_report::{ETCD, cluster_of, data_empty, uploaded};
use super::super::plan::{EtcdPlan, NodeRole};
use super::super::wipe::WipeCommand;
use super::{EtcdRestoreError, Pace};
use backup_core::progress::Progress;
use backup_core::read::LocalSnapshot;
use bytes::Bytes;
use cluster_client::talos::nodes::{
    CallError, CallErrorKind, ServiceView, TalosNodes, Upload, UploadError,
};

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

/// Result of asking for the bootstrap.
pub(super) enum BootstrapAnswer {
    Accepted,
    /// The node must be checked again; `refused` if the node itself refused.
    CheckAgain {
        why: String,
        refused: bool,
    },
}

/// Result of the node's restore.
pub(super) enum NodeOutcome {
    Up,
    Failed { event: String, empty: bool },
}

/// A held snapshot as the Talos API takes it.
#[derive(Debug)]
struct SnapshotUpload(Arc<LocalSnapshot>);

impl Upload for SnapshotUpload {
    fn bytes(&self) -> u64 {
        self.0.facts().bytes
    }

    fn pieces(&self, piece: &mut dyn FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        self.0.pieces(piece)
    }
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

    /// Waits before a call is repeated that failed because the node was absent or not ready.
    async fn wait(
        &self,
        waited: &mut RetryTimer,
        failure: CallError,
    ) -> Result<(), EtcdRestoreError> {
        let again = matches!(
            failure.kind,
            CallErrorKind::Unreachable | CallErrorKind::NotReady | CallErrorKind::Hung
        );
        if !again {
            return Err(EtcdRestoreError::Call {
                what: waited.what,
                source: failure,
            });
        }
        let why = failure.said().to_owned();
        if waited.begun.elapsed() >= waited.within {
            return Err(EtcdRestoreError::NotReady {
                node: self.target().to_owned(),
                why: format!("{failure} ({why})"),
                within: waited.within,
            });
        }
        if waited.told.as_deref() != Some(failure.said()) {
            self.reached(EtcdPhase::Waiting { why: why.clone() })?;
            waited.told = Some(why);
        }
        sleep(self.pace.poll).await;
        Ok(())
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

    pub(super) async fn upload(&self) -> Result<(), EtcdRestoreError> {
        let node = self.target().to_owned();
        let bytes = self.snapshot.facts().bytes;
        self.reached(EtcdPhase::Uploading {
            node: node.clone(),
            bytes,
        })?;
        let mut waited = RetryTimer::new("upload the snapshot", self.pace.ready_within);
        loop {
            let snapshot = Arc::new(SnapshotUpload(Arc::clone(&self.snapshot)));
            let progress = Arc::clone(&self.progress);
            match self.nodes.upload(&node, snapshot, progress).await {
                Ok(()) => return self.reached(EtcdPhase::Uploaded),
                // The node is absent, or its disk is not mounted yet.
                Err(UploadError::Call(failure))
                    if matches!(
                        failure.kind,
                        CallErrorKind::NotReady | CallErrorKind::Unreachable
                    ) =>
                {
                    self.wait(&mut waited, failure).await?;
                }
                Err(source) => return Err(EtcdRestoreError::Upload { node, source }),
            }
        }
    }

    /// Asks for the bootstrap until the node accepts it, or has something else.
    pub(super) async fn bootstrap(&self) -> Result<BootstrapAnswer, EtcdRestoreError> {
        self.reached(EtcdPhase::Bootstrapping)?;
        let mut waited = RetryTimer::new("bootstrap from the snapshot", self.pace.ready_within);
        loop {
            let asked = self
                .nodes
                .bootstrap(self.target(), self.snapshot.facts().raw);
            let failure = match asked.await {
                Ok(()) => {
                    self.reached(EtcdPhase::Accepted)?;
                    return Ok(BootstrapAnswer::Accepted);
                }
                Err(failure) => failure,
            };
            let look = |why: &CallError| {
                let refused = why.kind == CallErrorKind::NotEmpty;
                let why = format!("{why} ({})", why.said());
                Ok(BootstrapAnswer::CheckAgain { why, refused })
            };
            match failure.kind {
                CallErrorKind::NotEmpty => {
                    let why = failure.said().to_owned();
                    self.reached(EtcdPhase::Refused { why })?;
                    return look(&failure);
                }
                CallErrorKind::Unreachable | CallErrorKind::Hung => {
                    // The answer may be lost while the node is at work, or the node restarts.
                    let told = look(&failure);
                    self.wait(&mut waited, failure).await?;
                    let as_before = match self.stage().await? {
                        NodeStage::Ready { .. } => self.has_upload().await,
                        NodeStage::Begun | NodeStage::Dirty { .. } => false,
                    };
                    if !as_before {
                        return told;
                    }
                }
                _ => self.wait(&mut waited, failure).await?,
            }
        }
    }

    /// Reports whether the uploaded snapshot is still there.
    async fn has_upload(&self) -> bool {
        let lies = uploaded(self.nodes, self.target()).await;
        // If this is unknown, the bootstrap itself reports a missing snapshot.
        lies.map_or(true, |bytes| bytes == Some(self.snapshot.facts().bytes))
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

/// Duration and last reported reason of a call that is repeated.
struct RetryTimer {
    what: &'static str,
    begun: Instant,
    within: Duration,
    told: Option<String>,
}

impl RetryTimer {
    fn new(what: &'static str, within: Duration) -> Self {
        Self {
            what,
            begun: Instant::now(),
            within,
            told: None,
        }
    }
}
