//! Data read from values: etcd keys, the cluster's identity, the encryption of Secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher as _;

use prost::Message as _;
use serde::Deserialize;

use super::revision::Revision;
use super::wire::{self, Field};

/// etcd key of the namespace whose UID identifies the cluster.
pub(super) const KUBE_SYSTEM: &[u8] = b"/registry/namespaces/kube-system";
const SECRETS: &[u8] = b"/registry/secrets/";

/// Returns a hash of an etcd key. 59 bits of it are used: among ten million keys two collide with a
/// probability of one in ten thousand, and the count would be one too low.
pub(super) fn fingerprint(etcd_key: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(etcd_key);
    hasher.finish()
}

/// Returns the name in an etcd user or role, which is its first field.
pub(super) fn name(mut value: &[u8]) -> Option<&[u8]> {
    match wire::next(&mut value) {
        Some((1, Field::Bytes(name))) => Some(name),
        _ => None,
    }
}

/// Ways in which Secrets are encrypted: a small number for each way, in the order found.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Vec<String>);

impl Prefixes {
    /// Number for a value that is not a Secret.
    pub(super) const NONE: u8 = 0;
    /// Number for a Secret that is not encrypted.
    pub(super) const PLAIN: u8 = 1;
    /// Number for a Secret encrypted in a way without its own number.
    const OTHER: u8 = 15;
    /// Numbers of the ways that are listed.
    pub(super) const NUMBERED: std::ops::Range<u8> = 2..Self::OTHER;
    /// Largest number of ways, numbered from 2. A cluster has one, or two while a key is rotated.
    const MOST: usize = 13;
    /// Longest prefix that is listed.
    const LEN: usize = 256;

    /// Returns the number of the way in which the object under this etcd key is encrypted.
    pub(super) fn of(&mut self, etcd_key: &[u8], object: &[u8]) -> u8 {
        if object.is_empty() || !etcd_key.starts_with(SECRETS) {
            return Self::NONE;
        }
        let Some(prefix) = Self::prefix(object) else {
            return Self::PLAIN;
        };
        let known = self.0.iter().position(|known| known == prefix);
        let at = known.or_else(|| {
            let room = self.0.len() < Self::MOST;
            room.then(|| {
                self.0.push(prefix.to_owned());
                self.0.len().saturating_sub(1)
            })
        });
        at.and_then(|at| u8::try_from(at.saturating_add(2)).ok())
            .unwrap_or(Self::OTHER)
    }

    /// Returns `k8s:enc:PROVIDER:VERSION:KEY`, which kube-apiserver writes before the ciphertext.
    fn prefix(object: &[u8]) -> Option<&str> {
        let head = object.get(..Self::LEN).unwrap_or(object);
        let rest = head.strip_prefix(b"k8s:enc:")?;
        let third = rest
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| byte == b':')
            .nth(2);
        let end = third.map_or(0, |(at, _)| at).saturating_add(8);
        let text = std::str::from_utf8(head.get(..end)?).ok()?;
        if text.chars().all(|c| c.is_ascii_graphic()) {
            Some(text)
        } else {
            Some("k8s:enc:")
        }
    }

    /// Adds the text of a number from [`Prefixes::of`].
    pub(super) fn add(&self, number: u8, to: &mut BTreeSet<String>) {
        let at = usize::from(number).checked_sub(2);
        if let Some(text) = at.and_then(|at| self.0.get(at)) {
            to.insert(text.clone());
        }
    }
}

/// First folder of etcd keys, as in `/registry/…` or `/tenant_one/…`: a number for each folder, in the order
/// found.
#[derive(Debug)]
pub(super) struct Folders {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
}

impl Default for Folders {
    fn default() -> Self {
        let mut folders = Self {
            names: Vec::new(),
            numbers: HashMap::new(),
        };
        // The folder of Kubernetes is the first, so that it takes no memory.
        folders.number("registry");
        folders
    }
}

impl Folders {
    /// Folder of all keys of a Kubernetes cluster.
    pub(super) const FIRST: u16 = 0;
    /// Number for all folders that are not listed.
    pub(super) const OTHER: u16 = u16::MAX;
    /// Largest number of folders that are listed. A datastore has one for each tenant.
    pub(super) const MOST: usize = 4096;
    /// Longest name that is listed; a tenant's has at most 127 characters.
    const LEN: usize = 256;

    /// Returns the number of the key's folder; a key in no folder is in the folder with the empty name.
    pub(super) fn of(&mut self, etcd_key: &[u8]) -> u16 {
        let inner = etcd_key.strip_prefix(b"/").unwrap_or_default();
        let slash = inner.iter().position(|byte| *byte == b'/').unwrap_or(0);
        let name = inner.get(..slash).unwrap_or_default();
        match std::str::from_utf8(name) {
            Ok(name) if name.len() <= Self::LEN && !name.contains(char::is_control) => {
                self.number(name)
            }
            _ => Self::OTHER,
        }
    }

    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let room = self.names.len() < Self::MOST;
        match u16::try_from(self.names.len()) {
            Ok(number) if room => {
                self.names.push(name.to_owned());
                self.numbers.insert(name.to_owned(), number);
                number
            }
            _ => Self::OTHER,
        }
    }

    /// Returns the folders that have keys, with `counts` in the order of numbers.
    pub(super) fn by_name(self, counts: &[u64]) -> BTreeMap<String, u64> {
        let counted = self.names.into_iter().zip(counts.iter().copied());
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

/// Revision of the namespace `kube-system`, on a page that may be freed.
#[derive(Debug)]
pub(super) struct NamespaceRevision {
    pub(super) page: u64,
    uid: Option<String>,
}

impl NamespaceRevision {
    /// Largest number of pages on which candidates are remembered. The namespace is hardly ever written; more
    /// candidates come from copies on freed pages.
    const MOST: usize = 16 << 10;

    /// Adds the last candidate of each page. Pages come in increasing order.
    pub(super) fn note(all: &mut Vec<Self>, page: u64, revision: Revision, object: &[u8]) {
        if all.last().is_some_and(|last| last.page == page) {
            all.pop();
        }
        if all.len() < Self::MOST {
            let object = (!revision.tombstone).then_some(object);
            all.push(Self {
                page,
                uid: object.and_then(uid),
            });
        }
    }

    /// Returns the UID, unless the revision deleted the namespace.
    pub(super) fn uid(&self) -> Option<String> {
        self.uid.clone()
    }
}

/// Envelope of objects stored by Kubernetes.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

/// Beginning of any stored Kubernetes object.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
struct KubernetesObject {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMetadata>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
struct ObjectMetadata {
    #[prost(string, tag = "5")]
    uid: String,
}

/// Returns the UID of a Kubernetes object as stored in etcd: protobuf or JSON. `None` if it is encrypted.
pub fn uid(object: &[u8]) -> Option<String> {
    let object = match object.strip_prefix(b"k8s\0") {
        Some(wrapped) => {
            KubernetesObject::decode(Envelope::decode(wrapped).ok()?.raw.as_slice()).ok()?
        }
        None => serde_json::from_slice(object).ok()?,
    };
    let uid = object.metadata?.uid;
    let sound = (1..=64).contains(&uid.len()) && uid.chars().all(|c| c.is_ascii_graphic());
    sound.then_some(uid)
}
