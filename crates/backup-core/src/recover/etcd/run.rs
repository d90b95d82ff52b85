//! Uploads, bootstraps, and waits until etcd is what the snapshot says.

mod error;
mod job;

use std::sync::Arc;
use std::time::Duration;

pub use self::error::EtcdRestoreError;
use self::job::{Asked, Ended, Job, Stage};
use super::log::{EtcdLog, EtcdPhase};
use super::plan::{EtcdPlan, EtcdRestored, Proof};
use super::read_back;
use crate::progress::Progress;
use crate::restore::HeldSnapshot;
use crate::source::talos::nodes::TalosNodes;

/// A snapshot that is lost between upload and bootstrap is uploaded anew, this often in all.
const ATTEMPTS: u32 = 3;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at a node.
    pub poll: Duration,
    /// How long a node may not be ready or not be there: it boots, or its clock is not in sync.
    pub ready_within: Duration,
    /// How long a node may take to restore and start etcd; more for a large snapshot.
    pub restored_within: Duration,
    /// How long to wait for signs of life where a snapshot lies that somebody uploaded; more for a
    /// large one. A node that just verifies it must not get another in its place.
    pub settle: Duration,
    /// How long the other control plane nodes may take to join.
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
    /// `base`, and the time that the slowest node takes over `bytes`.
    fn with_size(base: Duration, bytes: u64) -> Duration {
        /// A slow disk, read once and written twice.
        const BYTES_A_SECOND: u64 = 20 << 20;
        base.saturating_add(Duration::from_secs(bytes / BYTES_A_SECOND))
    }
}

/// Restores `snapshot` as `plan` says. May be called again after a crash at any point: it begins by
/// looking how far the node is.
///
/// # Errors
/// As [`EtcdRestoreError`] says. Nothing is ever wiped.
pub async fn run(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    snapshot: Arc<HeldSnapshot>,
    log: &dyn EtcdLog,
    progress: Arc<dyn Progress>,
    pace: Pace,
) -> Result<EtcdRestored, EtcdRestoreError> {
    let job = Job {
        nodes,
        plan,
        snapshot,
        log,
        progress,
        pace,
    };
    job.check().await?;
    // What an earlier attempt of this restore did counts too.
    let mut proof = plan.proof;
    let mut mine = false;
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        match job.stage().await? {
            Stage::Begun => job.reached(EtcdPhase::UnderWay)?,
            Stage::Dirty { event } => return Err(job.dirty(event)),
            Stage::Ready { uploaded } => {
                if attempt == 0 && uploaded && job.stirs().await? {
                    job.reached(EtcdPhase::UnderWay)?;
                } else {
                    job.nobody_else_runs().await?;
                    job.upload().await?;
                    match job.bootstrap().await? {
                        Asked::Accepted => {
                            proof = Some(Proof::Accepted);
                            mine = true;
                        }
                        // What is there is looked at anew: it may be what was asked for.
                        Asked::LookAgain { why, refused } => {
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
            Ended::Up => {
                let progress = job.progress.as_ref();
                let back = read_back::read_back(nodes, &plan.target, progress).await?;
                let restored = back.restored(&plan.snapshot, proof, !mine);
                let restored = restored.map_err(|difference| job.other_data(difference))?;
                let revision = restored.revision;
                job.reached(EtcdPhase::Revision { revision })?;
                return Ok(restored);
            }
            Ended::Failed {
                event,
                empty: false,
            } => return Err(job.dirty(event)),
            // The snapshot was lost on its way, which leaves nothing behind: it is uploaded anew.
            Ended::Failed { event, .. } if event.contains("error verifying snapshot") => {
                last = event;
            }
            Ended::Failed { event, .. } => return Err(job.failed(event)),
        }
    }
    Err(job.failed(last))
}
