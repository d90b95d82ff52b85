//! Where a talosconfig says that a cluster is. Connects to nothing and keeps no certificate.

use super::config::{Context, Overrides, TalosConfigError};
use super::search::ConfigSearch;

/// The names in one context of a talosconfig.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The file.
    pub file: String,
    /// The context.
    pub context: String,
    /// Where to connect.
    pub endpoints: Vec<String>,
    /// The nodes to speak about; may be empty, and may have workers among them.
    pub nodes: Vec<String>,
}

impl Places {
    /// Those of `context`, or of the file's own choice.
    ///
    /// # Errors
    /// When there is no talosconfig, or it cannot be used.
    pub async fn read(
        search: &ConfigSearch,
        context: Option<&str>,
    ) -> Result<Self, TalosConfigError> {
        let overrides = Overrides {
            context,
            ..Overrides::default()
        };
        let context = Context::load(&search.find()?, &overrides).await?;
        Ok(Self {
            file: context.file,
            context: context.name,
            endpoints: context.endpoints.iter().map(ToString::to_string).collect(),
            nodes: context.nodes,
        })
    }
}
