//! Restore of a destroyed management cluster, step by step, so that no tenant is hurt, for `restore-cli`.
//!
//! [`survey`] makes a [`plan::Plan`] first, with only reads and dry runs. [`Recovery::run`] executes it, with a
//! journal that is on disk before and after each write. Nothing is deleted to roll back, and no finalizer is
//! stripped. The objects come from a restore point, from [`velero`] or from [`git`]; [`mirror`] writes them to a
//! Git repository, and [`tenants`] compares tenants with a restore point.
//!
//! ```no_run
//! use backup_core::progress::SilentProgress;
//! use cluster_client::kube::KubeOptions;
//! use cluster_client::kube::target::KubeTarget;
//! use cluster_restore::plan::Plan;
//! use cluster_restore::spool::ObjectSpool;
//! use cluster_restore::{Request, survey};
//!
//! /// Shows what keeps the objects in `spool` from being restored.
//! async fn blockers(request: &Request, spool: &ObjectSpool) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut target = KubeTarget::connect(&KubeOptions::new(None, None)).await?;
//!     target.discover().await?;
//!     let plan: Plan = survey(request, &target, spool, None, &SilentProgress).await?;
//!     for finding in plan.blockers() {
//!         println!("{}: {}; {}", finding.object, finding.cause, finding.remedy);
//!     }
//!     Ok(())
//! }
//! ```

use jiff::Timestamp;
use serde_json::Value;

use backup_core::archive::{JsonFlaw, MAX_DEPTH, ObjectPath};
use cluster_client::kube::{KubeError, WriteError};

// Programs that a restore starts.
mod child;

mod danger;
pub mod fill;

pub mod guards;
pub mod order;
pub mod spool;

pub mod etcd;

mod immutable;

mod builtin;
mod crds;

mod desired;
mod exclusions;
mod merge;

pub mod pause;

pub mod quiesce;

pub mod journal;
pub mod journal_replica;
pub mod plan;

mod archive;
mod contents;
mod select;

pub mod velero;

pub mod git;

mod dangers;
mod gaps;
mod lineage;
mod lock;
mod owners;
mod volumes;

mod datastore_check;
mod objects;

mod planner;
mod run;

pub mod tenants;

pub mod mirror;

pub mod orchestrate;

mod classification;

pub use archive::read_archive;
pub use contents::ContentKey;
pub use gaps::gaps;
pub use lineage::lineage;
pub use planner::{Request, predict, survey};
pub use run::{JournalReplica, NoReplica, Recovery, RecoveryReport, Timeouts};
pub use select::{Selection, of_steps};

/// Name and version of the tool, as plans and journals record them.
pub(crate) const TOOL: &str = concat!("butler-backup ", env!("CARGO_PKG_VERSION"));

