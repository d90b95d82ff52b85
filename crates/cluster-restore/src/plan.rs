//! Plan of a restore: a file that a person reads and that the restore must follow.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RecoverError;
use super::etcd::EtcdPlan;
use super::journal::Outcome;
use super::quiesce::ParkedItem;
use backup_core::digest::Digest;
use backup_core::format::manifest::{Finding, Parent, Severity};
use backup_core::id::ClusterName;
use cluster_client::kube::target::KubeTarget;

mod cluster;
mod file;
mod options;

pub use super::danger::Danger;
pub use cluster::{ClusterFacts, KubeSystemUid, Refusal, admit, admit_answer, own_uid};
pub use options::{ExistingPolicy, Mode, Options, Step};

/// Source of the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "from")]
pub enum Origin {
    /// Restore point.
    #[serde(rename_all = "camelCase")]
    Archive {
        /// The restore point.
        restore_point: Parent,
    },
    /// Git repository, completed from a restore point.
    #[serde(rename_all = "camelCase")]
    Git {
        /// Folder or address.
        repository: String,
        /// Commit.
        commit: String,
        /// Requested branch, tag or commit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// Requested folder in the repository.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Restore point that supplies what Git does not have.
        restore_point: Parent,
    },
    /// Velero backup, which nothing completes.
    #[serde(rename_all = "camelCase")]
    Velero {
        /// File or folder.
        path: String,
        /// SHA-256 of the tarball.
        sha256: Digest,
    },
}

/// Cluster that is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// UID of its namespace `kube-system`.
    pub uid: String,
    /// Address of its API server.
    pub server: String,
    /// Kubernetes version.
    pub version: String,
}

impl From<&KubeTarget> for Target {
    fn from(cluster: &KubeTarget) -> Self {
        Self {
            uid: cluster.uid().to_owned(),
            server: cluster.server().to_owned(),
            version: cluster.version().to_owned(),
        }
    }
}

/// Planned outcomes for the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KindPlan {
    /// Plural and group.
    pub resource: String,
    /// Objects that are created.
    pub create: u64,
    /// Objects that are updated.
    pub change: u64,
    /// Objects that are already as wanted.
    pub same: u64,
    /// Objects that are left out.
    pub skip: u64,
    /// Objects that differ and are left as they are.
    pub conflict: u64,
    /// Objects that are deleted.
    pub prune: u64,
    /// Objects that cannot be written.
    pub fail: u64,
}

/// Planned outcome for one object; unchanged objects are only counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectPlan {
    /// Path of the object in the archive.
    pub object: String,
    /// Outcome.
    pub outcome: Outcome,
    /// Reason, or the fields that change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Keyed digest of the content to write: the new object or the merge patch, and the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// Reason why a dry run of the write was not possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
}

/// Plan of a restore; see the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of the file format, 1.
    pub version: u64,
    /// Tool and its version.
    pub tool: String,
    /// Time when the plan was made.
    pub made: Timestamp,
    /// Name of the cluster.
    pub cluster: ClusterName,
    /// Mode of the restore.
    pub mode: Mode,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Restore point that is restored.
    pub restore_point: Parent,
    /// Source of the objects.
    pub origin: Origin,
    /// Restore point whose etcd the objects are brought forward from, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Parent>,
    /// Step on etcd, if the plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdPlan>,
    /// Facts that identify the cluster of the restore point.
    #[serde(default)]
    pub cluster_facts: ClusterFacts,
    /// Cluster that is written to; absent while its API is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Options that were requested.
    pub options: Options,
    /// Controllers, webhooks and objects that are stopped first.
    pub park: Vec<ParkedItem>,
    /// Outcomes for each kind.
    pub kinds: Vec<KindPlan>,
    /// Outcomes for each object.
    pub objects: Vec<ObjectPlan>,
    /// Findings for the operator; errors are blockers.
    pub findings: Vec<Finding>,
    /// SHA-256 of all fields above.
    pub digest: Digest,
}

impl Plan {
    /// Returns all blockers.
    #[must_use]
    pub fn blockers(&self) -> Vec<&Finding> {
        let is = |f: &&Finding| f.severity == Severity::Error;
        self.findings.iter().filter(is).collect()
    }

    /// Whether the plan has a step.
    #[must_use]
    pub fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// Adds the step on etcd and puts its findings before the others.
    ///
    /// # Errors
    /// When the plan cannot be encoded as JSON.
    pub fn with_etcd(mut self, etcd: EtcdPlan) -> Result<Self, RecoverError> {
        let findings = etcd.blockers.iter().chain(&etcd.warnings).cloned();
        self.findings = findings.chain(self.findings).collect();
        self.etcd = Some(etcd);
        self.sealed()
    }

    /// Returns the plan with its digest.
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

    /// Describes what changed between this plan and `now`: at most `most` sentences; empty if nothing
    /// changed.
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
            |plan: &Self| -> BTreeSet<String> { plan.park.iter().map(ParkedItem::place).collect() };
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
