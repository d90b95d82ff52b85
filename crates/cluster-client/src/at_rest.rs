//! Reader of a configuration file, which finds its encryption-at-rest keys and the cluster that it
//! belongs to.
//!
//! Up to Talos 1.13 the first document of a machine configuration contains all of it. From 1.14 on,
//! the cluster's id, its name and the encryption are separate documents. A file may have both.

mod documents;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use self::documents::{
    DiscoveryIdentity, DocumentKind, Encryption, EtcdEncryption, KubeCluster, Resources,
    RootDocument,
};
use crate::yaml;
use backup_core::digest::Digest;

const SECRETBOX: &str = "k8s:enc:secretbox:v1:";
const AESCBC: &str = "k8s:enc:aescbc:v1:";
const AESGCM: &str = "k8s:enc:aesgcm:v1:";

/// Facts found in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ConfigFacts {
    /// Prefixes of the values that were encrypted with its keys.
    pub(super) prefixes: BTreeSet<String>,
    /// Type of the machine, if the file is a machine configuration.
    pub(super) machine: Option<String>,
    /// Name of the cluster, if the file is a machine configuration.
    pub(super) cluster: Option<String>,
    /// SHA-256 of the cluster's id, which is a secret like the rest.
    pub(super) cluster_id: Option<Digest>,
    /// Image of etcd, if the machine configuration names one.
    pub(super) etcd_image: Option<String>,
}

/// Searches all YAML documents of `text`. A document that cannot be read yields nothing and does not
/// affect the others.
pub(super) fn examine(text: &str) -> ConfigFacts {
    let (mut known, wrapped) = examine_documents(text);
    for text in wrapped {
        let (inner, _) = examine_documents(&text);
        known.prefixes.extend(inner.prefixes);
        known.machine = known.machine.or(inner.machine);
        known.cluster = known.cluster.or(inner.cluster);
        known.cluster_id = known.cluster_id.or(inner.cluster_id);
        known.etcd_image = known.etcd_image.or(inner.etcd_image);
    }
    known
}

/// Returns the facts of the documents, and the texts embedded in them:
/// `talosctl get machineconfig --output yaml` prints the file as one value.
fn examine_documents(text: &str) -> (ConfigFacts, Vec<Zeroizing<String>>) {
    let (mut known, mut documents) = (ConfigFacts::default(), ConfigFacts::default());
    let mut wrapped = Vec::new();
    for text in split(text) {
        let Some(DocumentKind { kind }) = read(text) else {
            continue;
        };
        match kind.as_deref() {
            None => {
                let mut root: RootDocument = read(text).unwrap_or_default();
                wrapped.extend(root.spec.take().map(Zeroizing::new));
                known.root(root);
            }
            Some("EncryptionConfiguration") => {
                let Encryption { resources } = read(text).unwrap_or_default();
                known.encryption(&resources);
            }
            Some("KubeEtcdEncryptionConfig") => {
                let EtcdEncryption { config } = read(text).unwrap_or_default();
                known.encryption(&config.resources);
            }
            Some("DiscoveryIdentityConfig") => {
                let DiscoveryIdentity { cluster_id } = read(text).unwrap_or_default();
                let id = cluster_id.filter(|id| !id.is_empty());
                let id = id.map(|id| Digest::of(id.as_bytes()));
                documents.cluster_id = documents.cluster_id.or(id);
            }
            Some("KubeClusterConfig") => {
                let KubeCluster { cluster_name } = read(text).unwrap_or_default();
                let name = cluster_name.filter(|name| !name.is_empty());
                documents.cluster = documents.cluster.or(name);
            }
            Some(_) => {}
        }
    }
    // In Talos the old fields take precedence.
    known.cluster_id = known.cluster_id.or(documents.cluster_id);
    known.cluster = known.cluster.or(documents.cluster);
    (known, wrapped)
}

impl ConfigFacts {
    fn root(&mut self, root: RootDocument) {
        let machine = root.machine.and_then(|machine| machine.kind);
        self.machine = self.machine.take().or(machine);
        let cluster = root.cluster.unwrap_or_default();
        let bundle = root.secrets.unwrap_or_default();
        let secretbox = [
            cluster.secretbox_encryption_secret,
            bundle.secretbox_encryption_secret,
        ];
        self.add(secretbox.iter().any(|secret| secret.0), SECRETBOX);
        let aescbc = [
            cluster.aescbc_encryption_secret,
            bundle.aescbc_encryption_secret,
        ];
        self.add(aescbc.iter().any(|secret| secret.0), AESCBC);
        let id = cluster.id.filter(|id| !id.is_empty());
        let id = id.map(|id| Digest::of(id.as_bytes()));
        self.cluster_id = self.cluster_id.or(id);
        let name = cluster.cluster_name.filter(|name| !name.is_empty());
        self.cluster = self.cluster.take().or(name);
        let image = cluster.etcd.and_then(|etcd| etcd.image);
        let image = image.filter(|image| !image.is_empty());
        self.etcd_image = self.etcd_image.take().or(image);
    }

    fn encryption(&mut self, resources: &[Resources]) {
        for provider in resources.iter().flat_map(|r| &r.providers) {
            let has = |keys: &Option<documents::Keys>| {
                keys.as_ref().is_some_and(|keys| !keys.keys.is_empty())
            };
            self.add(has(&provider.secretbox), SECRETBOX);
            self.add(has(&provider.aescbc), AESCBC);
            self.add(has(&provider.aesgcm), AESGCM);
        }
    }

    fn add(&mut self, has: bool, prefix: &str) {
        if has {
            self.prefixes.insert(prefix.to_owned());
        }
    }
}

/// Reads a document as a `T`; returns `None` when it has another form.
fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    yaml::read(text).ok()
}

/// Splits a YAML file into its documents, each with the line that starts it. The parser alone would
/// stop at a document that it cannot read.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let begins = |line: &str| {
        let rest = line.strip_prefix("---");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let lines = rest.split_inclusive('\n');
        let mut end = 0_usize;
        for (number, line) in lines.enumerate() {
            if number > 0 && begins(line) {
                break;
            }
            end = end.saturating_add(line.len());
        }
        let (document, others) = rest.split_at_checked(end)?;
        rest = others;
        Some(document)
    })
}

#[cfg(test)]
mod tests;
