//! Lists of the cluster that a survey reads: each kind of the archive in each version that the archive has
//! it in, and the kinds that later judgements need.

use std::collections::{BTreeMap, BTreeSet};

use super::Survey;
use crate::archive::ResourceName;
use crate::recover::dangers::{CONTROL_PLANES, DATASTORES, SEALED_SECRETS};
use crate::recover::plan::Step;
use crate::recover::spool::Entry;

/// One list.
pub(super) struct List {
    pub(super) kind: ResourceName,
    /// `None` for the server's choice.
    pub(super) version: Option<String>,
    /// Whether it is the first list of the kind: it has what the archive does not have, too.
    is_first: bool,
}

impl List {
    /// Whether an object belongs to this list: to that of the version which the archive has it in, or to
    /// the first where the archive has no object, or none that can be read.
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
    /// All lists, kind by kind.
    pub(super) fn lists(&self) -> Vec<List> {
        let entries = self.spool.entries().iter();
        // In the versions that the archive has, or all of it would differ. No version: the server's choice.
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
        // Of a kind that the archive proves to be empty, or of which nothing is chosen, all may go.
        if self.request.options.prune && self.request.steps.contains(&Step::Resources) {
            for kind in self.request.complete.keys() {
                kinds.entry(kind.as_str().into()).or_default();
            }
        }
        // What is restored may need Secrets that the cluster has.
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
            let list = move |(at, version)| List {
                kind: kind.clone(),
                version,
                is_first: at == 0,
            };
            versions.into_iter().enumerate().map(list)
        };
        kinds.into_iter().flat_map(of_kind).collect()
    }
}
