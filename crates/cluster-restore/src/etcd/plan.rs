//! Plan of a restore of etcd: what will be done, and what prevents it. It holds no secret.

use serde::{Deserialize, Serialize};

use super::wipe::WipeCommand;
use backup_core::audit;
use backup_core::catalog::RestorePoint;
use backup_core::digest::Digest;
use backup_core::format::manifest::{Finding, Severity};
use backup_core::id::{ComponentName, RestorePointId};
use backup_core::read::LocalSnapshotFacts;
use cluster_client::talos::nodes::{MemberView, ServiceView};

/// Restore of etcd that was checked and not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdPlan {
    /// Node that receives the snapshot and begins the new cluster.
    pub target: String,
    /// Cluster that is restored.
    pub cluster: TalosCluster,
    /// State of all nodes that were checked.
    pub nodes: Vec<NodeFacts>,
    /// Snapshot that is restored.
    pub snapshot: SnapshotFacts,
    /// Command that would wipe the target's etcd data. Only a person runs it.
    pub wipe: WipeCommand,
    /// Findings that forbid the restore. Empty means that it can be run.
    pub blockers: Vec<Finding>,
    /// Findings that a person should know first.
    pub warnings: Vec<Finding>,
    /// The target's etcd, if it runs and already is what this plan would make; then nothing is left
    /// to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<RestoredEtcd>,
    /// Proof that this restore has already brought etcd back.
    #[serde(skip)]
    pub proof: Option<Proof>,
}

/// Proof that an etcd is this restore's work, even if it was written to since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// This restore asked its node, which had no data, for the bootstrap; the answer is not known.
    Asked,
    /// The node accepted the bootstrap that this restore asked for.
    Accepted,
}

/// Etcd that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoredEtcd {
    /// Node that runs it.
    pub node: String,
    /// Revision that was read back; at least the snapshot's.
    pub revision: u64,
    /// Revision of the snapshot.
    pub snapshot_revision: u64,
    /// UID of the namespace `kube-system` that was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// Member id of the node, 16 hex digits.
    pub member_id: String,
    /// Version of its etcd.
    pub etcd_version: String,
    /// All members.
    pub members: Vec<MemberView>,
    /// Whether an earlier attempt had already restored it.
    pub already: bool,
}

impl EtcdPlan {
    /// Returns the name of this cluster for people, who type it to confirm: its name in Talos, or
    /// else the context of the talosconfig.
    #[must_use]
    pub fn name(&self) -> &str {
        self.cluster
            .name
            .as_deref()
            .unwrap_or(&self.cluster.context)
    }

    /// Reports whether nothing forbids the restore.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.blockers.is_empty()
    }

    /// Returns the control plane nodes except the target; they join without a restore.
    pub fn others(&self) -> impl Iterator<Item = &NodeFacts> {
        let others = self.nodes.iter();
        others.filter(|node| node.role == NodeRole::ControlPlane && node.node != self.target)
    }

    /// Returns why this plan does not fit the plan made now; `None` if it fits.
    #[must_use]
    pub fn differs(&self, now: &Self) -> Option<String> {
        if let Some(difference) = self.cluster.differs(&now.cluster) {
            return Some(difference);
        }
        if self.target != now.target {
            let (then, now) = (&self.target, &now.target);
            return Some(format!("the target was node {then} and is node {now}"));
        }
        (self.snapshot != now.snapshot).then(|| "the snapshot is a different one".to_owned())
    }
}

/// Identity of a cluster that is known even while its etcd is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TalosCluster {
    /// Name in the machine configuration, if a node reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// SHA-256 of the cluster id in the machine configuration, if a node reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_sha256: Option<Digest>,
    /// SHA-256 of each authority's certificate in the talosconfig.
    pub authorities: Vec<Digest>,
    /// Context of the talosconfig.
    pub context: String,
}

impl TalosCluster {
    /// Returns the cluster that a restore point was taken of; `None` if it records nothing about
    /// it.
    fn captured(point: &RestorePoint, authorities: Vec<Digest>) -> Option<Self> {
        let config = point.manifest.component(&ComponentName::machine_config());
        let config = config.and_then(|c| c.archive.as_ref()?.talos_cluster.clone());
        let config = config.unwrap_or_default();
        let told = config.id_sha256.is_some() || !authorities.is_empty();
        told.then(|| Self {
            name: config.name,
            id_sha256: config.id_sha256,
            authorities,
            context: String::new(),
        })
    }

    /// Returns the difference if `other` is another cluster.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        match self.compare(other) {
            ClusterComparison::Other(difference) => Some(difference),
            ClusterComparison::Same | ClusterComparison::Unknown => None,
        }
    }

    /// Compares the two clusters.
    #[must_use]
    pub fn compare(&self, other: &Self) -> ClusterComparison {
        let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "not known".to_owned());
        if self.id_sha256.is_some() && other.id_sha256.is_some() {
            if self.id_sha256 == other.id_sha256 {
                return ClusterComparison::Same;
            }
            return ClusterComparison::Other(format!(
                "the cluster's id was {} and is now {}",
                shown(&self.name),
                shown(&other.name)
            ));
        }
        if self.authorities.is_empty() || other.authorities.is_empty() {
            return ClusterComparison::Unknown;
        }
        // While an authority is being replaced, both are accepted.
        let shared = self
            .authorities
            .iter()
            .any(|ca| other.authorities.contains(ca));
        if shared {
            return ClusterComparison::Same;
        }
        ClusterComparison::Other("the talosconfig is from another authority".to_owned())
    }
}

