//! Restore of etcd at one node: uploads, bootstraps, and waits until etcd matches the snapshot.

mod error;
mod job;

use std::sync::Arc;
use std::time::Duration;

pub use self::error::EtcdRestoreError;
use self::job::{BootstrapAnswer, Job, NodeOutcome, NodeStage};
use super::log::{EtcdLog, EtcdPhase};
use super::plan::{EtcdPlan, Proof, RestoredEtcd};
use super::read_back;
use backup_core::progress::Progress;
use backup_core::read::LocalSnapshot;
use cluster_client::talos::nodes::TalosNodes;

/// Number of attempts. A snapshot that is lost between upload and bootstrap is uploaded again.
const ATTEMPTS: u32 = 3;

/// Time limits and the poll interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Interval between two queries of a node.
    pub poll: Duration,
    /// Time limit for a node that is absent or not ready: it boots, or its clock is not in sync.
    pub ready_within: Duration,
    /// Time limit for a node to restore and start etcd; longer for a large snapshot.
    pub restored_within: Duration,
    /// Time to wait for signs of life where somebody uploaded a snapshot; longer for a large one. A
    /// node that is verifying it must not get another one in its place.
    pub settle: Duration,
    /// Time limit for the other control plane nodes to join.
    pub joined_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            // A server with much memory boots for minutes.
            ready_within: Duration::from_secs(10 * 60),
            restored_within: Duration::from_secs(10 * 60),
            settle: Duration::from_secs(15),
            // Learners are promoted one after the other; a node gives up after 30 minutes.
            joined_within: Duration::from_secs(10 * 60),
        }
    }
}

impl Pace {
    /// Returns `base` plus the time that the slowest node needs for `bytes`.
    fn with_size(base: Duration, bytes: u64) -> Duration {
        /// Rate of a slow disk that reads the data once and writes it twice.
        const BYTES_A_SECOND: u64 = 20 << 20;
        base.saturating_add(Duration::from_secs(bytes / BYTES_A_SECOND))
    }
}

/// Restores `snapshot` as `plan` says. May be called again after a crash at any point: each call
/// first checks how far the node is.
///
/// # Errors
/// As [`EtcdRestoreError`] says. Nothing is ever wiped.
pub async fn run(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    snapshot: Arc<LocalSnapshot>,
    log: &dyn EtcdLog,
    progress: Arc<dyn Progress>,
    pace: Pace,
) -> Result<RestoredEtcd, EtcdRestoreError> {
    let job = Job {
        nodes,
        plan,
        snapshot,
        log,
        progress,
        pace,
    };
    job.check().await?;
    // What an earlier attempt of this restore did also counts.
    let mut proof = plan.proof;
    let mut mine = false;
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        match job.stage().await? {
            NodeStage::Begun => job.reached(EtcdPhase::UnderWay)?,
            NodeStage::Dirty { event } => return Err(job.dirty(event)),
            NodeStage::Ready { uploaded } => {
                if attempt == 0 && uploaded && job.shows_activity().await? {
                    job.reached(EtcdPhase::UnderWay)?;
                } else {
                    job.nobody_else_runs().await?;
                    job.upload().await?;
                    match job.bootstrap().await? {
                        BootstrapAnswer::Accepted => {
                            proof = Some(Proof::Accepted);
                            mine = true;
                        }
                        // The node is checked again: it may be doing what was asked for.
                        BootstrapAnswer::CheckAgain { why, refused } => {
                            if !refused {
                                proof = proof.max(Some(Proof::Asked));
                            }
                            last = why;
                            continue;
                        }
                    }
                }
            }
        }
        match job.watch().await? {
            NodeOutcome::Up => {
                let progress = job.progress.as_ref();
                let back = read_back::read_back(nodes, &plan.target, progress).await?;
                let restored = back.restored(&plan.snapshot, proof, !mine);
                let restored = restored.map_err(|difference| job.other_data(difference))?;
                let revision = restored.revision;
                job.reached(EtcdPhase::Revision { revision })?;
                return Ok(restored);
            }
            NodeOutcome::Failed {
                event,
                empty: false,
            } => return Err(job.dirty(event)),
            // The snapshot was lost on its way, which leaves nothing behind: it is uploaded again.
            NodeOutcome::Failed { event, .. } if event.contains("error verifying snapshot") => {
                last = event;
            }
            NodeOutcome::Failed { event, .. } => return Err(job.failed(event)),
        }
    }
    Err(job.failed(last))
}
