//! Resolver of owner references: every reference names an object that exists after the restore, or is left
//! out.
//!
//! The garbage collector deletes an object whose owners do not exist within milliseconds, and a deleted
//! control plane takes its tenant's data along. So references of written objects and of live objects are
//! treated alike: a reference to an object of the restore gets the current UID of that object, in the same
//! position and with the same flags.

mod dependants;

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::Value;

pub(super) use self::dependants::{Dependants, relink};
use super::desired::OwnerReference;
use super::guards::{Guard, Guards};
use super::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use cluster_client::kube::KubeError;
use cluster_client::kube::target::KubeTarget;

/// Result of resolving an object's owner references.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OwnerResolution {
    /// References as they must be.
    pub(super) references: Vec<OwnerReference>,
    /// Whether the references differ from those that the object has.
    pub(super) differs: bool,
    /// Whether the object has a reference to a missing owner, for which the object could be deleted.
    pub(super) dead: bool,
    /// Whether a reference names an object that is written later.
    pub(super) late: bool,
    /// Changed references, and references that are added once the owner is written: one phrase each.
    pub(super) changes: Vec<String>,
    /// References that are left out, and why: one phrase each.
    pub(super) left: Vec<String>,
}

/// Target of a reference after the restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// Object with this UID; `going` if it is being deleted.
    Exists { uid: String, going: bool },
    /// Object that is written later.
    WrittenLater,
    /// No object.
    Missing,
    /// Unknown: the owner's kind is not served, or cannot own this object.
    Unknown,
}

/// Resolver that uses the objects written so far and those of the cluster.
pub(super) struct OwnerResolver<'a> {
    pub(super) spool: &'a ObjectSpool,
    pub(super) target: &'a KubeTarget,
    /// Current UIDs of objects, by position.
    pub(super) now: &'a HashMap<usize, String>,
    /// Positions that will not be written.
    pub(super) without: &'a HashMap<usize, &'static str>,
    /// Whether everything is written: an owner without a UID will not be created later.
    pub(super) last: bool,
    pub(super) guards: Guards,
    /// Cache of looked-up owners, for use while nothing is written.
    pub(super) seen: Option<&'a Mutex<HashMap<ObjectPath, OwnerState>>>,
}

impl OwnerResolver<'_> {
    /// Resolves the references of the object at `path`: `live` are its current references, `captured` those
    /// in the archive.
    pub(super) async fn resolve(
        &self,
        path: &ObjectPath,
        live: &[OwnerReference],
        captured: &[OwnerReference],
    ) -> Result<OwnerResolution, KubeError> {
        if !self.guards.has(Guard::Owners) {
            return Ok(OwnerResolution {
                references: captured.to_vec(),
                ..OwnerResolution::default()
            });
        }
        let mut held = Vec::with_capacity(live.len());
        for owner in live {
            held.push((owner.clone(), self.lead(path, owner).await?));
        }
        let mut lost = Vec::new();
        for owner in captured {
            if !live.iter().any(|held| is_same(held, owner)) {
                lost.push((owner.clone(), self.lead(path, owner).await?));
            }
        }
        Ok(relinked(held, lost))
    }

    async fn lead(
        &self,
        path: &ObjectPath,
        owner: &OwnerReference,
    ) -> Result<OwnerState, KubeError> {
        let named = place(self.target, path, owner);
        let by_name = || named.as_ref().and_then(|named| self.spool.by_path(named));
        if let Some(position) = self.spool.by_uid(&owner.uid).or_else(by_name) {
            if let Some(uid) = self.now.get(&position) {
                let uid = uid.clone();
                return Ok(OwnerState::Exists { uid, going: false });
            }
            if !self.last && !self.without.contains_key(&position) {
                return Ok(OwnerState::WrittenLater);
            }
        }
        let Some(named) = named else {
            return Ok(OwnerState::Unknown);
        };
        // The restore does not write it; the cluster may have an object with that name.
        let seen = self.seen.map(|seen| seen.lock());
        if let Some(Ok(seen)) = seen
            && let Some(lead) = seen.get(&named)
        {
            return Ok(lead.clone());
        }
        let lead = self.look_up(&named).await?;
        if let Some(Ok(mut seen)) = self.seen.map(|seen| seen.lock()) {
            seen.insert(named, lead.clone());
        }
        Ok(lead)
    }

    async fn look_up(&self, named: &ObjectPath) -> Result<OwnerState, KubeError> {
        let Some(live) = self.target.get(named, None).await? else {
            return Ok(OwnerState::Missing);
        };
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        Ok(uid.map_or(OwnerState::Unknown, |uid| OwnerState::Exists {
            uid: uid.to_owned(),
            going: live.pointer("/metadata/deletionTimestamp").is_some(),
        }))
    }
}

/// Returns the path of the owner that the object at `path` names; `None` if the owner's kind is not served or
/// cannot own the object: a namespaced owner owns objects of its own namespace only.
pub(super) fn place(
    target: &KubeTarget,
    path: &ObjectPath,
    owner: &OwnerReference,
) -> Option<ObjectPath> {
    let kind = target.kind_of(&owner.api_version, &owner.kind)?;
    let namespace = match (&path.namespace, kind.namespaced) {
        (Some(namespace), true) => Some(namespace.clone()),
        (_, false) => None,
        (None, true) => return None,
    };
    Some(ObjectPath {
        resource: kind.resource,
        namespace,
        name: owner.name.clone(),
    })
}

/// Returns the owner references of an object. A reference that cannot be parsed is skipped.
pub(super) fn references_of(object: &Value) -> Vec<OwnerReference> {
    let listed = object.pointer("/metadata/ownerReferences");
    let listed = listed.and_then(Value::as_array).into_iter().flatten();
    let read = listed.filter_map(|owner| serde_json::from_value(owner.clone()).ok());
    read.collect()
}

