//! Names of clusters, components and restore points, parsed where they enter the program.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Error for a name that is not allowed; contains the name and the rule.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a {what}: {allowed}")]
pub struct ParseNameError {
    what: &'static str,
    text: String,
    allowed: &'static str,
}

macro_rules! text_name {
    ($name:ident) => {
        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "minLength": 1 })
            }
        }
    };
}

fn is_dns_label(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Name that operators gave a cluster: a DNS label of at most 63 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);
text_name!(ClusterName);

impl FromStr for ClusterName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_dns_label(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseNameError {
            what: "cluster name",
            text: text.to_owned(),
            allowed: "use 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends",
        })
    }
}

/// Part of a restore point: `etcd`, `crds`, `resources`, `datastore/NAME` and so on.
///
/// A DNS label, or a DNS label and a DNS subdomain separated by a slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentName(String);
text_name!(ComponentName);

macro_rules! components {
    ($($(#[$doc:meta])* $function:ident = $text:literal;)*) => {
        impl ComponentName {
            $($(#[$doc])*
            #[must_use]
            pub fn $function() -> Self {
                Self($text.to_owned())
            })*
        }
    };
}

components! {
    /// The cluster's own etcd.
    etcd = "etcd";
    /// All CustomResourceDefinitions.
    crds = "crds";
    /// Custom resources and the built-in kinds around them, except Secrets and ConfigMaps.
    resources = "resources";
    /// The private keys that sealed-secrets decrypts with.
    sealed_secrets = "sealed-secrets";
    /// Kubeconfigs of tenants and of the management cluster.
    kubeconfigs = "kubeconfigs";
    /// Secrets and ConfigMaps: those of Butler's namespaces and those that resources point at.
    secrets = "secrets";
    /// The machine configuration of a control plane node, which holds the cluster's secrets.
    machine_config = "machine-config";
    /// Files that an operator gave.
    kit = "kit";
    /// All tenant databases together, in a request that names components.
    datastores = "datastores";
}

impl ComponentName {
    /// Prefix of the name of every tenant database.
    pub const DATASTORE: &str = "datastore/";

    /// Returns the component for the tenant database of the DataStore `name`.
    ///
    /// # Errors
    /// When `name` is not a DNS subdomain.
    pub fn datastore(name: &str) -> Result<Self, ParseNameError> {
        format!("{}{name}", Self::DATASTORE).parse()
    }

    /// Returns the DataStore's name if this is a tenant database.
    #[must_use]
    pub fn datastore_name(&self) -> Option<&str> {
        self.0.strip_prefix(Self::DATASTORE)
    }
}

impl FromStr for ComponentName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, rest) = text.split_once('/').unwrap_or((text, "x"));
        if is_dns_label(first) && is_dns_subdomain(rest) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseNameError {
            what: "component",
            text: text.to_owned(),
            allowed: "use a word like `etcd`, or two with a slash like `datastore/main`",
        })
    }
}

/// Id of a restore point: the start of its run in UTC, to the millisecond, and the first 12 hex digits of its
/// manifest's digest, as in `20261123t124500000z-1a2b3c4d5e6f`.
///
/// Ordered by time, so that the greatest id is the latest restore point.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestorePointId(String);
text_name!(RestorePointId);

/// Number of hex digits of the manifest's digest in an id.
const ID_DIGITS: usize = 12;
/// Length of the time in an id.
const ID_TIME: usize = "20261123t124500000z".len();

impl RestorePointId {
    /// Returns the id of the manifest with `digest`, whose run began at `began`.
    #[must_use]
    pub fn new(began: Timestamp, digest: Digest) -> Self {
        let mut digits = digest.to_string();
        digits.truncate(ID_DIGITS);
        Self(format!("{}-{digits}", time_text(began)))
    }

    /// Returns the time in the id, as in `20261123t124500000z`.
    #[must_use]
    pub fn time_text(&self) -> &str {
        self.0.get(..ID_TIME).unwrap_or(&self.0)
    }

    /// Returns when the run began, to the millisecond; `None` only for a date that does not exist.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        let (seconds, millis) = self.time_text().split_at_checked(ID_TIME.checked_sub(4)?)?;
        let civil = jiff::civil::DateTime::strptime("%Y%m%dt%H%M%S", seconds).ok()?;
        let millis: i32 = millis.strip_suffix('z')?.parse().ok()?;
        let civil = civil
            .with()
            .subsec_nanosecond(millis.checked_mul(1_000_000)?)
            .build()
            .ok()?;
        Some(civil.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
    }

    /// Reports whether this id was made from `digest`.
    #[must_use]
    pub fn names(&self, digest: Digest) -> bool {
        digest.to_string().get(..ID_DIGITS) == self.0.get(ID_TIME + 1..)
    }
}

/// Formats a time for ids and keys: sortable, without `:`, which some stores refuse in keys.
#[must_use]
pub fn time_text(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::UTC)
        .strftime("%Y%m%dt%H%M%S%3fz")
        .to_string()
}

impl FromStr for RestorePointId {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseNameError {
            what: "restore point id",
            text: text.to_owned(),
            allowed: "it looks like `20261123t124500000z-1a2b3c4d5e6f`",
        };
        let (time, digits) = text.split_once('-').ok_or_else(error)?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let id = Self(text.to_owned());
        if time.len() != ID_TIME || digits.len() != ID_DIGITS || !digits.bytes().all(hex) {
            return Err(error());
        }
        id.began().ok_or_else(error)?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_where_they_enter() {
        for good in ["a", "butler-mgmt", "c1"] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
        for good in ["etcd", "datastore/main", "datastore/eu.main-1"] {
            assert_eq!(good.parse::<ComponentName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "../x",
            "a/..",
            "a.b",
            "datastore/a..b",
        ] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_restore_point_id_carries_its_time_and_digest() {
        let began: Timestamp = "2026-11-23T12:45:00.0004Z".parse().unwrap();
        let digest = Digest::of(b"manifest");
        let id = RestorePointId::new(began, digest);
        assert!(id.as_str().starts_with("20261123t124500000z-"), "{id}");
        assert_eq!(id.as_str().parse::<RestorePointId>().unwrap(), id);
        assert_eq!(id.began(), Some("2026-11-23T12:45:00Z".parse().unwrap()));
        assert!(id.names(digest));
        assert!(!id.names(Digest::of(b"other")));
        for bad in [
            "",
            "latest",
            "20261323t124500000z-1a2b3c4d5e6f",
            "20261123t124500000z-1A2b3c4d5e6f",
        ] {
            assert!(bad.parse::<RestorePointId>().is_err(), "{bad}");
        }
    }
}
