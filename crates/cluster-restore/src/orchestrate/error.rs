//! Error of a restore that a program plans, runs or resumes.

use std::path::PathBuf;

use backup_core::causes;
use backup_core::id::RestorePointId;
use backup_core::read::{Damage, RestoreError};
use backup_core::source::SourceError;
use cluster_client::kube::KubeError;

use super::{PointError, SourceDifference};
use crate::RecoverError;
use crate::etcd::EtcdRestoreError;
use crate::journal_replica::ReplicaError;

/// Error from the program that restores: its identities, or its consent.
pub type ProgramError = Box<dyn std::error::Error + Send + Sync>;

/// Reason why a restore cannot be planned, run or resumed.
#[derive(Debug, thiserror::Error)]
pub enum OrchestrateError {
    /// The restore was cancelled where it only waits and reads.
    #[error("interrupted; nothing is left half-written")]
    Interrupted,
    /// No restore point was found.
    #[error(transparent)]
    Point(#[from] PointError),
    /// A restore point has another manifest than the plan says.
    #[error("restore point {id} is not the one of the plan")]
    OtherPoint {
        /// Restore point.
        id: RestorePointId,
    },
    /// The restore point of the objects is older than the one that is restored first.
    #[error("{forward} is older than {point}")]
    Backward {
        /// Restore point of the objects.
        forward: RestorePointId,
        /// Restore point that is restored first.
        point: RestorePointId,
    },
    /// The restore point has no snapshot of etcd.
    #[error("restore point {id} has no component `etcd`")]
    NoSnapshot {
        /// Restore point.
        id: RestorePointId,
    },
    /// The restore point holds no facts about tenants.
    #[error("restore point {id} knows nothing of tenants")]
    NoTenants {
        /// Restore point.
        id: RestorePointId,
    },
    /// The program cannot supply the identities that open restore points.
    #[error(transparent)]
    Identities(ProgramError),
    /// No identity opens the restore point.
    #[error(transparent)]
    Unlock(RestoreError),
    /// The data of a restore point cannot be read.
    #[error("cannot read restore point {id}")]
    Unreadable {
        /// Restore point.
        id: RestorePointId,
        /// Consequences for its components, as far as they could be determined.
        damages: Vec<Damage>,
        /// Error of the read.
        source: Box<RestoreError>,
    },
    /// The source of the objects is not the one of the plan.
    #[error(transparent)]
    OtherSource(#[from] SourceDifference),
    /// A step needs the Kubernetes API, and no access to it is configured.
    #[error("no way to the Kubernetes API is configured")]
    NoApi,
    /// The Kubernetes API cannot be used.
    #[error(transparent)]
    Api(KubeError),
    /// The Kubernetes API did not come back in time after its etcd did.
    #[error(transparent)]
    ApiAway(KubeError),
    /// The Kubernetes API came back and did not become ready in time.
    #[error("the Kubernetes API answers and is not ready")]
    ApiNotReady,
    /// A step needs the Talos API, and no access to it is configured.
    #[error("the plan has a step on etcd")]
    NoTalos,
    /// The nodes cannot be determined.
    #[error(transparent)]
    Nodes(SourceError),
    /// The tenants cannot be queried.
    #[error(transparent)]
    Tenants(SourceError),
    /// The nodes differ from those of the plan.
    #[error("the nodes are not those of the plan: {difference}")]
    OtherNodes {
        /// First difference.
        difference: String,
    },
    /// The nodes are in a state in which etcd must not be restored.
    #[error("etcd must not be restored now: {object}: {cause}")]
    EtcdBlocked {
        /// Object of the first blocker.
        object: String,
        /// Cause of the first blocker.
        cause: String,
        /// Remedy of the first blocker.
        remedy: String,
    },
    /// The restore of etcd failed.
    #[error(transparent)]
    Etcd(#[from] EtcdRestoreError),
    /// The plan was made with a blocker.
    #[error("{cause}")]
    PlannedBlocker {
        /// Cause of the first blocker.
        cause: String,
        /// Remedy of the first blocker.
        remedy: String,
    },
    /// The plan has blockers now.
    #[error("the plan has {count} blocker(s), the first: {object}: {cause}")]
    Blocked {
        /// Number of blockers.
        count: usize,
        /// Object of the first one.
        object: String,
        /// Cause of the first one.
        cause: String,
        /// Remedy of the first one.
        remedy: String,
    },
    /// The cluster changed after the plan was made.
    #[error("the cluster changed since the plan was made: {}", .differences.join("; "))]
    Changed {
        /// First differences.
        differences: Vec<String>,
    },
    /// Nobody consents to the restore.
    #[error(transparent)]
    NoConsent(ProgramError),
    /// The folder of the journals cannot be created.
    #[error("make the folder {folder}")]
    Folder {
        /// Folder.
        folder: String,
        /// Error of the operation.
        source: std::io::Error,
    },
    /// A plan is not the one that a journal began with.
    #[error("{plan} is not the plan that {journal} follows")]
    OtherPlan {
        /// File of the plan.
        plan: String,
        /// File of the journal.
        journal: String,
    },
    /// The copy of a journal in the store cannot be used.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// No identity opens the copy of a journal.
    #[error("no identity opens the journal")]
    SealedJournal,
    /// Objects cannot be planned or restored.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The restore ended early, and its journal says how far it is.
    #[error("the restore ended early; it continues from its journal {}", .journal.display())]
    Unfinished {
        /// Journal of the restore.
        journal: PathBuf,
        /// Error that ended it.
        source: Box<OrchestrateError>,
    },
}

impl OrchestrateError {
    /// Adds the journal from which the restore continues.
    pub(super) fn unfinished(self, journal: &std::path::Path) -> Self {
        Self::Unfinished {
            journal: journal.to_owned(),
            source: Box::new(self),
        }
    }

    /// Returns the error and its causes in one line, each cause once.
    #[must_use]
    pub fn line(&self) -> String {
        causes::line_once(self)
    }
}
