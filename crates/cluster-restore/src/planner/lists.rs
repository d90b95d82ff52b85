//! Lists of the cluster that a survey reads: each kind of the archive in each version that the archive has,
//! and the kinds that later checks need.

use std::collections::{BTreeMap, BTreeSet};

use super::Survey;
use crate::dangers::{CONTROL_PLANES, DATASTORES, SEALED_SECRETS};
use crate::plan::Step;
use crate::spool::Entry;
use backup_core::archive::ResourceName;

/// List of one kind in one version.
pub(super) struct ListQuery {
    pub(super) kind: ResourceName,
    /// Version; `None` for the server's choice.
    pub(super) version: Option<String>,
    /// Whether it is the first list of the kind, which also covers objects that the archive does not have.
    is_first: bool,
}

impl ListQuery {
    /// Whether an object belongs to this list: to the list of its version in the archive, or to the first
    /// list if the archive has no readable object.
    pub(super) fn is_of(&self, entry: Option<&Entry>) -> bool {
        match entry.filter(|e| e.flaw.is_none()) {
            Some(entry) => self
                .version
                .as_ref()
                .is_none_or(|v| *v == entry.api_version),
            None => self.is_first,
        }
    }
}

impl Survey<'_> {
    /// Returns all lists, kind by kind.
    pub(super) fn lists(&self) -> Vec<ListQuery> {
        let entries = self.spool.entries().iter();
        // In the versions of the archive, because everything would differ in another one. No version: the
        // server's choice.
        let mut kinds: BTreeMap<ResourceName, BTreeSet<String>> = BTreeMap::new();
        for entry in entries.filter(|e| e.flaw.is_none()) {
            let versions = kinds.entry(entry.path.resource.clone()).or_default();
            versions.insert(entry.api_version.clone());
        }
        for also in [
            "namespaces",
            DATASTORES,
            "tenantclusters.butler.butlerlabs.dev",
            CONTROL_PLANES,
        ] {
            kinds.entry(also.into()).or_default();
        }
        // All objects of a kind may be deleted if the archive proves the kind empty, or if none is selected.
        if self.request.options.prune && self.request.steps.contains(&Step::Resources) {
            for kind in self.request.complete.keys() {
                kinds.entry(kind.as_str().into()).or_default();
            }
        }
        // Restored objects may need Secrets of the cluster.
        if [SEALED_SECRETS, CONTROL_PLANES]
            .iter()
            .any(|k| kinds.contains_key(&(*k).into()))
        {
            kinds.entry("secrets".into()).or_default();
        }
        let of_kind = |(kind, versions): (ResourceName, BTreeSet<String>)| {
            let mut versions: Vec<_> = versions.into_iter().map(Some).collect();
            if versions.is_empty() {
                versions.push(None);
            }
            let list = move |(at, version)| ListQuery {
                kind: kind.clone(),
                version,
                is_first: at == 0,
            };
            versions.into_iter().enumerate().map(list)
        };
        kinds.into_iter().flat_map(of_kind).collect()
    }
}
