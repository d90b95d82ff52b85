//! Owner references: old UIDs become new ones before anything is written, or are left out.
//!
//! A garbage collector deletes what names an owner that does not exist, within milliseconds, and a
//! control plane that is deleted takes its tenant's data along.

use std::collections::HashMap;

use super::desired::OwnerReference;
use super::guards::{Guard, Guards};
use super::spool::{Entry, Spool};
use crate::archive::ObjectPath;
use crate::source::kube::KubeError;
use crate::source::kube::target::KubeTarget;

/// What became of an object's owners.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// With UIDs of this cluster.
    pub(super) references: Vec<OwnerReference>,
    /// Owners that are written later: positions, and the references without a UID.
    pub(super) late: Vec<(usize, OwnerReference)>,
    /// Those that cannot be named, and why.
    pub(super) dropped: Vec<String>,
}

/// Resolves owners against what was written before and what the cluster has.
pub(super) struct Owners<'a> {
    pub(super) spool: &'a Spool,
    pub(super) target: &'a KubeTarget,
    /// The UIDs that written objects have now, by position.
    pub(super) now: &'a HashMap<usize, String>,
    /// Positions that will not be written.
    pub(super) without: &'a HashMap<usize, &'static str>,
    pub(super) guards: Guards,
}

impl Owners<'_> {
    /// The owners of `entry` as they are to be written.
    pub(super) async fn resolve(
        &self,
        entry: &Entry,
        owners: &[OwnerReference],
    ) -> Result<Resolved, KubeError> {
        let mut resolved = Resolved::default();
        if !self.guards.has(Guard::Owners) {
            resolved.references = owners.to_vec();
            return Ok(resolved);
        }
        for owner in owners {
            let named = || format!("{} {}", owner.kind, owner.name);
            let known = self.spool.by_uid(&owner.uid);
            if let Some(position) = known {
                if let Some(uid) = self.now.get(&position) {
                    resolved.references.push(with_uid(owner, uid.clone()));
                    continue;
                }
                if self.is_later(entry, position) {
                    resolved.late.push((position, owner.clone()));
                    continue;
                }
            }
            // Its owner is not written here; the cluster may have one of that name.
            match self.live(entry, owner).await? {
                Some(uid) => resolved.references.push(with_uid(owner, uid)),
                None => resolved.dropped.push(named()),
            }
        }
        Ok(resolved)
    }

    fn is_later(&self, entry: &Entry, owner: usize) -> bool {
        let rank = self.spool.entry(owner).map(|owner| owner.rank);
        !self.without.contains_key(&owner) && rank > Some(entry.rank)
    }

    /// The UID of the owner that the cluster has, where the reference would lead.
    async fn live(
        &self,
        entry: &Entry,
        owner: &OwnerReference,
    ) -> Result<Option<String>, KubeError> {
        let Some(kind) = self.target.kind_of(&owner.api_version, &owner.kind) else {
            return Ok(None);
        };
        // A namespaced owner is one of the same namespace; nothing of the cluster has such an owner.
        let namespace = match (&entry.path.namespace, kind.namespaced) {
            (Some(namespace), true) => Some(namespace.clone()),
            (_, false) => None,
            (None, true) => return Ok(None),
        };
        let path = ObjectPath {
            resource: kind.resource,
            namespace,
            name: owner.name.clone(),
        };
        let live = self.target.get(&path, None).await?;
        let live = live.filter(|o| o.pointer("/metadata/deletionTimestamp").is_none());
        Ok(live.and_then(|o| Some(o.pointer("/metadata/uid")?.as_str()?.to_owned())))
    }
}

/// The reference with the owner's UID of this cluster.
pub(super) fn with_uid(owner: &OwnerReference, uid: String) -> OwnerReference {
    OwnerReference {
        uid,
        ..owner.clone()
    }
}
