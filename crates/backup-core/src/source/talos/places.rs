//! Where a talosconfig says that a cluster is. Connects to nothing and keeps no certificate.

use std::net::IpAddr;

use super::config::{Context, Overrides, TalosConfigError};
use super::search::ConfigSearch;
use crate::source::endpoint::Endpoint;

/// The names in one context of a talosconfig.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The file.
    pub file: String,
    /// The context.
    pub context: String,
    /// Where to connect.
    pub endpoints: Vec<String>,
    /// Those of the endpoints that are addresses, without port.
    pub addresses: Vec<IpAddr>,
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
        Ok(Self::of(Context::load(&search.find()?, &overrides).await?))
    }

    /// The same without a runtime.
    ///
    /// # Errors
    /// As [`Places::read`].
    pub fn read_now(
        search: &ConfigSearch,
        context: Option<&str>,
    ) -> Result<Self, TalosConfigError> {
        let overrides = Overrides {
            context,
            ..Overrides::default()
        };
        Ok(Self::of(Context::load_now(&search.find()?, &overrides)?))
    }

    fn of(context: Context) -> Self {
        Self {
            file: context.file,
            context: context.name,
            addresses: context.endpoints.iter().filter_map(Endpoint::ip).collect(),
            endpoints: context.endpoints.iter().map(ToString::to_string).collect(),
            nodes: context.nodes,
        }
    }
}
