//! Uploads, bootstraps, and waits until etcd is what the snapshot says.

mod error;
mod evidence;
mod job;
mod read_back;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

pub use self::error::EtcdRestoreError;
use self::job::{Asked, Ended, Job, Stage};
use super::log::{EtcdLog, EtcdPhase, NoLog};
use super::look::ETCD;
use super::plan::EtcdPlan;
use crate::progress::Progress;
use crate::restore::HeldSnapshot;
use crate::source::talos::nodes::{MemberView, ServiceView, TalosNodes};

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

/// An etcd that is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdRestored {
    /// The node.
    pub node: String,
    /// The revision that was read back; at least the snapshot's.
    pub revision: u64,
    /// The snapshot's revision.
    pub snapshot_revision: u64,
    /// The UID of the namespace `kube-system` that was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// The node's member, 16 hex digits.
    pub member_id: String,
    /// The version of its etcd.
    pub etcd_version: String,
    /// All members.
    pub members: Vec<MemberView>,
    /// Whether an earlier attempt had done it, so that nothing was to do.
    pub already: bool,
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
    let mut accepted = false;
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
                        Asked::Accepted => accepted = true,
                        // What is there is looked at anew: it may be what was asked for.
                        Asked::LookAgain { why } => {
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
                return read_back::read_back(nodes, plan, log, progress, !accepted).await;
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

/// Whether the target's etcd is up already and is what `plan` wants: an earlier attempt may have got
/// there. One that has just started is waited for. Changes nothing.
///
/// # Errors
/// When what is there cannot be read back. Other data is no error.
pub async fn restored_already(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    progress: &dyn Progress,
) -> Result<Option<EtcdRestored>, EtcdRestoreError> {
    let target = plan.nodes.iter().find(|node| node.node == plan.target);
    let etcd = target.and_then(|node| node.etcd.clone());
    if !is_up_soon(nodes, plan, etcd).await {
        return Ok(None);
    }
    match read_back::read_back(nodes, plan, &NoLog, progress, true).await {
        Ok(restored) => Ok(Some(restored)),
        Err(EtcdRestoreError::OtherData { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an etcd that runs is healthy, or becomes so before long.
async fn is_up_soon(nodes: &TalosNodes, plan: &EtcdPlan, etcd: Option<ServiceView>) -> bool {
    /// Talos looks at it for the first time after 5 s; a cluster without quorum never is.
    const CHECKED_WITHIN: Duration = Duration::from_secs(30);
    let begun = Instant::now();
    let mut etcd = etcd;
    loop {
        match &etcd {
            Some(etcd) if etcd.is_up() => return true,
            Some(etcd) if etcd.state == "Running" && begun.elapsed() < CHECKED_WITHIN => {}
            _ => return false,
        }
        sleep(Pace::default().poll).await;
        etcd = nodes.service(&plan.target, ETCD).await.ok().flatten();
    }
}
