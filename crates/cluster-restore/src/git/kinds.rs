//! Lookup of a document's kind, and of whether its objects are in namespaces.

use std::collections::BTreeMap;

use serde_json::Value;

use super::coverage::CoverageItem;
use super::documents::DocumentSet;
use crate::RecoverError;
use crate::crds::DEFINITIONS;
use crate::spool::ObjectSpool;
use backup_core::archive::{ObjectPath, ResourceName};
use cluster_client::kube::target::KubeTarget;

/// Kinds by group and name, each with its resource and whether it is in namespaces.
pub(super) struct Kinds<'a> {
    target: Option<&'a KubeTarget>,
    known: BTreeMap<(String, String), (ResourceName, bool)>,
}

impl<'a> Kinds<'a> {
    /// Collects kinds from the archive's objects and from definitions in the archive and in Git;
    /// `target` is asked first.
    pub(super) fn new(
        archive: &ObjectSpool,
        read: &DocumentSet,
        target: Option<&'a KubeTarget>,
    ) -> Result<Self, RecoverError> {
        let mut kinds = Self {
            target,
            known: BTreeMap::new(),
        };
        for entry in archive.entries() {
            let key = (group(&entry.api_version), entry.kind.clone());
            let namespaced = entry.path.namespace.is_some();
            kinds
                .known
                .insert(key, (entry.path.resource.clone(), namespaced));
            if entry.path.resource.as_str() == DEFINITIONS && entry.flaw.is_none() {
                kinds.definition(&archive.value(entry)?);
            }
        }
        for document in &read.documents {
            let value = read.value(document)?;
            if value.get("kind") == Some(&Value::from("CustomResourceDefinition")) {
                kinds.definition(&value);
            }
        }
        Ok(kinds)
    }

    fn definition(&mut self, value: &Value) {
        let text = |pointer: &str| {
            let text = value.pointer(pointer).and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let (Some(group), Some(kind), Some(plural)) = (
            text("/spec/group"),
            text("/spec/names/kind"),
            text("/spec/names/plural"),
        ) else {
            return;
        };
        let namespaced = text("/spec/scope").as_deref() == Some("Namespaced");
        let resource = ResourceName::new(&plural, &group);
        self.known.insert((group, kind), (resource, namespaced));
    }

    fn kind(&self, version: &str, kind: &str) -> Option<(ResourceName, bool)> {
        let served = self.target.and_then(|t| t.kind_of(version, kind));
        let served = served.map(|k| (k.resource, k.namespaced));
        served.or_else(|| self.known.get(&(group(version), kind.to_owned())).cloned())
    }

    /// Returns the path of an object that a report names, if its kind is known.
    pub(super) fn named(&self, item: &CoverageItem) -> Option<ObjectPath> {
        let (resource, namespaced) = self.kind(&item.version(), &item.kind)?;
        let namespace = Some(item.namespace.clone()).filter(|n| !n.is_empty());
        let path = ObjectPath {
            resource,
            namespace: namespaced.then(|| namespace.unwrap_or_else(|| "default".to_owned())),
            name: item.name.clone(),
        };
        (path.to_string().parse().ok() == Some(path.clone())).then_some(path)
    }

    /// Returns the path of the object, or a message about what is wrong with it.
    pub(super) fn place(&self, value: &Value) -> Result<ObjectPath, String> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let version = text("/apiVersion").unwrap_or_default();
        let kind = text("/kind").unwrap_or_default();
        let Some((resource, namespaced)) = self.kind(version, kind) else {
            return Err(format!(
                "its kind {kind} of {version} is neither served nor defined anywhere"
            ));
        };
        let namespace = text("/metadata/namespace").filter(|n| !n.is_empty());
        let path = ObjectPath {
            resource,
            // The cluster's own client does the same.
            namespace: namespaced.then(|| namespace.unwrap_or("default").to_owned()),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
        };
        // A name must not point to another place.
        if path.to_string().parse().ok() != Some(path.clone()) {
            return Err("its name or namespace is not valid for an object".to_owned());
        }
        Ok(path)
    }
}

fn group(api_version: &str) -> String {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    group.to_owned()
}
