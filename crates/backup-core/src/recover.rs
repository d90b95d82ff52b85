//! The restore: one program takes a destroyed management cluster back, step by step, so that no
//! tenant is hurt.
//!
//! Everything is planned first ([`plan`]), with reads and dry runs alone; then run ([`run`]), with a
//! journal that is on disk before and after each write. Nothing is deleted as roll-back, and no
//! finalizer is stripped.

use jiff::Timestamp;
use serde_json::Value;

use crate::archive::{Flaw, MAX_DEPTH, ObjectPath};
use crate::source::kube::{KubeError, WriteError};

mod danger;
pub mod fill;

pub mod guards;
pub mod order;
pub mod spool;

pub mod etcd;

mod fixed;

mod crds;
mod own;

mod desired;
mod leave;
mod merge;

pub mod pause;

pub mod quiesce;

pub mod journal;
pub mod plan;
pub mod stored;

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

mod objects;
mod stores;

mod run;
mod survey;

pub use archive::read_archive;
pub use contents::ContentKey;
pub use gaps::gaps;
pub use lineage::lineage;
pub use run::{Copied, Ended, NoCopy, Patience, Recovery};
pub use select::{Select, of_steps};
pub use survey::{Request, foresee, survey};

/// The tool and its version, as plans and journals name it.
pub(crate) const TOOL: &str = concat!("butler-backup ", env!("CARGO_PKG_VERSION"));

/// Why a restore cannot be planned or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The scratch file cannot be used.
    #[error("cannot keep objects in scratch in {folder}")]
    Scratch {
        /// Where.
        folder: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The archive cannot be read.
    #[error("cannot read the objects of the restore point")]
    Archive(#[source] Box<crate::restore::RestoreError>),
    /// The restore point holds no objects.
    #[error(
        "restore point {id} holds no objects, only etcd; choose one that has `resources` from \
         `restore-cli list`"
    )]
    NoObjects {
        /// Which.
        id: crate::id::RestorePointId,
    },
    /// There is no such tenant, or several.
    #[error("`{wanted}` names no tenant, or several; want one of: {}", .known.join(", "))]
    NoTenant {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There are more objects than can be handled.
    #[error("there are more than {most} objects; restore them in parts, with --include-namespaces")]
    TooMany {
        /// The limit.
        most: usize,
    },
    /// What should be an object is none. Its text may be a secret and is not told.
    #[error("{path} is no object: see its line {line}, column {column}")]
    NoObject {
        /// Where it is.
        path: String,
        /// Where the parser stopped.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// An object is nested deeper than any that is read.
    #[error("{path} is nested deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// Where it is.
        path: String,
    },
    /// The journal cannot be used.
    #[error("cannot {operation} the journal {file}")]
    Journal {
        /// What was tried.
        operation: &'static str,
        /// The file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process works with the journal.
    #[error("the journal {file} is in use: this restore is being run by another process")]
    JournalInUse {
        /// The file.
        file: String,
    },
    /// The cluster could not be read.
    #[error("cannot read the cluster that is restored into")]
    Read(#[from] KubeError),
    /// The cluster could not be written.
    #[error("cannot write to the cluster that is restored into")]
    Target(#[from] WriteError),
    /// Something could not be stopped or put back.
    #[error("cannot keep controllers still")]
    Quiesce(#[from] quiesce::QuiesceError),
    /// Another restore works on the cluster.
    #[error(
        "restore {holder} works on this cluster, heard of at {since}; see `restore-cli status`, or wait until it has not been heard of for a quarter of an hour"
    )]
    TargetInUse {
        /// Which.
        holder: String,
        /// When it was heard of.
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
        /// What was tried.
        operation: &'static str,
        /// The file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is no plan.
    #[error("{file} is no plan: {what}; make one with `restore-cli plan`")]
    NoPlan {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A plan is of another version of the tool.
    #[error("the plan {file} was made by {made_by}, and this is {TOOL}; plan again")]
    PlanOfOtherTool {
        /// The file.
        file: String,
        /// Who made it.
        made_by: String,
    },
    /// A plan is not as it was made.
    #[error(
        "the plan {file} was changed after it was made; plan again with the flags that you want"
    )]
    PlanChanged {
        /// The file.
        file: String,
    },
    /// The cluster is not the one that the plan may write into.
    #[error("nothing is written into {server}: {cause}")]
    WrongCluster {
        /// Its API server.
        server: String,
        /// What is wrong.
        cause: String,
        /// What helps.
        remedy: String,
    },
    /// Told to end.
    #[error("interrupted between two objects; `restore-cli resume` goes on from there")]
    Cancelled,
    /// The journal is damaged or is none.
    #[error(
        "{file} is no journal of a restore, or a damaged one: see its line {line}, column {column}"
    )]
    JournalDamaged {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Where in the line.
        column: usize,
    },
}

impl RecoverError {
    fn flawed(path: &ObjectPath, flaw: Flaw) -> Self {
        let path = path.to_string();
        let Flaw { line, column, .. } = flaw;
        if flaw.too_deep {
            Self::TooDeep { path }
        } else {
            Self::NoObject { path, line, column }
        }
    }
}

/// Lays `over` upon `value`: maps are joined, everything else is replaced.
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