/// Reason why a restore cannot be planned or cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The scratch file cannot be used.
    #[error("cannot keep objects in scratch in {folder}")]
    Scratch {
        /// Folder of the scratch file.
        folder: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The archive cannot be read.
    #[error("cannot read the objects of the restore point")]
    Archive(#[source] Box<backup_core::read::RestoreError>),
    /// The restore point holds no objects.
    #[error(
        "restore point {id} holds no objects, only etcd; choose one that has `resources` from \
         `restore-cli list`"
    )]
    NoObjects {
        /// Restore point.
        id: backup_core::id::RestorePointId,
    },
    /// The name matches no tenant, or several.
    #[error("`{wanted}` names no tenant, or several; want one of: {}", .known.join(", "))]
    NoTenant {
        /// Name that was asked for.
        wanted: String,
        /// Tenants that exist.
        known: Vec<String>,
    },
    /// There are more objects than can be handled.
    #[error("there are more than {most} objects; restore them in parts, with --include-namespaces")]
    TooMany {
        /// Limit.
        most: usize,
    },
    /// A file that should contain an object does not. Its text may be a secret, so the error omits
    /// it.
    #[error("{path} is not an object: see its line {line}, column {column}")]
    NoObject {
        /// Path of the file.
        path: String,
        /// Line where the parser stopped.
        line: usize,
        /// Column in the line.
        column: usize,
    },
    /// An object is nested deeper than the limit.
    #[error("{path} is nested deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// Path of the object.
        path: String,
    },
    /// The journal cannot be used.
    #[error("cannot {operation} the journal {file}")]
    Journal {
        /// Operation that failed.
        operation: &'static str,
        /// Journal file.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// Another process uses the journal.
    #[error("the journal {file} is in use: this restore is being run by another process")]
    JournalInUse {
        /// Journal file.
        file: String,
    },
    /// The cluster could not be read.
    #[error("cannot read the cluster that is restored into")]
    Read(#[from] KubeError),
    /// The cluster could not be written.
    #[error("cannot write to the cluster that is restored into")]
    Target(#[from] WriteError),
    /// A controller or webhook could not be stopped or put back.
    #[error("cannot keep controllers still")]
    Quiesce(#[from] quiesce::QuiesceError),
    /// Another restore is running on the cluster.
    #[error(
        "another restore, {holder}, is running on this cluster; it was last seen at {since}. See \
         `restore-cli status`, or wait until it has not been seen for a quarter of an hour"
    )]
    TargetInUse {
        /// Name of the other restore.
        holder: String,
        /// Time when it last renewed its Lease.
        since: Timestamp,
    },
    /// A Velero backup cannot be used.
    #[error("cannot take objects from the Velero backup")]
    Velero(#[from] velero::VeleroError),
    /// A Git repository cannot be used.
    #[error("cannot take objects from the Git repository")]
    Git(#[from] git::GitError),
    /// A plan's file cannot be used.
    #[error("cannot {operation} the plan {file}")]
    PlanFile {
        /// Operation that failed.
        operation: &'static str,
        /// Plan file.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A file is not a plan.
    #[error("{file} is not a plan: {what}; make one with `restore-cli plan`")]
    NoPlan {
        /// File that was read.
        file: String,
        /// Problem with the file.
        what: String,
    },
    /// A plan was made by another version of the tool.
    #[error("the plan {file} was made by {made_by}, and this is {TOOL}; plan again")]
    PlanOfOtherTool {
        /// Plan file.
        file: String,
        /// Tool and version that made the plan.
        made_by: String,
    },
    /// A plan was changed after it was made.
    #[error(
        "the plan {file} was changed after it was made; plan again with the flags that you want"
    )]
    PlanChanged {
        /// Plan file.
        file: String,
    },
    /// The cluster is not the one that the plan may write into.
    #[error("nothing is written into {server}: {cause}")]
    WrongCluster {
        /// API server of the cluster.
        server: String,
        /// Reason why nothing is written.
        cause: String,
        /// Remedy.
        remedy: String,
    },
    /// The restore was asked to stop.
    #[error("interrupted between two objects; `restore-cli resume` continues from there")]
    Cancelled,
    /// The file is not a journal, or the journal is damaged.
    #[error(
        "{file} is not a journal of a restore, or it is damaged: see its line {line}, column \
         {column}"
    )]
    JournalDamaged {
        /// Journal file.
        file: String,
        /// Line of the damage.
        line: u64,
        /// Column in the line.
        column: usize,
    },
}

impl RecoverError {
    fn flawed(path: &ObjectPath, flaw: JsonFlaw) -> Self {
        let path = path.to_string();
        let JsonFlaw { line, column, .. } = flaw;
        if flaw.too_deep {
            Self::TooDeep { path }
        } else {
            Self::NoObject { path, line, column }
        }
    }
}

/// Merges `over` into `value`: maps are joined, everything else is replaced.
fn overlay(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (name, over) in over {
                overlay(fields.entry(name.clone()).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over.clone(),
    }
}
