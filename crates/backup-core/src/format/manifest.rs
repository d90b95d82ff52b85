//! Manifest of a restore point: plain JSON without secrets that makes it visible.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FormatError;
use super::export::{ArchiveFacts, KubernetesFacts};
use crate::crypt::Recipient;
use crate::digest::Digest;
use crate::id::{ClusterName, ComponentName, RestorePointId};

pub use super::finding::{Finding, Severity};

/// Largest manifest that is read, in bytes; ten thousand packs need one.
pub const MAX_MANIFEST: usize = 4 << 20;

/// One restore point. Field order is the order in the stored JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The format version, 1.
    pub version: u64,
    /// The tool and version that wrote it.
    pub tool: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// SHA-256 of the prefix's owner marker.
    pub claim: Digest,
    /// When the run began.
    #[schemars(with = "String")]
    pub began: Timestamp,
    /// When everything except this manifest was stored.
    #[schemars(with = "String")]
    pub ended: Timestamp,
    /// Why the run was made, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it is kept until a person unpins it.
    #[serde(default)]
    pub pinned: bool,
    /// Which incarnation of the cluster this is.
    pub lineage: Lineage,
    /// The restore point that the run compared with, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// How packs and recipes are encrypted.
    pub encryption: Encryption,
    /// The parts, in the order they were taken.
    pub components: Vec<Component>,
    /// Components that were requested but could not be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ComponentName>,
    /// Whether no restore point of the prefix has a kit: the run checked all that existed when it began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kitless: bool,
    /// Facts about the cluster from its API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesFacts>,
    /// Indexes that together name every chunk of the components; only the daemon needs them.
    pub indexes: Vec<StoredObject>,
    /// What a person should know about this run.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the run read and stored, without this manifest and its signature.
    pub cost: Cost,
}

/// One incarnation of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// Stays the same while it is the same incarnation; random.
    pub id: String,
    /// The UID of the namespace `kube-system`, as read from the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// The newest etcd revision that this lineage has shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Why a new lineage began, if this run began one after an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_because: Option<String>,
}

/// A restore point named by its id and the SHA-256 of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// Its id.
    pub id: RestorePointId,
    /// The SHA-256 of its manifest.
    pub manifest: Digest,
}

/// How packs and recipes are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "mode")]
pub enum Encryption {
    /// No encryption; the configuration says so by name.
    None,
    /// To epochs, with age. Packs name theirs by position; the last one is the run's own.
    #[serde(rename_all = "camelCase")]
    Age {
        /// All epochs that objects of this restore point are encrypted to.
        epochs: Vec<Epoch>,
    },
}

/// A key pair that packs are encrypted to, and who can unwrap its secret half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// The public half.
    pub recipient: Recipient,
    /// The secret half, encrypted to `recipients`: the object `keys/<sha256>.age`.
    pub key: StoredObject,
    /// Who can unwrap it.
    pub recipients: Vec<Recipient>,
    /// When it was made.
    #[schemars(with = "String")]
    pub began: Timestamp,
}

/// An object named by the SHA-256 of its stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredObject {
    /// SHA-256 of the stored bytes.
    pub sha256: Digest,
    /// Their number.
    pub bytes: u64,
}

