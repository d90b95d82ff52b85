//! Request for the bootstrap from the uploaded snapshot.

use super::super::EtcdRestoreError;
use super::retry::RetryTimer;
use super::{Job, NodeStage};
use crate::etcd::log::EtcdPhase;
use crate::etcd::node_report::uploaded;
use cluster_client::talos::nodes::{CallError, CallErrorKind};

/// Result of asking for the bootstrap.
pub(in crate::etcd::run) enum BootstrapAnswer {
    Accepted,
    /// The node must be checked again; `refused` if the node itself refused.
    CheckAgain {
        why: String,
        refused: bool,
    },
}

impl Job<'_> {
    /// Asks for the bootstrap until the node accepts it, or has something else.
    pub(in crate::etcd::run) async fn bootstrap(
        &self,
    ) -> Result<BootstrapAnswer, EtcdRestoreError> {
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
}
