//! Kind of objects as the API server serves it, and the path of its lists.

use backup_core::archive::ResourceName;

/// Kind as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) resource: ResourceName,
    pub(super) kind: String,
    /// Version in which it is read: the stored one, or else the one that the server prefers.
    pub(super) version: String,
    pub(super) namespaced: bool,
    /// Whether a CustomResourceDefinition defines it.
    pub(super) custom: bool,
    /// Whether an extension API server serves it.
    pub(super) aggregated: bool,
    pub(super) can_list: bool,
    /// Whether its status is written separately, at `/status`.
    pub(super) has_status: bool,
    pub(super) also_served: Vec<String>,
    pub(super) stored_version: Option<String>,
    /// Whether a webhook may convert its objects on a read: some are stored in another version.
    pub(super) converted: bool,
}

impl Kind {
    /// Returns the path of its list.
    pub(super) fn path(&self) -> String {
        let (group, plural) = (self.resource.group(), self.resource.plural());
        if group.is_empty() {
            format!("/api/{}/{plural}", self.version)
        } else {
            format!("/apis/{group}/{}/{plural}", self.version)
        }
    }

    /// Returns the kind in the other versions in which it is served, if a webhook converts its objects:
    /// an object may be stored in one of these versions, and be readable there without the webhook.
    pub(super) fn unconverted(&self) -> Vec<Self> {
        let others = self.also_served.iter().filter(|_| self.converted);
        let in_version = |version: &String| {
            let others = self.also_served.iter().chain([&self.version]);
            Self {
                version: version.clone(),
                also_served: others.filter(|v| *v != version).cloned().collect(),
                ..self.clone()
            }
        };
        others.map(in_version).collect()
    }

    /// Returns `group/version` or `version`, as objects contain it.
    pub(super) fn api_version(&self) -> String {
        let group = self.resource.group();
        if group.is_empty() {
            self.version.clone()
        } else {
            format!("{group}/{}", self.version)
        }
    }
}

/// Returns the query parameter that continues a list; empty for its start.
pub(super) fn continue_query(token: &str) -> String {
    if token.is_empty() {
        return String::new();
    }
    let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    format!("&continue={token}")
}
