//! Buckets of etcd, and checks that etcd can decode their entries when it starts.

use serde::Deserialize;

use super::revision::Revision;
use super::wire::{self, Field};

/// Elements of bucket `meta` that are kept.
pub(super) const COMPACTED: &[u8] = b"finishedCompactRev";
pub(super) const VERSION: &[u8] = b"storageVersion";
/// Element of bucket `auth` that is kept.
pub(super) const AUTH: &[u8] = b"authEnabled";
/// Element of bucket `cluster` that is kept.
pub(super) const CLUSTER_VERSION: &[u8] = b"clusterVersion";

/// Role of a tree in etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BucketRole {
    /// Bucket of buckets.
    Root,
    Key,
    Meta,
    Lease,
    Alarm,
    Cluster,
    Members,
    Removed,
    Auth,
    Users,
    Roles,
    Other,
}

impl BucketRole {
    /// Buckets that etcd creates when it starts, before it serves clients.
    pub(super) const MADE: [Self; 10] = [
        Self::Key,
        Self::Meta,
        Self::Lease,
        Self::Alarm,
        Self::Cluster,
        Self::Members,
        Self::Removed,
        Self::Auth,
        Self::Users,
        Self::Roles,
    ];

    /// Returns the role of the tree with this name in the root.
    pub(super) fn named(name: &[u8]) -> Self {
        let made = Self::MADE.into_iter();
        let mut found = made.filter(|role| role.name().as_bytes() == name);
        found.next().unwrap_or(Self::Other)
    }

    /// Returns the name of the bucket.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "(all buckets)",
            Self::Key => "key",
            Self::Meta => "meta",
            Self::Lease => "lease",
            Self::Alarm => "alarm",
            Self::Cluster => "cluster",
            Self::Members => "members",
            Self::Removed => "members_removed",
            Self::Auth => "auth",
            Self::Users => "authUsers",
            Self::Roles => "authRoles",
            Self::Other => "(unknown)",
        }
    }

    fn bit(self) -> u16 {
        let made = Self::MADE.into_iter().position(|role| role == self);
        let at = match self {
            Self::Root => 10,
            Self::Other => 11,
            _ => made.unwrap_or(11),
        };
        1_u16
            .checked_shl(u32::try_from(at).unwrap_or(11))
            .unwrap_or(0)
    }

    fn fits(self, bucket: bool, key: &[u8], value: &[u8]) -> bool {
        if matches!(self, Self::Root | Self::Other) {
            return bucket || self == Self::Other;
        }
        !bucket
            && match self {
                Self::Root | Self::Other => true,
                // See `super::entry`.
                Self::Key => false,
                Self::Meta => meta(key, value),
                Self::Lease => lease(key, value),
                Self::Alarm => alarm(key) && value.is_empty(),
                Self::Cluster => cluster(key, value),
                Self::Members => member(key, value),
                Self::Removed => member_id(key).is_some(),
                Self::Auth => auth(key, value),
                Self::Users => user(key, value),
                Self::Roles => role(key, value),
            }
    }
}

/// Buckets whose entries a leaf may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketSet(pub(super) u16);

impl BucketSet {
    /// All buckets, as for a leaf without entries.
    pub(super) const ALL: Self = Self((1 << 12) - 1);

    /// Removes the buckets that cannot have such an entry.
    pub(super) fn narrow(&mut self, bucket: bool, key: &[u8], value: &[u8]) {
        for role in BucketRole::MADE.into_iter().chain([BucketRole::Root]) {
            if self.has(role) && !role.fits(bucket, key, value) {
                self.0 &= !role.bit();
            }
        }
    }

    pub(super) fn has(self, role: BucketRole) -> bool {
        self.0 & role.bit() != 0
    }
}

fn meta(key: &[u8], value: &[u8]) -> bool {
    match key {
        b"consistent_index" | b"term" => value.len() == 8,
        b"scheduledCompactRev" | COMPACTED => {
            Revision::read(value).is_some_and(|revision| !revision.tombstone)
        }
        // etcd has written it since 3.6, and knows no schema change before that.
        VERSION => EtcdVersion::read(value).is_some_and(|version| version >= EtcdVersion(3, 6)),
        b"confState" => serde_json::from_slice::<Option<ConfState>>(value).is_ok(),
        _ => true,
    }
}

