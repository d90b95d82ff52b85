//! The plan: what a restore will do, as a file that a person reads and a program is held to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RecoverError;
use super::etcd::EtcdPlan;
use super::journal::Outcome;
use super::quiesce::Parked;
use crate::digest::Digest;
use crate::format::manifest::{Finding, Parent, Severity};
use crate::id::ClusterName;

mod cluster;
mod file;
mod options;

pub use super::danger::Danger;
pub use cluster::{ClusterFacts, Refusal, Witness, admit, admit_answer, own_uid};
pub use options::{Existing, Mode, Options, Step};

/// Where objects come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "from")]
pub enum Origin {
    /// A restore point.
    #[serde(rename_all = "camelCase")]
    Archive {
        /// Which.
        restore_point: Parent,
    },
    /// A Git repository, filled up from a restore point.
    #[serde(rename_all = "camelCase")]
    Git {
        /// The folder or address.
        repository: String,
        /// The commit.
        commit: String,
        /// The branch, tag or commit that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// The folder in it that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Fills up what Git does not have.
        restore_point: Parent,
    },
    /// A Velero backup, filled up from nothing.
    #[serde(rename_all = "camelCase")]
    Velero {
        /// The file or folder.
        path: String,
        /// SHA-256 of the tarball.
        sha256: Digest,
    },
}

/// The cluster that is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The UID of its namespace `kube-system`.
    pub uid: String,
    /// Its API server.
    pub server: String,
    /// Its version.
    pub version: String,
}

/// What will become of the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KindPlan {
    /// Plural and group.
    pub resource: String,
    /// Made.
    pub create: u64,
    /// Brought forward.
    pub change: u64,
    /// As they should be.
    pub same: u64,
    /// Left out.
    pub skip: u64,
    /// Left as they are though they differ.
    pub conflict: u64,
    /// Taken away.
    pub prune: u64,
    /// Cannot be written.
    pub fail: u64,
}

/// What will become of one object; those that are as they should be are only counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectPlan {
    /// Its path in the archive.
    pub object: String,
    /// What.
    pub outcome: Outcome,
    /// Why, or which fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The keyed digest of what is going to be written: the new object or the merge patch, and the
    /// status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// Why a write of it could not be tried with a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version of the form, 1.
    pub version: u64,
    /// The tool and its version.
    pub tool: String,
    /// When it was made.
    pub made: Timestamp,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// How.
    pub mode: Mode,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What is restored.
    pub restore_point: Parent,
    /// Where objects come from.
    pub origin: Origin,
    /// The restore point whose etcd the objects are brought forward from, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Parent>,
    /// The step on etcd, if it is part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdPlan>,
    /// What tells which cluster the restore point is of.
    #[serde(default)]
    pub cluster_facts: ClusterFacts,
    /// The cluster that is written to; absent while its API is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What was asked for.
    pub options: Options,
    /// What is stopped first.
    pub park: Vec<Parked>,
    /// Kind by kind.
    pub kinds: Vec<KindPlan>,
    /// Object by object.
    pub objects: Vec<ObjectPlan>,
    /// What a person should know; errors are blockers.
    pub findings: Vec<Finding>,
    /// SHA-256 of all of the above.
    pub digest: Digest,
}

impl Plan {
    /// The first blocker, if there is one.
    #[must_use]
    pub fn blockers(&self) -> Vec<&Finding> {
        let is = |f: &&Finding| f.severity == Severity::Error;
        self.findings.iter().filter(is).collect()
    }

    /// Whether a step is part of it.
    #[must_use]
    pub fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// The same with the step on etcd, whose findings join the others.
    ///
    /// # Errors
    /// None that memory can give.
    pub fn with_etcd(mut self, etcd: EtcdPlan) -> Result<Self, RecoverError> {
        let findings = etcd.blockers.iter().chain(&etcd.warnings).cloned();
        self.findings = findings.chain(self.findings).collect();
        self.etcd = Some(etcd);
        self.sealed()
    }

    /// The same with its digest.
    pub(crate) fn sealed(mut self) -> Result<Self, RecoverError> {
        self.digest = self.computed()?;
        Ok(self)
    }

    fn computed(&self) -> Result<Digest, RecoverError> {
        let mut plain = self.clone();
        plain.digest = Digest::of(b"");
        let bytes = serde_json::to_vec(&plain).map_err(|e| RecoverError::PlanFile {
            operation: "write",
            file: String::new(),
            source: e.into(),
        })?;
        Ok(Digest::of(&bytes))
    }

    fn by_object(&self) -> BTreeMap<&str, &ObjectPlan> {
        let objects = self.objects.iter();
        objects.map(|o| (o.object.as_str(), o)).collect()
    }

    /// What is otherwise now than the plan has it: at most `most` sentences; empty if nothing is.
    #[must_use]
    pub fn differences(&self, now: &Self, most: usize) -> Vec<String> {
        let mut told = Vec::new();
        let (was, is) = (self.by_object(), now.by_object());
        let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
        for name in names {
            let (old, new) = (was.get(name), is.get(name));
            let (before, after) = (old.map(|o| o.outcome), new.map(|o| o.outcome));
            let content = |o: Option<&&ObjectPlan>| o.and_then(|o| o.content);
            let told_of = if before != after {
                format!("{name}: planned {}, now {}", word(before), word(after))
            } else if let (Some(old), Some(new)) = (content(old), content(new))
                && old != new
            {
                format!("{name}: what would be written is not what was planned")
            } else {
                continue;
            };
            if told.len() < most {
                told.push(told_of);
            }
        }
        let parked =
            |plan: &Self| -> BTreeSet<String> { plan.park.iter().map(Parked::place).collect() };
        for place in parked(self).symmetric_difference(&parked(now)) {
            if told.len() < most {
                told.push(format!("{place}: came or went since"));
            }
        }
        let blockers = now.blockers();
        let known = |f: &Finding| self.findings.contains(f);
        for finding in blockers.into_iter().filter(|f| !known(f)) {
            if told.len() < most {
                told.push(format!("{}: {}", finding.object, finding.cause));
            }
        }
        told
    }
}

fn word(outcome: Option<Outcome>) -> String {
    let Some(outcome) = outcome else {
        return "nothing to do".to_owned();
    };
    let word = serde_json::to_value(outcome).ok();
    word.and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
