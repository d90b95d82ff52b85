//! Facts of a manifest about the Kubernetes side: kinds and sealing keys; `tenants` has those about tenants.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

mod tenants;

pub use tenants::{AuthorityFacts, ControlPlaneFacts, KubeconfigFacts, TenantAnswer, TenantFacts};

/// The content of an archive of objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveFacts {
    /// The number of objects.
    pub objects: u64,
    /// The kinds, in the order of the archive. A kind that was listed and has no object is here
    /// with 0; one that is not here was not listed.
    pub kinds: Vec<KindFacts>,
    /// The prefixes of encrypted values whose key of the encryption at rest is in the archive, as in
    /// `k8s:enc:secretbox:v1:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encryption_prefixes: Vec<String>,
    /// The Talos cluster, if the archive holds its machine configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talos_cluster: Option<TalosClusterFacts>,
    /// The names of its files, if it consists of files that a person gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What belongs in it but could not be taken, besides kinds that say `failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
}

/// Something that belongs in a component but could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lack {
    /// A kind, all kinds of a group as `*.GROUP`, or a file.
    pub what: String,
    /// The reason.
    pub cause: String,
}

/// A Talos cluster, as a machine configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosClusterFacts {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The SHA-256 of its id, which is kept secret with the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_sha256: Option<Digest>,
}

/// Facts about the objects that were taken of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindFacts {
    /// Plural and group, as in `tenantclusters.butler.butlerlabs.dev`.
    pub resource: String,
    /// The kind's name, as in `TenantCluster`.
    pub kind: String,
    /// The version that it was read in.
    pub version: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// The versions that were served besides the one that was read; empty for most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_served: Vec<String>,
    /// The version that etcd holds; only known of custom resources, absent if it is the one read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_version: Option<String>,
    /// The revision of the list, or the last one that the watch had reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Whether the list shows one moment.
    #[serde(default)]
    pub consistency: Consistency,
    /// The objects that were read again, if the kind was not listed: a daemon had kept its objects, and
    /// a watch had reported which of them changed. Absent if it was listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
    /// Why the kind was listed in a run that would have used the kept objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_because: Option<String>,
    /// The number of objects in the archive.
    pub objects: u64,
    /// The bytes of their JSON.
    pub bytes: u64,
    /// SHA-256 of their JSON, one after the other.
    pub sha256: Digest,
    /// The objects that were listed and left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// The number of objects that belong to a tool that can create them again: `flux`, `helm`, `argo`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub managed_by: BTreeMap<String, u64>,
    /// Why some of its objects are missing: the kind could not be listed to its end, or single
    /// objects could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Objects that were there and could not be read; all others of the kind are here, unless
    /// `failed` says more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// The error of the list of the kind, if its objects were read in pieces around those in `lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_failed: Option<String>,
    /// Where every object of the kind was taken. Absent if some were not: left out by a label or by what
    /// the component is for, being deleted, not readable, or the list did not reach its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<CompleteIn>,
}

/// An object that existed but could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// `NAMESPACE/NAME`, or its name alone. If the server does not name each: how many there are, and
    /// before which object.
    pub name: String,
    /// The server's message.
    pub cause: String,
}

/// Where all objects of a kind were taken, with any labels: an object there that is not in the archive
/// was created later. Empty lists mean all namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CompleteIn {
    /// Only these namespaces.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub include_namespaces: BTreeSet<String>,
    /// All namespaces except these.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_namespaces: BTreeSet<String>,
}

impl CompleteIn {
    /// Reports whether all objects of a namespace were taken.
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        let included = &self.include_namespaces;
        (included.is_empty() || included.contains(namespace))
            && !self.exclude_namespaces.contains(namespace)
    }
}

/// The objects that were read of a kind that was not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// The number of objects that were read again, new ones included.
    pub fetched: u64,
    /// The number of objects that were deleted since.
    pub gone: u64,
}

/// Whether a list shows one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// All pages are of one revision.
    #[default]
    OneRevision,
    /// The revision was compacted while pages were read, or objects were read one by one because a
    /// watch had reported them; the rest is of a later revision.
    Continued,
    /// The server reports no revision.
    Unknown,
}

/// Objects that were listed and left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// The reason, in a few words.
    pub reason: String,
    /// The number of them.
    pub objects: u64,
    /// The first of them, if each matters: `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The number of them in each namespace, for objects that a person may miss: Secrets and ConfigMaps
    /// that nothing refers to. Only for the first thousand namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, u64>,
}

/// Facts about the cluster besides its objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesFacts {
    /// The UID of the namespace `kube-system`.
    pub uid: String,
    /// The API server's version, such as `v1.36.1`.
    pub version: String,
    /// The API server that was asked.
    pub server: String,
    /// The version of the chart that installed Butler's CRDs, if they name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crd_chart: Option<String>,
    /// Kinds that were discovered and not listed.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// Whether the sealed Secrets can be opened with the keys of the restore point; absent if
    /// there is no such kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_secrets: Option<SealedFacts>,
    /// The tenants, by namespace and name.
    #[serde(default)]
    pub tenants: Vec<TenantFacts>,
    /// Kubeconfigs that are kept as files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubeconfigs: Vec<KubeconfigFacts>,
}

/// A kind that was discovered and not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Plural and group.
    pub resource: String,
    /// The reason.
    pub reason: String,
}

/// The sealing keys, and how many SealedSecrets they open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedFacts {
    /// The keys, oldest first.
    pub keys: Vec<SealingKey>,
    /// The number of SealedSecrets.
    pub sealed_secrets: u64,
    /// The number of SealedSecrets that one of the keys opens.
    pub opened: u64,
}

/// One sealing key, without its private half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealingKey {
    /// Its Secret, as `NAMESPACE/NAME`.
    pub secret: String,
    /// The value of its label: `active`, `compromised`, or empty for the oldest releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The start of its certificate's validity.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// SHA-256 of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_sha256: Option<Digest>,
}