fn lease(key: &[u8], value: &[u8]) -> bool {
    let mut id = 0;
    let whole = wire::all(value, |tag, field| match (tag, field) {
        (1, Field::Number(number)) => {
            id = number;
            true
        }
        (2 | 3, Field::Number(_)) | (4.., _) => true,
        _ => false,
    });
    whole && key == id.to_be_bytes()
}

fn alarm(key: &[u8]) -> bool {
    wire::all(key, |tag, field| {
        tag > 2 || matches!(field, Field::Number(_))
    })
}

fn cluster(key: &[u8], value: &[u8]) -> bool {
    match key {
        CLUSTER_VERSION => EtcdVersion::read(value).is_some(),
        b"downgrade" => match serde_json::from_slice::<Option<Downgrade>>(value) {
            Ok(Some(downgrade)) if downgrade.enabled == Some(true) => {
                let target = downgrade.target_version.unwrap_or_default();
                EtcdVersion::read(target.as_bytes()).is_some()
            }
            Ok(_) => true,
            Err(_) => false,
        },
        _ => true,
    }
}

fn member_id(key: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(key).ok()?;
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| hex)
}

fn member(key: &[u8], value: &[u8]) -> bool {
    let member = serde_json::from_slice::<Member>(value);
    member.is_ok_and(|member| Some(member.id) == member_id(key))
}

fn auth(key: &[u8], value: &[u8]) -> bool {
    match key {
        AUTH => matches!(value, [0 | 1]),
        b"authRevision" => value.len() == 8,
        _ => true,
    }
}

fn user(key: &[u8], value: &[u8]) -> bool {
    let mut name: &[u8] = &[];
    let whole = wire::all(value, |tag, field| match (tag, field) {
        (1, Field::Bytes(bytes)) => {
            name = bytes;
            true
        }
        (4, Field::Bytes(options)) => wire::all(options, |tag, field| {
            tag > 1 || matches!(field, Field::Number(_))
        }),
        (2 | 3, Field::Bytes(_)) | (5.., _) => true,
        _ => false,
    });
    whole && name == key
}

fn role(key: &[u8], value: &[u8]) -> bool {
    let mut name: &[u8] = &[];
    let whole = wire::all(value, |tag, field| match (tag, field) {
        (1, Field::Bytes(bytes)) => {
            name = bytes;
            true
        }
        (2, Field::Bytes(permission)) => wire::all(permission, |tag, field| match tag {
            1 => field.number().is_some(),
            2 | 3 => field.bytes().is_some(),
            _ => true,
        }),
        (3.., _) => true,
        _ => false,
    });
    whole && name == key
}

/// Major and minor version of an etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EtcdVersion(u64, u64);

impl EtcdVersion {
    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split('.').map(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        });
        let (major, minor) = (parts.next()??, parts.next()??);
        let _: u64 = parts.next()??;
        parts.next().is_none().then_some(Self(major, minor))
    }

    /// Reports whether one etcd can have written both. The storage version follows the cluster version within
    /// seconds, and an upgrade or downgrade changes one minor version.
    pub(super) fn agree(storage: Option<&[u8]>, cluster: Option<&[u8]>) -> bool {
        match (storage.and_then(Self::read), cluster.and_then(Self::read)) {
            (Some(storage), Some(cluster)) => {
                storage.0 == cluster.0 && storage.1.abs_diff(cluster.1) <= 1
            }
            // The last etcd without a storage version is 3.5, and may be about to become 3.6.
            (None, Some(cluster)) => cluster <= Self(3, 6),
            (_, None) => true,
        }
    }
}

/// `raftpb.ConfState` in etcd's form.
#[derive(Deserialize)]
struct ConfState {
    #[serde(rename = "voters")]
    _voters: Option<Vec<u64>>,
    #[serde(rename = "learners")]
    _learners: Option<Vec<u64>>,
    #[serde(rename = "voters_outgoing")]
    _voters_outgoing: Option<Vec<u64>>,
    #[serde(rename = "learners_next")]
    _learners_next: Option<Vec<u64>>,
    #[serde(rename = "auto_leave")]
    _auto_leave: Option<bool>,
}

#[derive(Deserialize)]
struct Downgrade {
    #[serde(rename = "target-version")]
    target_version: Option<String>,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Member {
    id: u64,
    #[serde(rename = "peerURLs")]
    _peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner")]
    _learner: Option<bool>,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "clientURLs")]
    _client_urls: Option<Vec<String>>,
}

#[cfg(test)]
mod tests;
