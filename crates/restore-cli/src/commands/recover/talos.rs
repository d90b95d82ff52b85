//! Talos nodes of a restore, and access to them.

use std::path::PathBuf;
use std::sync::Arc;

use backup_cli::config::{Config, ConfigFlags};
use backup_cli::failure::Failure;
use backup_cli::flags::TalosFlags;
use backup_cli::program::Frame;
use cluster_client::talos::nodes::TalosNodes;
use cluster_client::talos::{ConfigSearch, TalosOptions};
use cluster_restore::orchestrate::TalosTarget;

use crate::flags::ReadFlags;

/// Which nodes, and how they are reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Talos")]
pub(crate) struct TargetFlags {
    /// Read certificates and endpoints from this talosconfig, which must be an administrator's
    /// [default: `TALOSCONFIG`, then `TALOS_HOME` or the home folder]
    #[arg(long, value_name = "FILE")]
    talosconfig: Option<PathBuf>,
    /// Use this context of the talosconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Look at these nodes: all of the control plane, and workers if their kubelets are to restart
    /// [default: those of the context]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Restore onto this control plane node [default: the first that is ready]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) node: Option<String>,
}

impl TargetFlags {
    fn given(&self) -> TalosFlags {
        TalosFlags {
            talosconfig: self.talosconfig.clone(),
            context: self.context.clone(),
            nodes: self.nodes.clone(),
        }
    }

    /// Returns the Talos API of the nodes.
    pub(crate) fn target(&self, read: &ReadFlags, frame: &Frame) -> Result<TalosTarget, Failure> {
        Ok(TalosTarget {
            options: self.options(read, frame)?,
            node: self.node.clone(),
        })
    }

    /// Returns the nodes, with credentials that were checked.
    pub(crate) async fn nodes(
        &self,
        read: &ReadFlags,
        frame: &Frame,
    ) -> Result<TalosNodes, Failure> {
        let options = self.options(read, frame)?;
        let nodes = TalosNodes::begin(options, Arc::clone(&frame.clock)).await;
        Ok(nodes.map_err(anyhow::Error::new)?)
    }

    /// Returns the options for the Talos API, from flags, configuration and environment.
    fn options(&self, read: &ReadFlags, frame: &Frame) -> Result<TalosOptions, Failure> {
        let given = ConfigFlags {
            talos: self.given(),
            ..read.given()
        };
        let config = Config::load(&given, frame.clock.now())?;
        let environment = &frame.environment;
        let search = ConfigSearch {
            explicit: config.talos.config.clone(),
            talosconfig: environment.talosconfig.clone(),
            talos_home: environment.talos_home.clone(),
            home: environment.home.clone(),
        };
        Ok(TalosOptions {
            context: config.talos.context.clone(),
            nodes: config.talos.nodes.clone(),
            idle_timeout: config.talos.idle_timeout,
            total_timeout: config.talos.deadline,
            proxies: environment.proxies.clone(),
            ..TalosOptions::new(search)
        })
    }
}
