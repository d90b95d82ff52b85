//! Facts about a complete, sound snapshot, and errors for refused snapshots.

use std::collections::{BTreeMap, BTreeSet};

use super::inspect::PageFacts;
use super::trailer::Trailer;
use crate::digest::Digest;

/// Facts about a snapshot that is complete (its trailer matches) and sound (its trees can be walked, and etcd
/// can decode every entry).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Size of a bbolt page in bytes.
    pub page_size: u64,
    /// Last revision, as `etcdutl snapshot status` reports it; 0 if there is none.
    pub revision: u64,
    /// Revision up to which etcd has compacted; `None` if it never has.
    pub compact_revision: Option<u64>,
    /// Number of live distinct keys, as `etcdutl` 3.6 counts them; `None` if the snapshot has more revisions
    /// than are held in memory to count them.
    pub total_keys: Option<u64>,
    /// Digest over all live keys and values; `None` where keys are not counted. Two databases have the same
    /// digest if the same keys are live in them, each with its value, its revisions and its lease, regardless
    /// of any other content of their pages.
    pub content: Option<Digest>,
    /// Number of bytes without the trailer.
    pub total_size: u64,
    /// Number of bytes with the trailer.
    pub plain_size: u64,
    /// SHA-256 of all bytes, including the trailer.
    pub sha256: Digest,
    /// Trailer: the SHA-256 of all bytes before it.
    pub trailer: Digest,
    /// UID of the namespace `kube-system`, which identifies a Kubernetes cluster; `None` if it is absent or
    /// encrypted.
    pub kube_system_uid: Option<String>,
    /// etcd's storage version, as in `3.6.0`; absent before etcd 3.6.
    pub storage_version: Option<String>,
    /// Encryption of live Secrets: the distinct `k8s:enc:PROVIDER:VERSION:KEY` prefixes of their values. At
    /// most 13 are listed.
    pub encryption_prefixes: BTreeSet<String>,
    /// Number of live Secrets that are not encrypted.
    pub plain_secrets: u64,
    /// Owners of the keys in it.
    pub contents: Contents,
    /// Live objects that API servers cannot decode.
    pub torn: TornObjects,
}

/// Objects with values that are cut off or overwritten inside; etcd still starts from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TornObjects {
    /// Objects found, in the order of their keys.
    pub objects: Vec<TornObject>,
    /// Whether there may be more.
    pub more: bool,
}

/// Object whose value cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TornObject {
    /// Its key in etcd.
    pub key: String,
    /// Revision that wrote it.
    pub revision: u64,
}

impl TornObject {
    /// Returns its kind and place, as `secrets default/a`, derived from kube-apiserver's form of keys.
    #[must_use]
    pub fn object(&self) -> String {
        let mut parts = self.key.split('/').skip(2);
        let first = parts.next().unwrap_or_default();
        let kind = match first {
            "minions" => "nodes".to_owned(),
            // `services/specs/…` and `services/endpoints/…`
            "services" => match parts.next() {
                Some("endpoints") => "endpoints".to_owned(),
                _ => "services".to_owned(),
            },
            group if group.contains('.') => {
                format!("{}.{group}", parts.next().unwrap_or_default())
            }
            plural => plural.to_owned(),
        };
        let place: Vec<&str> = parts.collect();
        format!("{kind} {}", place.join("/"))
    }
}

/// Owners of the keys in a snapshot: one cluster, or many tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Live keys by the first folder of their name, as in `/FOLDER/…`; keys in no folder are under the empty
    /// name. Empty if keys were not counted: see [`SnapshotFacts::total_keys`].
    pub prefixes: BTreeMap<String, u64>,
    /// Whether there are more folders than listed: 4096, except folders with too long a name.
    pub more_prefixes: bool,
    /// Names of etcd's own users, in order.
    pub users: Vec<String>,
    /// Names of their roles, in order.
    pub roles: Vec<String>,
    /// Whether there are more users or roles than listed.
    pub more_names: bool,
    /// Whether users have to sign in.
    pub auth_enabled: bool,
}

impl SnapshotFacts {
    /// Joins the results of [`super::TrailerCheck`] and [`super::Inspector`], which may have run in two
    /// threads.
    ///
    /// # Errors
    /// The most informative error, if one of them refused the snapshot.
    pub fn join(
        trailer: Result<Trailer, SnapshotError>,
        pages: Result<PageFacts, SnapshotError>,
    ) -> Result<Self, SnapshotError> {
        let (trailer, pages) = match (trailer, pages) {
            (Ok(trailer), Ok(pages)) => (trailer, pages),
            (Err(empty @ SnapshotError::Empty), _) => return Err(empty),
            // The pages determine the expected length of the file.
            (_, Err(error @ (SnapshotError::NoMeta { .. } | SnapshotError::Truncated { .. }))) => {
                return Err(error);
            }
            (Err(error), _) | (Ok(_), Err(error)) => return Err(error),
        };
        Ok(Self {
            page_size: pages.page_size,
            revision: pages.revision,
            compact_revision: pages.compact_revision,
            total_keys: pages.total_keys,
            content: pages.content,
            total_size: trailer.size.saturating_sub(Trailer::LEN),
            plain_size: trailer.size,
            sha256: trailer.sha256_whole,
            trailer: trailer.sha256_plain,
            kube_system_uid: pages.kube_system_uid,
            storage_version: pages.storage_version,
            encryption_prefixes: pages.encryption_prefixes,
            plain_secrets: pages.plain_secrets,
            contents: pages.contents,
            torn: pages.torn,
        })
    }
}

