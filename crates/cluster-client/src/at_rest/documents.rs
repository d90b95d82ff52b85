//! Documents of configuration files, reduced to the fields in use. Keys themselves are not kept.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::yaml::or_default;

/// Kind of a document; the oldest document of a machine configuration has none.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DocumentKind {
    pub(super) kind: Option<String>,
}

/// Document without a kind: the first one of a machine configuration, or a bundle of secrets as
/// `talosctl gen secrets` writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RootDocument {
    pub(super) machine: Option<MachineSection>,
    #[serde(alias = "Cluster")]
    pub(super) cluster: Option<ClusterSection>,
    #[serde(alias = "Secrets")]
    pub(super) secrets: Option<SecretsBundle>,
    /// Text of the file, if it is a resource as `talosctl get` prints it.
    pub(super) spec: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct MachineSection {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClusterSection {
    #[serde(alias = "Id")]
    pub(super) id: Option<String>,
    pub(super) cluster_name: Option<String>,
    pub(super) secretbox_encryption_secret: SecretPresence,
    pub(super) aescbc_encryption_secret: SecretPresence,
    pub(super) etcd: Option<EtcdSection>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct EtcdSection {
    pub(super) image: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SecretsBundle {
    #[serde(
        rename = "secretboxencryptionsecret",
        alias = "SecretboxEncryptionSecret"
    )]
    pub(super) secretbox_encryption_secret: SecretPresence,
    #[serde(rename = "aescbcencryptionsecret", alias = "AESCBCEncryptionSecret")]
    pub(super) aescbc_encryption_secret: SecretPresence,
}

/// Document `DiscoveryIdentityConfig`, since Talos 1.14.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DiscoveryIdentity {
    #[serde(rename = "clusterID")]
    pub(super) cluster_id: Option<String>,
}

/// Document `KubeClusterConfig`, since Talos 1.14.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct KubeCluster {
    pub(super) cluster_name: Option<String>,
}

/// Document `KubeEtcdEncryptionConfig`, since Talos 1.14.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct EtcdEncryption {
    #[serde(deserialize_with = "or_default")]
    pub(super) config: Encryption,
}

/// An API server's `EncryptionConfiguration`, or the part of it that Talos keeps.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Encryption {
    #[serde(deserialize_with = "or_default")]
    pub(super) resources: Vec<Resources>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Resources {
    #[serde(deserialize_with = "or_default")]
    pub(super) providers: Vec<Provider>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) secretbox: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) aesgcm: Option<Keys>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Keys {
    #[serde(deserialize_with = "or_default")]
    pub(super) keys: Vec<IgnoredAny>,
}

/// Whether a secret is present and not empty. Its value is not kept.
#[derive(Default, Clone, Copy)]
pub(super) struct SecretPresence(pub(super) bool);

impl<'de> Deserialize<'de> for SecretPresence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PresenceVisitor;
        impl<'de> Visitor<'de> for PresenceVisitor {
            type Value = SecretPresence;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretPresence, E> {
                Ok(SecretPresence(!text.trim().is_empty()))
            }

            fn visit_unit<E>(self) -> Result<SecretPresence, E> {
                Ok(SecretPresence(false))
            }

            fn visit_bool<E>(self, _: bool) -> Result<SecretPresence, E> {
                Ok(SecretPresence(false))
            }

            // YAML reads a secret of digits only as a number.
            fn visit_u64<E>(self, _: u64) -> Result<SecretPresence, E> {
                Ok(SecretPresence(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<SecretPresence, E> {
                Ok(SecretPresence(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<SecretPresence, E> {
                Ok(SecretPresence(true))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<SecretPresence, A::Error> {
                while all.next_element::<IgnoredAny>()?.is_some() {}
                Ok(SecretPresence(false))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<SecretPresence, A::Error> {
                while all.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(SecretPresence(false))
            }
        }
        deserializer.deserialize_any(PresenceVisitor)
    }
}
