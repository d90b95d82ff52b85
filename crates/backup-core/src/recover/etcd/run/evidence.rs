//! Whether an etcd that is up is the one that was to be restored.

use super::super::plan::SnapshotFacts;

/// What is known of an etcd that runs.
pub(super) struct Evidence<'a> {
    pub(super) revision: u64,
    pub(super) kube_system_uid: Option<&'a str>,
    /// The raft entries that it has applied since its cluster began.
    pub(super) raft_applied_index: u64,
}

/// Why it is not `snapshot` restored; `None` if it is. Where this run did the bootstrap, `mine`,
/// the node's own word counts; otherwise there must be a trace of a restore.
///
/// Every new revision takes a raft entry, and a restore begins a new raft log at the old revision.
/// So a cluster with fewer entries than revisions was restored, and one that never was has at least
/// as many.
pub(super) fn difference(
    found: &Evidence<'_>,
    snapshot: &SnapshotFacts,
    mine: bool,
) -> Option<String> {
    let wanted = snapshot.kube_system_uid.as_deref();
    if let (Some(wanted), Some(found)) = (wanted, found.kube_system_uid)
        && wanted != found
    {
        return Some(format!(
            "its namespace kube-system has the UID {found}, the snapshot's has {wanted}: it is another \
             cluster"
        ));
    }
    if !mine && wanted.is_some() && found.kube_system_uid.is_none() {
        return Some("it has no namespace kube-system: it is a new, empty cluster".to_owned());
    }
    if found.revision < snapshot.revision {
        return Some(format!(
            "it is at revision {}, the snapshot is at {}",
            found.revision, snapshot.revision
        ));
    }
    if mine {
        return None;
    }
    if found.raft_applied_index >= snapshot.revision {
        return Some(format!(
            "it is at revision {}, and nothing shows that it was restored: it may never have been lost",
            found.revision
        ));
    }
    let at_least = found.revision.saturating_sub(found.raft_applied_index);
    (at_least > snapshot.revision).then(|| {
        format!(
            "it was restored from a newer snapshot, of revision {at_least} or later; this one is of {}",
            snapshot.revision
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn judge(revision: u64, uid: Option<&str>, raft: u64, mine: bool) -> Option<String> {
        let snapshot = SnapshotFacts {
            restore_point: None,
            bytes: 1,
            sha256: Digest::of(b""),
            revision: 1000,
            kube_system_uid: Some("u".to_owned()),
            storage_version: None,
            etcd_version: None,
            talos_version: None,
            cluster: None,
            encryption_prefixes: Vec::new(),
            raw: false,
        };
        let found = Evidence {
            revision,
            kube_system_uid: uid,
            raft_applied_index: raft,
        };
        difference(&found, &snapshot, mine)
    }

    #[test]
    fn a_restored_cluster_is_told_from_one_that_was_never_lost() {
        assert_eq!(judge(1000, Some("u"), 5, false), None);
        assert_eq!(judge(1040, Some("u"), 60, false), None);
        let live = judge(1040, Some("u"), 1100, false).unwrap();
        assert!(live.contains("never have been lost"), "{live}");
        let newer = judge(5040, Some("u"), 60, false).unwrap();
        assert!(newer.contains("newer snapshot"), "{newer}");
    }

    #[test]
    fn other_clusters_and_older_revisions_are_no_success() {
        assert!(judge(1000, Some("v"), 5, true).unwrap().contains("another"));
        assert!(judge(3, None, 5, false).unwrap().contains("empty cluster"));
        assert!(judge(3, None, 5, true).unwrap().contains("revision 3"));
        assert!(judge(999, Some("u"), 5, true).unwrap().contains("999"));
        assert_eq!(judge(1000, Some("u"), 5000, true), None);
    }
}
