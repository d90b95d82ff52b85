//! Components of made-up objects, for tests of their readers.

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::archive::{ObjectPath, ResourceName};
use crate::digest::Digest;
use crate::format::export::{ArchiveFacts, Consistency, KindFacts, KubernetesFacts};
use crate::format::manifest::Finding;
use crate::num::to_u64;
use crate::source::{
    ArchiveReport, ArchiveSink, ArchiveSource, ClusterSource, ComponentReport, SourceError,
};

/// Path and JSON of an object.
type ObjectJson = (ObjectPath, Vec<u8>);

/// Component made of given objects.
#[derive(Debug, Clone, Default)]
pub struct FixedArchive {
    kinds: Vec<(KindFacts, Vec<ObjectJson>)>,
    files: Vec<(String, Vec<u8>)>,
}

impl FixedArchive {
    /// Adds a kind, as `plural.group`, with its objects, which are sorted in the server's order.
    #[must_use]
    pub fn kind(mut self, resource: &str, kind: &str, version: &str, objects: &[Value]) -> Self {
        let resource = ResourceName::from(resource);
        let mut members: Vec<_> = objects.iter().map(|o| member(&resource, o)).collect();
        members.sort_by_key(|(path, _)| path.object());
        let mut sha256 = Sha256::new();
        members.iter().for_each(|(_, json)| sha256.update(json));
        let bytes = members.iter().map(|(_, json)| to_u64(json.len())).sum();
        let facts = KindFacts {
            resource: resource.to_string(),
            kind: kind.to_owned(),
            version: version.to_owned(),
            namespaced: members.iter().any(|(path, _)| path.namespace.is_some()),
            also_served: Vec::new(),
            stored_version: None,
            resource_version: Some("1000".to_owned()),
            consistency: Consistency::OneRevision,
            watched: None,
            complete: None,
            listed_because: None,
            objects: to_u64(members.len()),
            bytes,
            sha256: Digest::from_bytes(sha256.finalize().into()),
            skipped: Vec::new(),
            managed_by: std::collections::BTreeMap::new(),
            failed: None,
            lost: Vec::new(),
            list_failed: None,
        };
        self.kinds.push((facts, members));
        self.kinds
            .sort_by(|(a, _), (b, _)| a.resource.cmp(&b.resource));
        self
    }

    /// Changes the manifest's facts about the kind `resource`.
    #[must_use]
    pub fn with_facts(mut self, resource: &str, change: impl Fn(&mut KindFacts)) -> Self {
        let kinds = self.kinds.iter_mut().map(|(facts, _)| facts);
        kinds.filter(|f| f.resource == resource).for_each(change);
        self
    }

    /// Reverses the order of the objects of every kind.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.kinds
            .iter_mut()
            .for_each(|(_, members)| members.reverse());
        self
    }

    /// Adds a file that is not an object, at the end.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: &[u8]) -> Self {
        self.files.push((path.to_owned(), bytes.to_vec()));
        self
    }
}

/// UID of the namespace `kube-system` in the [`snapshot`](super::world::snapshot).
pub const ETCD_CLUSTER: &str = "0c7b2b0e-5a53-4f0e-9a0d-6c1f8e2d7b11";

fn member(resource: &ResourceName, object: &Value) -> ObjectJson {
    let text = |at: &str| {
        object
            .pointer(at)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let path = ObjectPath {
        resource: resource.clone(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name").unwrap_or_default(),
    };
    (path, object.to_string().into_bytes())
}

#[async_trait]
impl ArchiveSource for FixedArchive {
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError> {
        for (path, json) in self.kinds.iter().flat_map(|(_, members)| members) {
            out.object(path, json).await?;
        }
        for (path, bytes) in &self.files {
            out.file(path, bytes).await?;
        }
        let kinds: Vec<_> = self.kinds.iter().map(|(facts, _)| facts.clone()).collect();
        Ok(ArchiveReport {
            facts: ArchiveFacts {
                objects: kinds.iter().map(|k| k.objects).sum(),
                kinds,
                ..ArchiveFacts::default()
            },
            findings: Vec::new(),
        })
    }
}

/// Cluster with given facts.
#[derive(Debug, Clone, Default)]
pub struct FixedCluster(pub KubernetesFacts);

#[async_trait]
impl ClusterSource for FixedCluster {
    fn uid(&self) -> &str {
        &self.0.uid
    }

    async fn facts(&self, _: &[ComponentReport]) -> (KubernetesFacts, Vec<Finding>) {
        (self.0.clone(), Vec::new())
    }
}
