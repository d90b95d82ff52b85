//! Endpoints and nodes of a cluster, read from a talosconfig. Does not connect, and keeps no certificate.

use std::net::IpAddr;

use super::config::{Overrides, TalosConfigError, TalosContext};
use super::search::ConfigSearch;
use crate::grpc::endpoint::Endpoint;

/// Names in one context of a talosconfig.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TalosAddresses {
    /// Path of the file.
    pub file: String,
    /// Name of the context.
    pub context: String,
    /// Endpoints to connect to.
    pub endpoints: Vec<String>,
    /// Endpoints that are addresses, without port.
    pub addresses: Vec<IpAddr>,
    /// Nodes of the context; may be empty, and may include workers.
    pub nodes: Vec<String>,
}

impl TalosAddresses {
    /// Reads those of `context`, or of the file's current context.
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
        Ok(Self::of(
            TalosContext::load(&search.find()?, &overrides).await?,
        ))
    }

    /// Does the same as [`TalosAddresses::read`], without an async runtime.
    ///
    /// # Errors
    /// See [`TalosAddresses::read`].
    pub fn read_now(
        search: &ConfigSearch,
        context: Option<&str>,
    ) -> Result<Self, TalosConfigError> {
        let overrides = Overrides {
            context,
            ..Overrides::default()
        };
        Ok(Self::of(TalosContext::load_now(
            &search.find()?,
            &overrides,
        )?))
    }

    fn of(context: TalosContext) -> Self {
        Self {
            file: context.file,
            context: context.name,
            addresses: context.endpoints.iter().filter_map(Endpoint::ip).collect(),
            endpoints: context.endpoints.iter().map(ToString::to_string).collect(),
            nodes: context.nodes,
        }
    }
}
