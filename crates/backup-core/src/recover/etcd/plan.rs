//! What a restore of etcd is going to do, and what stands against it. Holds no secret.

use serde::{Deserialize, Serialize};

use super::wipe::Wipe;
use crate::audit;
use crate::catalog::RestorePoint;
use crate::digest::Digest;
use crate::format::manifest::{Finding, Severity};
use crate::id::{ComponentName, RestorePointId};
use crate::restore::HeldFacts;
use crate::source::talos::nodes::{MemberView, ServiceView};

/// A restore of etcd, looked at and not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdPlan {
    /// The node that gets the snapshot and begins the new cluster.
    pub target: String,
    /// Which cluster this is about.
    pub cluster: TalosCluster,
    /// All nodes that were named, as they are now.
    pub nodes: Vec<NodeFacts>,
    /// What is restored.
    pub snapshot: SnapshotFacts,
    /// How the target's etcd data would be wiped, which nobody does but a person.
    pub wipe: Wipe,
    /// What forbids it. Empty means that it can be run.
    pub blockers: Vec<Finding>,
    /// What a person should know before.
    pub warnings: Vec<Finding>,
    /// The target's etcd, if it runs and is what this plan would make of it: then nothing is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<EtcdRestored>,
    /// What shows that this restore has brought it back already.
    #[serde(skip)]
    pub proof: Option<Proof>,
}

/// What shows that an etcd is this restore's work: it may have been written to since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// This restore asked its node, which had no data, for the bootstrap; the answer is not known.
    Asked,
    /// The node accepted the bootstrap that this restore asked for.
    Accepted,
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

impl EtcdPlan {
    /// What a person calls this cluster, and types to confirm: Talos' own name of it, or else the
    /// context of the talosconfig.
    #[must_use]
    pub fn name(&self) -> &str {
        self.cluster
            .name
            .as_deref()
            .unwrap_or(&self.cluster.context)
    }

    /// Whether nothing forbids it.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.blockers.is_empty()
    }

    /// The control plane nodes but the target, which join by themselves.
    pub fn others(&self) -> impl Iterator<Item = &NodeFacts> {
        let others = self.nodes.iter();
        others.filter(|node| node.role == Role::ControlPlane && node.node != self.target)
    }

    /// Why this plan is not for the cluster that is looked at now; `None` if it is.
    #[must_use]
    pub fn differs(&self, now: &Self) -> Option<String> {
        if let Some(difference) = self.cluster.differs(&now.cluster) {
            return Some(difference);
        }
        if self.target != now.target {
            let (then, now) = (&self.target, &now.target);
            return Some(format!("the target was node {then} and is node {now}"));
        }
        (self.snapshot != now.snapshot).then(|| "the snapshot is another one".to_owned())
    }
}

/// By what a cluster is known while its etcd is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TalosCluster {
    /// Its name in the machine configuration, if a node told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The SHA-256 of its id in the machine configuration, if a node told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_sha256: Option<Digest>,
    /// The SHA-256 of the certificates of the authorities in the talosconfig.
    pub authorities: Vec<Digest>,
    /// The context of the talosconfig.
    pub context: String,
}

impl TalosCluster {
    /// The one that a restore point was taken of; `None` if it tells nothing.
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

    /// What is different, if it is not the same cluster.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        match self.compare(other) {
            Likeness::Other(difference) => Some(difference),
            Likeness::Same | Likeness::Unknown => None,
        }
    }

    /// Whether both are one cluster.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Likeness {
        let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "not told".to_owned());
        if self.id_sha256.is_some() && other.id_sha256.is_some() {
            if self.id_sha256 == other.id_sha256 {
                return Likeness::Same;
            }
            return Likeness::Other(format!(
                "the cluster's id is another one: it was {}, it is {}",
                shown(&self.name),
                shown(&other.name)
            ));
        }
        if self.authorities.is_empty() || other.authorities.is_empty() {
            return Likeness::Unknown;
        }
        // An authority may be replaced, and both be accepted for a while.
        let shared = self
            .authorities
            .iter()
            .any(|ca| other.authorities.contains(ca));
        if shared {
            return Likeness::Same;
        }
        Likeness::Other("the talosconfig is that of another authority".to_owned())
    }
}

/// Whether two are one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Likeness {
    /// They are.
    Same,
    /// They are not, with the difference.
    Other(String),
    /// They have nothing in common that could be compared.
    Unknown,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It has a member of etcd.
    ControlPlane,
    /// It has none.
    Worker,
    /// It did not tell.
    Unknown,
}

/// A node as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Its address.
    pub node: String,
    /// Whether nobody named it: it is looked at because the talosconfig or a member knows of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnamed: bool,
    /// What it is for.
    pub role: Role,
    /// The type of its machine, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// Its version of Talos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talos_version: Option<String>,
    /// Its service `etcd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<ServiceView>,
    /// Whether its clock is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_in_sync: Option<bool>,
    /// Whether its etcd has no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_empty: Option<bool>,
    /// The size of a snapshot that was uploaded and not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_bytes: Option<u64>,
}

/// What of a snapshot matters to its restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotFacts {
    /// The restore point that it is from; none for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<RestorePointId>,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of all of it.
    pub sha256: Digest,
    /// Its newest revision.
    pub revision: u64,
    /// A digest over its live keys and values, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// The UID of the namespace `kube-system` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// The version of its storage, if it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// The version of the etcd that gave it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// The version of Talos that it is from, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talos_version: Option<String>,
    /// The Talos cluster that it is from, as far as the restore point tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<TalosCluster>,
    /// What its Secrets are encrypted with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encryption_prefixes: Vec<String>,
    /// Whether it is a copy of a member's `db` file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// One finding for each live object in it that no API server can decode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub torn: Vec<Finding>,
}

impl SnapshotFacts {
    /// Those of component `etcd` of a restore point; `None` if it has none.
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

impl From<&HeldFacts> for SnapshotFacts {
    fn from(held: &HeldFacts) -> Self {
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
        // What tells nothing cannot be another one.
        let mute = TalosCluster {
            authorities: Vec::new(),
            ..cluster(None, "b")
        };
        assert_eq!(one.differs(&mute), None);
        assert_eq!(one.compare(&mute), Likeness::Unknown);
        assert_eq!(one.compare(&cluster(None, "a")), Likeness::Same);
    }
}
