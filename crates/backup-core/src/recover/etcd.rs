//! Step 1 of a restore: etcd back from its snapshot.
//!
//! [`preflight`] looks and changes nothing. [`run`] uploads and bootstraps at one node, and believes
//! neither an OK nor a refusal: it asks the node until etcd runs, is healthy, and gives back a
//! revision that is not below the snapshot's. It begins each time by looking how far things are, so
//! it may be called again after a crash at any point. Nothing is ever wiped: the command that would
//! is told, with what it destroys.

mod after;
mod datastore;
mod evidence;
mod judge;
mod log;
mod look;
mod plan;
mod preflight;
mod read_back;
mod run;
mod wipe;

pub use self::after::{
    Joined, Restart, RestartKind, restart_kubelets, restarts, restarts_on, watch_others,
};
pub use self::datastore::{DatastoreError, DatastoreTarget, RestoredFolder, restore_datastore};
pub use self::log::{EtcdLog, EtcdPhase, LogError, NoLog, Trace};
pub use self::plan::{
    EtcdPlan, EtcdRestored, Likeness, NodeFacts, Proof, Role, SnapshotFacts, TalosCluster,
};
pub use self::preflight::{Wanted, preflight};
pub use self::run::{EtcdRestoreError, Pace, run};
pub use self::wipe::Wipe;
