//! The plan: what a restore will do, as a file that a person reads and a program is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::etcd::EtcdPlan;
use super::journal::Outcome;
use super::quiesce::Parked;
use super::{RecoverError, TOOL};
use crate::digest::Digest;
use crate::format::manifest::{Finding, Parent, Severity};
use crate::id::ClusterName;

/// A plan names what it touches; this is more than half a million objects take.
const MAX_PLAN: u64 = 256 << 20;

/// How a cluster is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The same cluster: etcd comes back with all UIDs, then objects are brought forward.
    InPlace,
    /// A fresh cluster: every object is made anew.
    Rebuild,
}

/// A step of the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// etcd from the snapshot.
    Etcd,
    /// CustomResourceDefinitions.
    Crds,
    /// Everything else that is an object.
    Resources,
    /// Tenants are asked and compared.
    Verify,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::Crds, Self::Resources, Self::Verify];
}

/// What becomes of objects that are there and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// Updated, but for those that Helm or Flux looks after on a fresh cluster.
    #[default]
    Auto,
    /// Updated, all of them.
    Update,
    /// Left as they are.
    Keep,
}

/// Something that a plan refuses unless it is allowed by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    /// A control plane was captured in the middle of an upgrade; allowed, its status goes without
    /// the version, and Steward brings it to the one of the spec.
    ControlPlaneUpgrade,
    /// A control plane's status names another DataStore than its spec; allowed, Steward migrates.
    DatastoreMigration,
    /// A tenant's authority ends soon or lacks a key; allowed, Steward makes a new one and every
    /// kubeconfig of the tenant ends.
    TenantAuthority,
    /// A Secret that cannot be made again is not in the restore point.
    MissingSecret,
    /// The tenant's keys are not in its DataStore; allowed, it comes up empty.
    TenantData,
    /// A control plane shares another one's keys.
    SharedSchema,
    /// Status that carries identity is missing; allowed, a second tenant is made.
    LostStatus,
    /// The cluster has tenants already.
    TargetNotEmpty,
    /// The restore point is of another incarnation of the cluster.
    OtherLineage,
    /// A sealing key cannot be read by its controller.
    SealingKey,
}

impl Danger {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ControlPlaneUpgrade,
        Self::DatastoreMigration,
        Self::TenantAuthority,
        Self::MissingSecret,
        Self::TenantData,
        Self::SharedSchema,
        Self::LostStatus,
        Self::TargetNotEmpty,
        Self::OtherLineage,
        Self::SealingKey,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let text = serde_json::to_value(self).ok();
        text.and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Only these namespaces; empty for all.
    pub include_namespaces: BTreeSet<String>,
    /// Not these.
    pub exclude_namespaces: BTreeSet<String>,
    /// Only these kinds, as `plural`, `plural.group` or kind; empty for all.
    pub include_resources: BTreeSet<String>,
    /// Not these.
    pub exclude_resources: BTreeSet<String>,
    /// Only objects with these labels.
    pub labels: BTreeMap<String, String>,
    /// Only what belongs to this tenant, as `NAMESPACE/NAME`.
    pub tenant: Option<String>,
    /// What becomes of objects that are there and differ.
    pub existing: Existing,
    /// Whether fields that changed on both sides are overwritten.
    pub overwrite_conflicts: bool,
    /// Whether the archive's definitions win over the cluster's.
    pub overwrite_crds: bool,
    /// Whether objects go that are not in the archive, of kinds that were listed whole.
    pub prune: bool,
    /// Whether webhooks are left at work.
    pub keep_webhooks: bool,
    /// Dangers that are taken.
    pub allow: BTreeSet<Danger>,
}

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

    /// Writes it to a new file that only its owner reads.
    ///
    /// # Errors
    /// When it cannot be written, or is there already.
    pub fn write(&self, path: &Path) -> Result<(), RecoverError> {
        let failed = |source: std::io::Error| RecoverError::PlanFile {
            operation: "write",
            file: path.display().to_string(),
            source,
        };
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let part = path.with_extension("part");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .map_err(failed)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&part, path))
            .map_err(failed)
    }

    /// Reads one, and sees that nobody changed it.
    ///
    /// # Errors
    /// When it cannot be read, was changed, or is of another version.
    pub fn read(path: &Path) -> Result<Self, RecoverError> {
        use std::io::Read as _;
        let file = || path.display().to_string();
        let failed = |source: std::io::Error| RecoverError::PlanFile {
            operation: "read",
            file: file(),
            source,
        };
        let opened = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        opened
            .take(MAX_PLAN)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let plan: Self = serde_json::from_slice(&bytes).map_err(|e| RecoverError::NoPlan {
            file: file(),
            what: e.to_string(),
        })?;
        if plan.version != 1 || plan.tool != TOOL {
            return Err(RecoverError::PlanOfOtherTool {
                file: file(),
                made_by: plan.tool,
            });
        }
        if plan.computed()? != plan.digest {
            return Err(RecoverError::PlanChanged { file: file() });
        }
        Ok(plan)
    }

    /// What is otherwise now than the plan has it: at most `most` sentences; empty if nothing is.
    #[must_use]
    pub fn differences(&self, now: &Self, most: usize) -> Vec<String> {
        let mut told = Vec::new();
        let was: BTreeMap<&str, Outcome> = self
            .objects
            .iter()
            .map(|o| (o.object.as_str(), o.outcome))
            .collect();
        let is: BTreeMap<&str, Outcome> = now
            .objects
            .iter()
            .map(|o| (o.object.as_str(), o.outcome))
            .collect();
        let word = |outcome: Option<&Outcome>| match outcome {
            None => "nothing to do".to_owned(),
            Some(outcome) => {
                let word = serde_json::to_value(outcome).ok();
                word.and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default()
            }
        };
        let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
        for name in names {
            let (old, new) = (was.get(name), is.get(name));
            if old != new && told.len() < most {
                told.push(format!("{name}: planned {}, now {}", word(old), word(new)));
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