/// A pack of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackRef {
    /// SHA-256 of the stored bytes.
    pub sha256: Digest,
    /// The number of stored bytes.
    pub bytes: u64,
    /// The number of bytes when decrypted and decompressed.
    pub plain_bytes: u64,
    /// Its epoch's position in the manifest; 0 when nothing is encrypted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One part of a restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// The type of the plain stream, as in `application/vnd.etcd.snapshot`.
    pub media_type: String,
    /// The number of plain bytes.
    pub plain_bytes: u64,
    /// SHA-256 of the plain bytes.
    pub plain_sha256: Digest,
    /// The pack space: these packs' plain bytes one after the other.
    pub packs: Vec<PackRef>,
    /// The recipe's segments, in order.
    pub recipes: Vec<StoredObject>,
    /// The position of the epoch that the recipe is encrypted to; absent for the run's own, the
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe_epoch: Option<u64>,
    /// The restore point that it was taken for, if this one only names it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_from: Option<RestorePointId>,
    /// Facts from an etcd snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdFacts>,
    /// The content of an archive of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveFacts>,
    /// Anything that a later version of the tool adds; kept, not understood.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// Facts from an etcd snapshot, and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtcdFacts {
    /// The newest revision.
    pub revision: u64,
    /// The revision up to which history was compacted, if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<u64>,
    /// Live keys, as `etcdutl snapshot status` 3.6 counts them; absent if there were too many
    /// revisions to count within bounded memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_keys: Option<u64>,
    /// A digest over the live keys and their values. It shows whether a running database holds them.
    /// Absent if keys are not counted, and in restore points of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// The database's page size.
    pub page_size: u64,
    /// The SHA-256 trailer: of all bytes but the last 32.
    pub trailer: Option<Digest>,
    /// The storage version in the snapshot, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// The distinct `k8s:enc:…:` prefixes of its Secrets; empty if they are not encrypted.
    #[serde(default)]
    pub encryption_prefixes: Vec<String>,
    /// Live Secrets that are stored in clear.
    #[serde(default)]
    pub plain_secrets: u64,
    /// Live keys by the first folder of their name, as in `/FOLDER/…`; those in no folder are under
    /// the empty name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prefixes: BTreeMap<String, u64>,
    /// Whether there are more folders than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_prefixes: bool,
    /// The names of etcd's own users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The names of their roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Whether there are more users or roles than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_names: bool,
    /// Whether etcd's users have to sign in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auth_enabled: bool,
    /// Its origin: a node's address, or `import`.
    pub origin: String,
    /// The member's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_name: Option<String>,
    /// The member's id, 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// Its etcd version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Its Talos version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talos_version: Option<String>,
    /// SHA-256 of the certificates of the authorities that vouched for its Talos API: they distinguish one
    /// Talos cluster from another while its etcd is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub talos_authorities: Vec<Digest>,
}

/// What a run read and stored, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// The number of plain bytes that were read from all sources.
    pub read_bytes: u64,
    /// The number of chunks.
    pub chunks: u64,
    /// The number of chunks that no earlier pack had.
    pub new_chunks: u64,
    /// The number of objects stored.
    pub objects: u64,
    /// The number of their bytes.
    pub stored_bytes: u64,
}

impl Manifest {
    /// Returns the stored form: JSON with a newline at the end.
    ///
    /// # Errors
    /// Only if the JSON library fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        to_json("manifest", self)
    }

    /// Parses the stored form.
    ///
    /// # Errors
    /// When it is damaged, of a newer version, above a limit, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let manifest: Self = super::parse_json("manifest", bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Refuses a manifest that claims more than the format allows, or contradicts itself.
    ///
    /// # Errors
    /// When it is refused.
    pub fn check(&self) -> Result<(), FormatError> {
        super::limits::check(self)
    }

    /// Returns the epochs; empty when nothing is encrypted.
    #[must_use]
    pub fn epochs(&self) -> &[Epoch] {
        match &self.encryption {
            Encryption::None => &[],
            Encryption::Age { epochs } => epochs,
        }
    }

    /// Reports whether anything that was requested is missing or incomplete, or a finding is an error.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.gaps().is_empty() || self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// Returns the component `name`.
    #[must_use]
    pub fn component(&self, name: &ComponentName) -> Option<&Component> {
        self.components.iter().find(|c| c.name == *name)
    }

    /// Returns the facts of the etcd snapshot of the DataStore `name`.
    #[must_use]
    pub fn datastore(&self, name: &str) -> Option<&EtcdFacts> {
        let is = |c: &&Component| c.name.datastore_name() == Some(name);
        self.components.iter().find(is)?.etcd.as_ref()
    }
}

pub(super) fn to_json<T: Serialize>(
    object: &'static str,
    value: &T,
) -> Result<Vec<u8>, FormatError> {
    let mut bytes = serde_json::to_vec(value).map_err(|source| FormatError::Json {
        object,
        path: String::new(),
        source,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}
