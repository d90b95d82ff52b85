//! Step 1 of a restore: restoring etcd from its snapshot.
//!
//! [`preflight`] checks all nodes and changes nothing. [`run`] uploads and bootstraps at one node,
//! and trusts neither an OK nor a refusal: it asks the node until etcd runs, is healthy, and
//! returns a revision that is not below the snapshot's. Each call first checks how far the node is,
//! so it may be called again after a crash at any point. Nothing is ever wiped: the plan only names
//! the command that would wipe, and what it destroys.

mod datastore;
mod evidence;
mod follow_up;
mod log;
mod node_report;
mod plan;
mod preflight;
mod read_back;
mod run;
mod version_check;
mod wipe;

pub use self::datastore::{DatastoreError, DatastoreTarget, RestoredFolder, restore_datastore};
pub use self::follow_up::{
    NodeJoin, Restart, RestartKind, restart_kubelets, restarts, restarts_on, watch_others,
};
pub use self::log::{BootstrapEvidence, EtcdLog, EtcdPhase, LogError, NoLog};
pub use self::plan::{
    ClusterComparison, EtcdPlan, NodeFacts, NodeRole, Proof, RestoredEtcd, SnapshotFacts,
    TalosCluster,
};
pub use self::preflight::{EtcdRequest, preflight};
pub use self::run::{EtcdRestoreError, Pace, run};
pub use self::wipe::WipeCommand;
