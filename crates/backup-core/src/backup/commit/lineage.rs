//! Lineage of a restore point, which shows whether the cluster is still that of its parent.

use crate::backup::Run;
use crate::backup::stored_component::StoredComponent;
use crate::catalog::RestorePoint;
use crate::format::manifest::Lineage;
use crate::id::ComponentName;

/// Returns the parent's lineage, or a new one if there is no parent or the cluster is another incarnation.
pub(super) fn lineage(
    run: &Run,
    parent: Option<&RestorePoint>,
    parts: &[StoredComponent],
    uid: Option<String>,
) -> Lineage {
    let own = parts.iter().find(|p| p.name == ComponentName::etcd());
    let uid = uid.or_else(|| own?.kube_system_uid.clone());
    let etcd = own.and_then(|p| p.etcd.as_ref());
    let revision = etcd.map(|e| e.revision);
    let begin = |because: Option<String>| {
        if let Some(because) = &because {
            run.progress
                .note(&format!("a new lineage begins: {because}"));
        }
        Lineage {
            id: uuid::Uuid::new_v4().to_string(),
            kube_system_uid: uid.clone(),
            revision,
            begun_because: because,
        }
    };
    let Some(before) = parent.map(|p| &p.manifest.lineage) else {
        return begin(None);
    };
    if let (Some(old), Some(new)) = (&before.kube_system_uid, &uid)
        && old != new
    {
        return begin(Some(format!(
            "the UID of kube-system was {old} and is {new}"
        )));
    }
    // An imported file may be older than the newest restore point.
    let imported = etcd.is_some_and(|e| e.origin == "import");
    if let (Some(old), Some(new)) = (before.revision, revision)
        && new < old
        && !imported
    {
        return begin(Some(format!(
            "etcd's revision went back from {old} to {new}"
        )));
    }
    Lineage {
        id: before.id.clone(),
        kube_system_uid: uid.or_else(|| before.kube_system_uid.clone()),
        revision: revision.max(before.revision),
        begun_because: None,
    }
}