/// Whether two references name the same object, regardless of their UIDs.
fn is_same(one: &OwnerReference, other: &OwnerReference) -> bool {
    let group = |owner: &OwnerReference| {
        let group = owner.api_version.split_once('/').map(|(group, _)| group);
        group.unwrap_or_default().to_owned()
    };
    one.kind == other.kind && one.name == other.name && group(one) == group(other)
}

/// Builds the final references: those of `held` keep their positions, those of `lost` follow.
fn relinked(
    held: Vec<(OwnerReference, OwnerState)>,
    lost: Vec<(OwnerReference, OwnerState)>,
) -> OwnerResolution {
    let mut to = OwnerResolution::default();
    for (owner, lead) in held {
        let name = format!("{} {}", owner.kind, owner.name);
        match lead {
            OwnerState::Exists { uid, .. } if uid == owner.uid => to.references.push(owner),
            OwnerState::Exists { uid, .. } => {
                to.differs = true;
                to.dead = true;
                to.changes.push(format!("owner {name} by its new UID"));
                if !to.references.iter().any(|r| r.uid == uid) {
                    to.references.push(with_uid(&owner, uid));
                }
            }
            OwnerState::WrittenLater => {
                to.late = true;
                to.changes.push(format!("owner {name} by its new UID"));
                to.references.push(owner);
            }
            OwnerState::Missing => {
                to.differs = true;
                to.dead = true;
                to.left.push(format!(
                    "without its owner {name}, which is not in this cluster"
                ));
            }
            OwnerState::Unknown => to.references.push(owner),
        }
    }
    for (owner, lead) in lost {
        let name = format!("{} {}", owner.kind, owner.name);
        match lead {
            OwnerState::Exists { going: true, .. } => to.left.push(format!(
                "without its owner {name}, which is being deleted in this cluster"
            )),
            OwnerState::Exists { uid, .. } => {
                let other = to.references.iter().find(|r| r.controller == Some(true));
                if to.references.iter().any(|r| r.uid == uid) {
                    continue;
                }
                if let Some(other) = other.filter(|_| owner.controller == Some(true)) {
                    to.left.push(format!(
                        "without its owner {name}, since {} {} controls it now",
                        other.kind, other.name
                    ));
                    continue;
                }
                to.differs = true;
                to.changes.push(format!("owner {name} named again"));
                to.references.push(with_uid(&owner, uid));
            }
            OwnerState::WrittenLater => {
                to.late = true;
                to.changes.push(format!("owner {name} named again"));
            }
            OwnerState::Missing => to.left.push(format!(
                "without its owner {name}, which is not in this cluster"
            )),
            OwnerState::Unknown => to.left.push(format!(
                "without its owner {name}, since the cluster does not serve {} as a kind that can \
                 own it",
                owner.api_version
            )),
        }
    }
    to
}

/// Returns the reference with the owner's UID in this cluster.
fn with_uid(owner: &OwnerReference, uid: String) -> OwnerReference {
    OwnerReference {
        uid,
        ..owner.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str, uid: &str, controller: Option<bool>) -> OwnerReference {
        OwnerReference {
            api_version: "example.org/v1".to_owned(),
            kind: "Thing".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller,
            block_owner_deletion: controller,
        }
    }

    fn lives(uid: &str) -> OwnerState {
        OwnerState::Exists {
            uid: uid.to_owned(),
            going: false,
        }
    }

    #[test]
    fn a_dead_reference_is_replaced_where_it_stands() {
        let held = vec![
            (owner("a", "1", None), lives("1")),
            (owner("b", "old", Some(true)), lives("new")),
            (owner("c", "3", None), lives("3")),
        ];
        let to = relinked(held, Vec::new());
        assert_eq!(
            to.references,
            [
                owner("a", "1", None),
                owner("b", "new", Some(true)),
                owner("c", "3", None),
            ]
        );
        assert!(to.differs && to.dead && !to.late);
        assert_eq!(to.changes, ["owner Thing b by its new UID"]);
    }

    #[test]
    fn what_lives_is_left_alone_and_what_is_lost_is_put_back() {
        let held = vec![(owner("a", "1", None), lives("1"))];
        let to = relinked(held.clone(), Vec::new());
        assert!(!to.differs && !to.dead, "{to:?}");
        let lost = vec![(owner("b", "old", Some(true)), lives("2"))];
        let to = relinked(held, lost);
        assert_eq!(
            to.references,
            [owner("a", "1", None), owner("b", "2", Some(true))]
        );
        assert!(to.differs && !to.dead);
    }

    #[test]
    fn there_is_one_controller_only() {
        let held = vec![(owner("a", "1", Some(true)), lives("1"))];
        let to = relinked(held, vec![(owner("b", "old", Some(true)), lives("2"))]);
        assert!(!to.differs);
        assert_eq!(
            to.left,
            ["without its owner Thing b, since Thing a controls it now"]
        );
    }

    #[test]
    fn only_what_is_nowhere_is_said_to_be_not_in_this_cluster() {
        let held = vec![
            (owner("a", "dead", None), OwnerState::Missing),
            (owner("b", "2", None), OwnerState::Unknown),
            (owner("c", "dead", None), OwnerState::WrittenLater),
        ];
        let lost = vec![
            (owner("d", "old", None), OwnerState::WrittenLater),
            (owner("e", "old", None), OwnerState::Unknown),
        ];
        let to = relinked(held, lost);
        assert!(to.late && to.dead && to.differs);
        let names: Vec<&str> = to.references.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(to.left.len(), 2);
        assert_eq!(
            to.left[0],
            "without its owner Thing a, which is not in this cluster"
        );
        assert!(!to.left[1].contains("not in this cluster"));
    }
}
