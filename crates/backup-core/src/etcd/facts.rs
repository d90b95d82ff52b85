//! What is known of a whole, sound snapshot, and why one is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::inspect::PageFacts;
use super::trailer::Trailer;
use crate::digest::Digest;

/// A snapshot that is whole (its trailer matches) and sound (its trees can be walked, and etcd decodes
/// every entry).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Bytes of a bbolt page.
    pub page_size: u64,
    /// The last revision, as `etcdutl snapshot status` tells it; 0 if there is none.
    pub revision: u64,
    /// The revision up to which etcd has compacted; `None` if it never has.
    pub compact_revision: Option<u64>,
    /// Live distinct keys, as `etcdutl` 3.6 counts them; `None` if the snapshot has more
    /// revisions than are held in memory to count them.
    pub total_keys: Option<u64>,
    /// A digest over all live keys and values; `None` where keys are not counted. Two databases have
    /// the same one if the same keys are live in them, each with its value, its revisions and its
    /// lease, whatever lies on their pages beside that.
    pub content: Option<Digest>,
    /// Bytes without the trailer.
    pub total_size: u64,
    /// Bytes with the trailer.
    pub plain_size: u64,
    /// Of all bytes, the trailer included.
    pub sha256: Digest,
    /// The trailer: the SHA-256 of all bytes before it.
    pub trailer: Digest,
    /// The UID of the namespace `kube-system`, by which a Kubernetes cluster is known; `None`
    /// if there is none or it is encrypted.
    pub kube_system_uid: Option<String>,
    /// etcd's storage version, as in `3.6.0`; absent before etcd 3.6.
    pub storage_version: Option<String>,
    /// What live Secrets are encrypted with: the distinct `k8s:enc:PROVIDER:VERSION:KEY` that
    /// their values begin with. At most 13 are told.
    pub encryption_prefixes: BTreeSet<String>,
    /// Live Secrets that are not encrypted.
    pub plain_secrets: u64,
    /// Whose keys are in it.
    pub contents: Contents,
    /// Live objects that no API server can decode.
    pub torn: Torn,
}

/// Objects that are cut or overwritten inside of their values; etcd starts from them all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Torn {
    /// Those that were met, in the order of their keys.
    pub objects: Vec<TornObject>,
    /// Whether there may be more.
    pub more: bool,
}

/// An object whose value cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TornObject {
    /// Its key in etcd.
    pub key: String,
    /// The revision that wrote it.
    pub revision: u64,
}

impl TornObject {
    /// Its kind and its place, as `secrets default/a`, by the way in which kube-apiserver makes keys.
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

/// Whose keys are in a snapshot: one cluster's, or those of many tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Live keys by the first folder of their name, as in `/FOLDER/…`; those in no folder are under
    /// the empty name. Empty if keys were not counted: see [`SnapshotFacts::total_keys`].
    pub prefixes: BTreeMap<String, u64>,
    /// Whether there are more folders than are told: 4096, those with too long a name left out.
    pub more_prefixes: bool,
    /// The names of etcd's own users, in order.
    pub users: Vec<String>,
    /// The names of their roles, in order.
    pub roles: Vec<String>,
    /// Whether there are more users or roles than are told.
    pub more_names: bool,
    /// Whether users have to sign in.
    pub auth_enabled: bool,
}

impl SnapshotFacts {
    /// Joins what [`super::TrailerCheck`] and [`super::Inspector`] found, which may have run on
    /// two threads.
    ///
    /// # Errors
    /// The finding that tells most, if one of them refused the snapshot.
    pub fn join(
        trailer: Result<Trailer, SnapshotError>,
        pages: Result<PageFacts, SnapshotError>,
    ) -> Result<Self, SnapshotError> {
        let (trailer, pages) = match (trailer, pages) {
            (Ok(trailer), Ok(pages)) => (trailer, pages),
            (Err(empty @ SnapshotError::Empty), _) => return Err(empty),
            // The pages know how long the file should be.
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

/// Why a stream is not a snapshot that could be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not one byte came.
    #[error("the etcd snapshot is empty: etcd was likely down; take it from another member")]
    Empty,
    /// The stream ended too early.
    #[error(
        "the etcd snapshot is cut off after {size} bytes{}: take it again",
        expected.map(|n| format!(" of {n}")).unwrap_or_default()
    )]
    Truncated {
        /// Bytes that came.
        size: u64,
        /// Bytes that the file's own meta page asks for, the trailer counted, if it came.
        expected: Option<u64>,
    },
    /// The file is whole pages and nothing behind them.
    #[error(
        "the etcd snapshot of {size} bytes has no SHA-256 trailer: it was cut off, or is a copy \
         of a member's db file; take it with `etcdctl snapshot save` or `talosctl etcd snapshot`"
    )]
    NoTrailer {
        /// Bytes that came.
        size: u64,
    },
    /// A byte is not what etcd sent, or some are missing.
    #[error(
        "the etcd snapshot is damaged: its trailer says SHA-256 {expected}, its {bytes} bytes \
         have {got}; take it again"
    )]
    TrailerMismatch {
        /// What the trailer says.
        expected: Digest,
        /// What the bytes before the trailer have.
        got: Digest,
        /// How many they are.
        bytes: u64,
    },
    /// Neither of the first two pages is a sound meta page.
    #[error("the stream of {size} bytes is not an etcd snapshot: it has no valid bbolt meta page")]
    NoMeta {
        /// Bytes that came.
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
        /// What is wrong with it.
        what: &'static str,
    },
    /// An entry on a whole page is not what etcd decodes when it starts.
    #[error(
        "the etcd snapshot is corrupt: in bucket `{bucket}` {}page {page} {what}; etcd dies of \
         it when it starts, or loses it; the member's own database has this fault, so take the \
         snapshot from another member and check this one",
        revision.map(|revision| format!("revision {revision} on ")).unwrap_or_default()
    )]
    BrokenEntry {
        /// The bucket that the entry is in.
        bucket: &'static str,
        /// The number of the page.
        page: u64,
        /// Its revision, in bucket `key`.
        revision: Option<u64>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A bucket is gone that etcd makes before it serves anybody.
    #[error(
        "the etcd snapshot is corrupt: it has no bucket `{bucket}`, which every etcd has; take the \
         snapshot from another member and check this one"
    )]
    BucketMissing {
        /// The name of the bucket.
        bucket: &'static str,
    },
    /// Storage version and cluster version cannot be of one etcd.
    #[error(
        "the etcd snapshot is corrupt: its storage version and its cluster version cannot be of one \
         etcd, and none would start from it; take the snapshot from another member and check this one"
    )]
    VersionsDiffer,
    /// A bbolt file, but not etcd's.
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