/// Result of comparing two clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterComparison {
    /// Both are the same cluster.
    Same,
    /// They are different clusters, with the difference.
    Other(String),
    /// They have nothing in common that could be compared.
    Unknown,
}

/// Role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeRole {
    /// The node has a member of etcd.
    ControlPlane,
    /// The node has no member of etcd.
    Worker,
    /// The node did not report its role.
    Unknown,
}

/// Current state of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Address of the node.
    pub node: String,
    /// Whether nobody named the node: the talosconfig or a member of etcd lists it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnamed: bool,
    /// Role of the node.
    pub role: NodeRole,
    /// Machine type that the node reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// Version of Talos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talos_version: Option<String>,
    /// State of its service `etcd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<ServiceView>,
    /// Whether its clock is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_in_sync: Option<bool>,
    /// Whether its etcd has no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_empty: Option<bool>,
    /// Size of a snapshot that was uploaded and not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_bytes: Option<u64>,
}

/// Facts about a snapshot that matter to its restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotFacts {
    /// Restore point of the snapshot; `None` for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<RestorePointId>,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole snapshot.
    pub sha256: Digest,
    /// Newest revision.
    pub revision: u64,
    /// Digest over its live keys and values, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// UID of the namespace `kube-system` in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// Version of its storage, if the snapshot records one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// Version of the etcd that produced it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Version of Talos that it was taken of, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talos_version: Option<String>,
    /// Talos cluster that it was taken of, as far as the restore point records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<TalosCluster>,
    /// Prefixes that show how its Secrets are encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encryption_prefixes: Vec<String>,
    /// Whether it is a copy of a member's `db` file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Findings, one for each live object in it that no API server can decode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub torn: Vec<Finding>,
}

impl SnapshotFacts {
    /// Returns the facts of component `etcd` of a restore point; `None` if it has none.
    #[must_use]
    pub fn of(point: &RestorePoint) -> Option<Self> {
        let component = point.manifest.component(&ComponentName::etcd())?;
        let etcd = component.etcd.clone()?;
        Some(Self {
            restore_point: Some(point.entry.id.clone()),
            bytes: component.plain_bytes,
            sha256: component.plain_sha256,
            revision: etcd.revision,
            content: etcd.content,
            kube_system_uid: point.manifest.lineage.kube_system_uid.clone(),
            storage_version: etcd.storage_version,
            etcd_version: etcd.etcd_version,
            talos_version: etcd.talos_version,
            cluster: TalosCluster::captured(point, etcd.talos_authorities),
            encryption_prefixes: etcd.encryption_prefixes,
            raw: false,
            torn: audit::torn_in(&point.manifest, &ComponentName::etcd()),
        })
    }
}

impl From<&LocalSnapshotFacts> for SnapshotFacts {
    fn from(held: &LocalSnapshotFacts) -> Self {
        Self {
            restore_point: None,
            bytes: held.bytes,
            sha256: held.sha256,
            revision: held.revision,
            content: held.content,
            kube_system_uid: held.kube_system_uid.clone(),
            storage_version: held.storage_version.clone(),
            etcd_version: None,
            talos_version: None,
            cluster: None,
            encryption_prefixes: held.encryption_prefixes.clone(),
            raw: held.raw,
            torn: audit::torn(&ComponentName::etcd(), &held.torn, Severity::Warning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(id: Option<&str>, authority: &str) -> TalosCluster {
        TalosCluster {
            name: Some("m".to_owned()),
            id_sha256: id.map(|id| Digest::of(id.as_bytes())),
            authorities: vec![Digest::of(authority.as_bytes())],
            context: "m".to_owned(),
        }
    }

    #[test]
    fn a_cluster_is_known_by_its_id_or_else_by_an_authority() {
        let one = cluster(Some("1"), "a");
        assert_eq!(one.differs(&cluster(Some("1"), "b")), None);
        assert!(one.differs(&cluster(Some("2"), "a")).is_some());
        assert_eq!(one.differs(&cluster(None, "a")), None);
        let other = one.differs(&cluster(None, "b")).unwrap();
        assert!(other.contains("authority"), "{other}");
        // A cluster without an identity cannot be a different one.
        let mute = TalosCluster {
            authorities: Vec::new(),
            ..cluster(None, "b")
        };
        assert_eq!(one.differs(&mute), None);
        assert_eq!(one.compare(&mute), ClusterComparison::Unknown);
        assert_eq!(one.compare(&cluster(None, "a")), ClusterComparison::Same);
    }
}
