//! Finder of live objects whose owner is created again: they may be in the archive or not, and are linked as
//! soon as the owner has its UID.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use super::{OwnerResolver, place, references_of};
use crate::RecoverError;
use crate::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use cluster_client::kube::target::KubeTarget;

/// Short-lived kinds that own nothing.
const PASSING: [&str; 4] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "componentstatuses",
];

/// Live objects that depend on owners that the restore creates.
#[derive(Debug, Default)]
pub(crate) struct Dependants {
    /// Dependants, by the position of the owner.
    pub(crate) of: BTreeMap<usize, Vec<ObjectPath>>,
    /// Kinds that cannot be read, and why.
    pub(crate) unread: Vec<(String, String)>,
}

impl Dependants {
    /// Reads every kind of the cluster, a page at a time, for objects that name one of `made`: positions of
    /// objects that the cluster does not have.
    pub(crate) async fn find(
        target: &KubeTarget,
        spool: &ObjectSpool,
        made: &HashSet<usize>,
    ) -> Result<Self, RecoverError> {
        let mut found = Self::default();
        if made.is_empty() {
            return Ok(found);
        }
        for kind in target.kinds() {
            if PASSING.contains(&kind.resource.as_str()) {
                continue;
            }
            let read = target
                .each(&kind.resource, |path, object| {
                    for owner in references_of(&object) {
                        let by_name = || spool.by_path(&place(target, &path, &owner)?);
                        let position = spool.by_uid(&owner.uid).or_else(by_name);
                        if let Some(position) = position.filter(|p| made.contains(p)) {
                            found.of.entry(position).or_default().push(path.clone());
                        }
                    }
                })
                .await;
            match read {
                Ok(()) => {}
                Err(e) if e.is_of_the_server() => return Err(e.into()),
                Err(e) => found.unread.push((kind.resource.to_string(), e.line())),
            }
        }
        Ok(found)
    }
}

/// Replaces the references of the live object at `path` by references to living owners. Returns the changes;
/// an empty list means that no change was needed.
pub(crate) async fn relink(
    owners: &OwnerResolver<'_>,
    path: &ObjectPath,
) -> Result<Result<Vec<String>, String>, RecoverError> {
    /// Attempts at one write: somebody else may write at the same time.
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        let live = match owners.target.get(path, None).await {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(Err("it is gone".to_owned())),
            Err(e) if e.is_of_the_server() => return Err(e.into()),
            Err(e) => return Ok(Err(e.line())),
        };
        let to = match owners.resolve(path, &references_of(&live), &[]).await {
            Ok(to) => to,
            Err(e) if e.is_of_the_server() => return Err(e.into()),
            Err(e) => return Ok(Err(e.line())),
        };
        if !to.differs {
            return Ok(Ok(Vec::new()));
        }
        let patch = json!({ "metadata": {
            "resourceVersion": live.pointer("/metadata/resourceVersion"),
            "ownerReferences": to.references,
        }});
        match owners.target.patch(path, &patch, false).await {
            Ok(_) => return Ok(Ok(to.changes.into_iter().chain(to.left).collect())),
            Err(e) if e.is_conflict() => {}
            Err(e) if e.is_not_found() => return Ok(Err("it is gone".to_owned())),
            Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
            Err(e) => return Ok(Err(e.line())),
        }
    }
    Ok(Err("another writer keeps changing it".to_owned()))
}
