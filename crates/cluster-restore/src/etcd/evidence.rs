//! Judge of whether a running etcd is the restored snapshot. The plan and the restore both use it.

use super::plan::{Proof, SnapshotFacts};
use backup_core::digest::Digest;

/// Facts about an etcd that runs.
pub(super) struct Evidence<'a> {
    pub(super) revision: u64,
    /// Digest over its live keys and values, if it was computed.
    pub(super) content: Option<Digest>,
    pub(super) kube_system_uid: Option<&'a str>,
    /// Raft entries that it has applied since its cluster began.
    pub(super) raft_applied_index: u64,
}

/// Returns why the etcd is not the restored `snapshot`; `None` if it is.
///
/// The etcd is the restored snapshot if it holds the same revision and, at that revision, the same
/// keys and values. If it was written to since, its content proves nothing: it may never have been
/// lost, or be of another snapshot. Then there must be a proof that this restore brought it back.
/// Every revision takes a raft entry, so an etcd that was restored from a newer snapshot since is
/// still detected.
pub(super) fn difference(
    found: &Evidence<'_>,
    snapshot: &SnapshotFacts,
    proof: Option<Proof>,
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
    if proof != Some(Proof::Accepted) && wanted.is_some() && found.kube_system_uid.is_none() {
        return Some("it has no namespace kube-system: it is a new, empty cluster".to_owned());
    }
    if found.revision < snapshot.revision {
        return Some(format!(
            "it is at revision {}, the snapshot is at {}",
            found.revision, snapshot.revision
        ));
    }
    if found.revision == snapshot.revision
        && let (Some(content), Some(wanted)) = (found.content, snapshot.content)
    {
        return (content != wanted).then(|| {
            format!(
                "it is at the snapshot's revision {}, but its keys and values are different",
                found.revision
            )
        });
    }
    if proof.is_none() {
        return Some(if found.revision > snapshot.revision {
            format!(
                "it is at revision {} and the snapshot at {}, and nothing proves that this restore \
                 brought it back: it may never have been lost, or be of another snapshot",
                found.revision, snapshot.revision
            )
        } else {
            format!(
                "it is at the snapshot's revision {}, and its keys and values cannot be compared",
                found.revision
            )
        });
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

    const ASKED: Option<Proof> = Some(Proof::Asked);
    const ACCEPTED: Option<Proof> = Some(Proof::Accepted);

    fn judge(
        revision: u64,
        content: &str,
        uid: Option<&str>,
        raft: u64,
        proof: Option<Proof>,
    ) -> Option<String> {
        let snapshot = SnapshotFacts {
            restore_point: None,
            bytes: 1,
            sha256: Digest::of(b""),
            revision: 1000,
            content: Some(Digest::of(b"the snapshot's")),
            kube_system_uid: Some("u".to_owned()),
            storage_version: None,
            etcd_version: None,
            talos_version: None,
            cluster: None,
            encryption_prefixes: Vec::new(),
            raw: false,
            torn: Vec::new(),
        };
        let found = Evidence {
            revision,
            content: Some(Digest::of(content.as_bytes())),
            kube_system_uid: uid,
            raft_applied_index: raft,
        };
        difference(&found, &snapshot, proof)
    }

    #[test]
    fn what_holds_the_snapshots_content_is_it_and_nothing_else_without_a_proof() {
        assert_eq!(judge(1000, "the snapshot's", Some("u"), 5, None), None);
        // Restored at 950, written to up to 1000, and then most of it deleted in one revision: fewer
        // raft entries than revisions, and not this snapshot.
        let deleted = judge(1001, "some", Some("u"), 60, None).unwrap();
        assert!(deleted.contains("nothing proves"), "{deleted}");
        let live = judge(1040, "more", Some("u"), 1100, None).unwrap();
        assert!(live.contains("never have been lost"), "{live}");
        let same_revision = judge(1000, "other", Some("u"), 5, None).unwrap();
        assert!(same_revision.contains("keys and values are different"));
        // A proof does not help if the content can be compared.
        assert!(judge(1000, "other", Some("u"), 5, ACCEPTED).is_some());
    }

    #[test]
    fn what_was_written_to_since_is_believed_with_a_proof() {
        for proof in [ASKED, ACCEPTED] {
            assert_eq!(judge(1040, "more", Some("u"), 60, proof), None);
            assert_eq!(judge(1040, "more", Some("u"), 5000, proof), None);
            let newer = judge(5040, "more", Some("u"), 60, proof).unwrap();
            assert!(newer.contains("newer snapshot"), "{newer}");
        }
    }

    #[test]
    fn other_clusters_and_older_revisions_are_no_success() {
        let another = judge(1000, "x", Some("v"), 5, ACCEPTED).unwrap();
        assert!(another.contains("another"), "{another}");
        for proof in [None, ASKED] {
            let empty = judge(3, "x", None, 5, proof).unwrap();
            assert!(empty.contains("empty cluster"), "{empty}");
        }
        assert!(
            judge(3, "x", None, 5, ACCEPTED)
                .unwrap()
                .contains("revision 3")
        );
        assert!(
            judge(999, "x", Some("u"), 5, ACCEPTED)
                .unwrap()
                .contains("999")
        );
    }
}
