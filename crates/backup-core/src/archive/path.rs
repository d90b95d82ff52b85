//! Where an object lies in an archive.

use std::fmt;
use std::str::FromStr;

/// The folder that all objects lie in, as Velero has it.
pub(super) const ROOT: &str = "resources";
/// A name in a path is at most this long; Kubernetes allows 253 characters.
const MAX_SEGMENT: usize = 512;

/// A kind by its plural and group, as in `tenantclusters.butler.butlerlabs.dev` or `secrets`.
///
/// Ordered by its text, which is the order of kinds in an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    text: String,
    plural: usize,
}

impl ResourceName {
    /// The kind with this plural in this group; the core group is empty.
    #[must_use]
    pub fn new(plural: &str, group: &str) -> Self {
        let text = if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}.{group}")
        };
        Self {
            text,
            plural: plural.len(),
        }
    }

    /// Plural and group with a dot between them, or the plural alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The plural.
    #[must_use]
    pub fn plural(&self) -> &str {
        self.text.get(..self.plural).unwrap_or(&self.text)
    }

    /// The group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.text
            .get(self.plural..)
            .unwrap_or_default()
            .trim_start_matches('.')
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&str> for ResourceName {
    fn from(text: &str) -> Self {
        let (plural, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(plural, group)
    }
}

/// An object's place: `resources/PLURAL.GROUP/namespaces/NAMESPACE/NAME.json`, or
/// `resources/PLURAL.GROUP/cluster/NAME.json` without a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath {
    /// The kind.
    pub resource: ResourceName,
    /// The namespace; `None` for kinds of the whole cluster.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// A path in an archive is none that an object can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no place for an object; want `resources/PLURAL.GROUP/namespaces/NAMESPACE/NAME.json` \
     or `resources/PLURAL.GROUP/cluster/NAME.json`"
)]
pub struct ParsePathError(String);

impl ObjectPath {
    /// `NAMESPACE/NAME`, or the name alone: for messages.
    #[must_use]
    pub fn object(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource,
            namespace,
            name,
        } = self;
        match namespace {
            Some(namespace) => write!(f, "{ROOT}/{resource}/namespaces/{namespace}/{name}.json"),
            None => write!(f, "{ROOT}/{resource}/cluster/{name}.json"),
        }
    }
}

impl FromStr for ObjectPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePathError(text.chars().take(2 * MAX_SEGMENT).collect());
        let whole = |part: &&str| {
            let plain = |c: char| !c.is_control() && c != '\\';
            !part.is_empty()
                && part.len() <= MAX_SEGMENT
                && *part != "."
                && *part != ".."
                && part.chars().all(plain)
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(whole) {
            return Err(error());
        }
        let (resource, namespace, file) = match parts.as_slice() {
            [ROOT, resource, "namespaces", namespace, file] => {
                (*resource, Some((*namespace).to_owned()), *file)
            }
            [ROOT, resource, "cluster", file] => (*resource, None, *file),
            _ => return Err(error()),
        };
        let name = file.strip_suffix(".json").filter(|name| !name.is_empty());
        Ok(Self {
            resource: ResourceName::from(resource),
            namespace,
            name: name.ok_or_else(error)?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_velero_and_come_back() {
        let path = ObjectPath {
            resource: ResourceName::new("tenantclusters", "butler.butlerlabs.dev"),
            namespace: Some("team-a".to_owned()),
            name: "one".to_owned(),
        };
        let text = "resources/tenantclusters.butler.butlerlabs.dev/namespaces/team-a/one.json";
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse::<ObjectPath>().unwrap(), path);
        assert_eq!(path.resource.plural(), "tenantclusters");
        assert_eq!(path.resource.group(), "butler.butlerlabs.dev");

        let text = "resources/clusterroles.rbac.authorization.k8s.io/cluster/system:node.json";
        let path: ObjectPath = text.parse().unwrap();
        assert_eq!(path.name, "system:node");
        assert_eq!(path.to_string(), text);
        assert_eq!(ResourceName::new("secrets", "").as_str(), "secrets");
        assert_eq!(ResourceName::from("secrets").group(), "");
    }

    #[test]
    fn other_paths_are_refused() {
        for bad in [
            "",
            "metadata/version",
            "resources/secrets/namespaces/a/../b.json",
            "/resources/secrets/cluster/a.json",
            "resources/secrets/cluster/.json",
            "resources/secrets/cluster/a",
            "resources/secrets/namespaces//a.json",
            "resources/secrets/cluster/a/b.json",
        ] {
            assert!(bad.parse::<ObjectPath>().is_err(), "{bad}");
        }
    }
}
