//! Which encryption at rest a configuration file holds the key of.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;

/// What of a machine configuration, or of an API server's EncryptionConfiguration, matters. Keys
/// themselves are passed over.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    machine: Option<Machine>,
    cluster: Option<Cluster>,
    kind: Option<String>,
    resources: Option<Vec<Resources>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Machine {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Cluster {
    id: Option<String>,
    cluster_name: Option<String>,
    secretbox_encryption_secret: Option<IgnoredAny>,
    aescbc_encryption_secret: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resources {
    providers: Vec<Provider>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Provider {
    secretbox: Option<IgnoredAny>,
    aescbc: Option<IgnoredAny>,
    aesgcm: Option<IgnoredAny>,
}

const SECRETBOX: &str = "k8s:enc:secretbox:v1:";
const AESCBC: &str = "k8s:enc:aescbc:v1:";
const AESGCM: &str = "k8s:enc:aesgcm:v1:";

/// What is known of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// What values begin with that were encrypted with its keys.
    pub(super) prefixes: BTreeSet<String>,
    /// The type of the machine, if it is a machine configuration.
    pub(super) machine: Option<String>,
    /// The name of the cluster, if it is a machine configuration.
    pub(super) cluster: Option<String>,
    /// The SHA-256 of the cluster's id, which is kept secret with the rest.
    pub(super) cluster_id: Option<Digest>,
}

/// Looks through all YAML documents of `text`; what cannot be read is like any other file.
pub(super) fn examine(text: &str) -> Known {
    let mut known = Known::default();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        // The parser cannot go on behind a fault.
        let Ok(document) = Document::deserialize(document) else {
            break;
        };
        let mut add = |has: bool, prefix: &str| {
            if has {
                known.prefixes.insert(prefix.to_owned());
            }
        };
        if let Some(cluster) = &document.cluster {
            add(cluster.secretbox_encryption_secret.is_some(), SECRETBOX);
            add(cluster.aescbc_encryption_secret.is_some(), AESCBC);
        }
        if let Some(cluster) = document.cluster {
            let id = cluster.id.map(|id| Digest::of(id.as_bytes()));
            known.cluster_id = known.cluster_id.or(id);
            known.cluster = known.cluster.or(cluster.cluster_name);
        }
        let is_config = document.kind.as_deref() == Some("EncryptionConfiguration");
        let resources = document.resources.filter(|_| is_config).unwrap_or_default();
        for provider in resources.iter().flat_map(|r| &r.providers) {
            add(provider.secretbox.is_some(), SECRETBOX);
            add(provider.aescbc.is_some(), AESCBC);
            add(provider.aesgcm.is_some(), AESGCM);
        }
        let machine = document.machine.map(|machine| machine.kind);
        known.machine = known.machine.or(machine);
    }
    known
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes(text: &str) -> Vec<String> {
        examine(text).prefixes.into_iter().collect()
    }

    #[test]
    fn a_machine_configuration_tells_its_type_and_its_providers() {
        let text = "version: v1alpha1\nmachine:\n  type: controlplane\n  token: a.b\ncluster:\n  \
                    secretboxEncryptionSecret: c2VjcmV0\n  aescbcEncryptionSecret: null\n---\n\
                    apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: cp-1\n";
        let known = examine(text);
        assert_eq!(known.machine.as_deref(), Some("controlplane"));
        assert_eq!(prefixes(text), [SECRETBOX]);
        assert!(!format!("{known:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn an_encryption_configuration_tells_its_providers() {
        let text = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n\
                    resources:\n- resources: [secrets]\n  providers:\n  - aesgcm: {keys: []}\n  - \
                    aescbc: {keys: []}\n  - identity: {}\n";
        assert_eq!(prefixes(text), [AESCBC, AESGCM]);
        let other = text.replace("EncryptionConfiguration", "Other");
        assert!(prefixes(&other).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in "\\PC{0,200}") {
            let known = examine(&text);
            prop_assert!(known.prefixes.len() <= 3);
        }
    }
}