/// Reason why a stream is not a snapshot that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The stream has no bytes.
    #[error("the etcd snapshot is empty: etcd was likely down; take it from another member")]
    Empty,
    /// The stream ended too early.
    #[error(
        "the etcd snapshot is cut off after {size} bytes{}: take it again",
        expected.map(|n| format!(" of {n}")).unwrap_or_default()
    )]
    Truncated {
        /// Number of bytes received.
        size: u64,
        /// Number of bytes required by the file's own meta page, with the trailer, if that page was received.
        expected: Option<u64>,
    },
    /// The file consists of whole pages without a trailer.
    #[error(
        "the etcd snapshot of {size} bytes has no SHA-256 trailer: it was cut off, or is a copy \
         of a member's db file; take it with `etcdctl snapshot save` or `talosctl etcd snapshot`"
    )]
    NoTrailer {
        /// Number of bytes received.
        size: u64,
    },
    /// A byte differs from what etcd sent, or some are missing.
    #[error(
        "the etcd snapshot is damaged: its trailer says SHA-256 {expected}, its {bytes} bytes \
         have {got}; take it again"
    )]
    TrailerMismatch {
        /// The SHA-256 in the trailer.
        expected: Digest,
        /// The SHA-256 of the bytes before the trailer.
        got: Digest,
        /// Number of those bytes.
        bytes: u64,
    },
    /// Neither of the first two pages is a sound meta page.
    #[error("the stream of {size} bytes is not an etcd snapshot: it has no valid bbolt meta page")]
    NoMeta {
        /// Number of bytes received.
        size: u64,
    },
    /// A tree of pages cannot be walked.
    #[error(
        "the etcd snapshot is corrupt: page {page} {what}; the member's own database has this \
         fault, so take the snapshot from another member and check this one"
    )]
    BrokenTree {
        /// The number of the page.
        page: u64,
        /// The defect.
        what: &'static str,
    },
    /// An entry on a complete page is not one that etcd can decode when it starts.
    #[error(
        "the etcd snapshot is corrupt: in bucket `{bucket}` {}page {page} {what}; etcd crashes on it when \
         it starts, or loses it; the member's own database has this fault, so take the snapshot from \
         another member and check this one",
        revision.map(|revision| format!("revision {revision} on ")).unwrap_or_default()
    )]
    BrokenEntry {
        /// The bucket of the entry.
        bucket: &'static str,
        /// The number of the page.
        page: u64,
        /// Its revision, in bucket `key`.
        revision: Option<u64>,
        /// The defect.
        what: &'static str,
    },
    /// A bucket is missing that etcd creates before it serves clients.
    #[error(
        "the etcd snapshot is corrupt: it has no bucket `{bucket}`, which every etcd has; take the \
         snapshot from another member and check this one"
    )]
    BucketMissing {
        /// The name of the bucket.
        bucket: &'static str,
    },
    /// Storage version and cluster version cannot belong to one etcd.
    #[error(
        "the etcd snapshot is corrupt: its storage version and its cluster version do not fit together, and \
         no etcd starts from it; take the snapshot from another member and check this one"
    )]
    VersionsDiffer,
    /// The file is a bbolt file, but not etcd's.
    #[error("the file is a bbolt database but not etcd's: it has no bucket `key`")]
    KeyBucketMissing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_by_its_key() {
        for (key, object) in [
            ("/registry/secrets/default/a", "secrets default/a"),
            ("/registry/minions/node-1", "nodes node-1"),
            ("/registry/services/specs/default/a", "services default/a"),
            (
                "/registry/services/endpoints/default/a",
                "endpoints default/a",
            ),
            ("/registry/clusterroles/a", "clusterroles a"),
            (
                "/registry/cluster.x-k8s.io/clusters/team-a/b",
                "clusters.cluster.x-k8s.io team-a/b",
            ),
            ("/tenant_one/configmaps/x/y", "configmaps x/y"),
            ("/a", " "),
        ] {
            let torn = TornObject {
                key: key.to_owned(),
                revision: 1,
            };
            assert_eq!(torn.object(), object);
        }
    }
}
