//! Setup of a restore from flags, configuration and environment.

use std::sync::Arc;

use backup_cli::config::{Config, ConfigFlags};
use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::open::kube_options;
use backup_cli::program::Frame;
use backup_cli::terminal::Terminal;
use backup_core::crypt::Identities;
use cluster_restore::orchestrate::{IdentitySource, ProgramError, RestoreSetup};

use super::{ProgramFailure, TargetFlags};
use crate::commands::open;
use crate::flags::{ReadFlags, ScratchFlags};

/// Flags for the store, the cluster and scratch files.
pub(crate) type SetupFlags<'a> = (&'a ReadFlags, &'a KubeFlags, &'a ScratchFlags);

/// Opens the store, and returns the setup of a restore; with `talos` for one that may have a step on etcd.
pub(crate) async fn setup(
    (read, kube, scratch): SetupFlags<'_>,
    talos: Option<&TargetFlags>,
    frame: &Frame,
) -> Result<RestoreSetup, Failure> {
    let given = ConfigFlags {
        kube: kube.clone(),
        ..read.given()
    };
    let opened = open(&given, frame).await?;
    let talos = talos.map(|talos| talos.target(read, frame)).transpose()?;
    Ok(RestoreSetup {
        points: opened.points,
        kube: kube_options(&opened.config, &frame.environment),
        identities: Arc::new(IdentityFiles {
            config: opened.config,
            terminal: frame.terminal.clone(),
        }),
        talos,
        proxies: frame.environment.proxies.clone(),
        scratch: scratch.folder(frame),
        clock: Arc::clone(&frame.clock),
        reporter: Arc::new(frame.terminal.clone()),
        cancel: frame.cancel.clone(),
    })
}

/// Identities in the files that the configuration names.
#[derive(Debug)]
pub(crate) struct IdentityFiles {
    pub(crate) config: Config,
    pub(crate) terminal: Terminal,
}

impl IdentitySource for IdentityFiles {
    fn identities(&self) -> Result<Identities, ProgramError> {
        let identities = self.config.identities(|text| self.terminal.warn(text));
        identities.map_err(|error| ProgramFailure::boxed(error.into()))
    }
}
