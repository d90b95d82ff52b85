//! Path of an object in an archive.

use std::fmt;
use std::str::FromStr;

use super::name::{joined, unescaped, written};

/// Folder of all objects, as in Velero.
pub(super) const ROOT: &str = "resources";
/// Characters of an invalid path that an error quotes.
const MAX_SHOWN: usize = 1024;

/// Kind by its plural and group, as in `tenantclusters.butler.butlerlabs.dev` or `secrets`.
///
/// Ordered by its text, which is the order of kinds in an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    text: String,
    plural: usize,
}

impl ResourceName {
    /// Creates the kind with this plural in this group; the core group is empty.
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

    /// Returns the plural and the group with a dot between them, or the plural alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the plural.
    #[must_use]
    pub fn plural(&self) -> &str {
        self.text.get(..self.plural).unwrap_or(&self.text)
    }

    /// Reports whether `word` names this kind: by its plural or kind alone, or by its plural with the group.
    /// In the core group, `.` or `.core` may follow either, as in `secrets.` and `secrets.core`.
    #[must_use]
    pub fn answers_to(&self, word: &str, kind: &str) -> bool {
        let is_own = |word: &str| {
            word.eq_ignore_ascii_case(self.plural()) || word.eq_ignore_ascii_case(kind)
        };
        let of_core = word
            .strip_suffix('.')
            .or_else(|| word.strip_suffix(".core"));
        word.eq_ignore_ascii_case(self.as_str())
            || is_own(word)
            || self.group().is_empty() && of_core.is_some_and(is_own)
    }

    /// Returns the group; empty for the core group.
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

/// Path of an object: `resources/PLURAL.GROUP/namespaces/NAMESPACE/NAME.json`, or
/// `resources/PLURAL.GROUP/cluster/NAME.json` without a namespace. As text, names are escaped: see FORMAT.md.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath {
    /// Kind of the object.
    pub resource: ResourceName,
    /// Namespace; `None` for kinds of the whole cluster.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
}

/// Error for a path in an archive that no object can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a path of an object; want `resources/PLURAL.GROUP/namespaces/NAMESPACE/NAME.json` or \
     `resources/PLURAL.GROUP/cluster/NAME.json`"
)]
pub struct ParsePathError(String);

impl ObjectPath {
    /// Returns `NAMESPACE/NAME`, or the name alone, for messages.
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
        let (resource, name) = (written(resource.as_str()), written(name));
        match namespace {
            Some(namespace) => {
                let namespace = written(namespace);
                write!(f, "{ROOT}/{resource}/namespaces/{namespace}/{name}.json")
            }
            None => write!(f, "{ROOT}/{resource}/cluster/{name}.json"),
        }
    }
}

impl FromStr for ObjectPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePathError(text.chars().take(MAX_SHOWN).collect());
        let parts = joined(text);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (resource, namespace, file) = match parts.as_slice() {
            [ROOT, resource, "namespaces", namespace, file] => (*resource, Some(*namespace), *file),
            [ROOT, resource, "cluster", file] => (*resource, None, *file),
            _ => return Err(error()),
        };
        let name = file.strip_suffix(".json").ok_or_else(error)?;
        let name_of = |part: &str| unescaped(part).ok_or_else(error);
        Ok(Self {
            resource: ResourceName::from(name_of(resource)?.as_str()),
            namespace: namespace.map(name_of).transpose()?,
            name: name_of(name)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn the_core_kind_has_a_name_of_its_own() {
        let (core, vault) = (
            ResourceName::from("secrets"),
            ResourceName::from("secrets.vault.example.io"),
        );
        for (word, of_core, of_vault) in [
            ("secrets", true, true),
            ("Secret", true, true),
            ("secrets.", true, false),
            ("secret.core", true, false),
            ("secrets.vault.example.io", false, true),
            ("secrets.vault", false, false),
            ("", false, false),
        ] {
            assert_eq!(core.answers_to(word, "Secret"), of_core, "{word}");
            assert_eq!(vault.answers_to(word, "Secret"), of_vault, "{word}");
        }
    }

    fn binding(name: &str) -> ObjectPath {
        ObjectPath {
            resource: "rolebindings.rbac.authorization.k8s.io".into(),
            namespace: Some("team-a".to_owned()),
            name: name.to_owned(),
        }
    }

    #[test]
    fn names_are_escaped_where_a_path_could_not_hold_them() {
        for (name, file) in [
            ("DOM\\user", "DOM%5Cuser.json"),
            ("a\nb\tc\u{7f}\u{85}\0", "a%0Ab%09c%7F%C2%85%00.json"),
            ("a%2Fb", "a%252Fb.json"),
            ("Ünï:Code …", "Ünï:Code ….json"),
            ("...", "....json"),
        ] {
            let path = binding(name);
            let text = path.to_string();
            assert_eq!(text.rsplit('/').next(), Some(file));
            assert_eq!(text.parse::<ObjectPath>().unwrap(), path);
        }
    }

    #[test]
    fn paths_that_were_written_without_escapes_are_read() {
        let folder = "resources/rolebindings.rbac.authorization.k8s.io/namespaces/team-a";
        for name in ["DOM\\user".to_owned(), "a\nb".to_owned(), "x".repeat(507)] {
            let path: ObjectPath = format!("{folder}/{name}.json").parse().unwrap();
            assert_eq!(path, binding(&name));
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_is_files_that_a_disk_takes(
            name in "[^/]{1,600}|(\\PC|[\\x00-\\x20]){1,900}|[a%\\\\]{1,900}",
        ) {
            prop_assume!(!name.contains('/') && name != "." && name != "..");
            let path = binding(&name);
            let text = path.to_string();
            prop_assert!(!text.contains(char::is_control) && !text.contains('\\'));
            prop_assert!(text.split('/').all(|part| part.len() <= 255 && !part.is_empty()));
            prop_assert_eq!(text.parse::<ObjectPath>().unwrap(), path);
        }
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
            "resources/secrets/cluster/%2e%2e.json",
            "resources/secrets/cluster/a%2fb.json",
            "resources/secrets/cluster/%ff.json",
            "resources/secrets/cluster/a%",
            "resources/secrets/cluster/a%/%/b",
        ] {
            assert!(bad.parse::<ObjectPath>().is_err(), "{bad}");
        }
    }
}
