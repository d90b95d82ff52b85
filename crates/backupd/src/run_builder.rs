//! Restore point taking: the run, its sources, and its report.
//!
//! The commands for one restore point and the daemon use the same code.

use std::sync::Arc;

use backup_cli::config::{Config, ConfigError, Encryption};
use backup_cli::environment::Environment;
use backup_cli::failure::Failure;
use backup_cli::open::{self, StoreAccess};
use backup_cli::program::Frame;
use backup_core::backup::{Protection, Run};
use backup_core::clock::Clock;
use backup_core::progress::Progress;
use cluster_client::kube::KeptObjects;
use tokio_util::sync::CancellationToken;

pub(crate) mod report;
pub(crate) mod sources;
pub(crate) mod talos_access;

/// Inputs from the command or daemon that starts a run.
#[derive(Debug, Clone)]
pub(crate) struct RunContext {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) environment: Environment,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) cancel: CancellationToken,
    /// Objects kept from earlier runs; a command keeps none.
    pub(crate) memory: Option<ObjectMemory>,
}

/// Kept objects of a cluster, and whether they are listed again anyway.
#[derive(Debug, Clone)]
pub(crate) struct ObjectMemory {
    pub(crate) kept: KeptObjects,
    pub(crate) anew: bool,
}

impl RunContext {
    /// Returns the context of a command.
    pub(crate) fn of(frame: &Frame) -> Self {
        Self {
            clock: Arc::clone(&frame.clock),
            environment: frame.environment.clone(),
            progress: frame.terminal.progress(),
            cancel: frame.cancel.clone(),
            memory: None,
        }
    }
}

/// Note on a run, for its restore point.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note {
    /// Reason for the run.
    pub(crate) reason: Option<String>,
    /// Whether the restore point is kept until somebody removes it by hand.
    pub(crate) pin: bool,
}

/// Warning for a setting that weakens every restore point.
pub(crate) const UNENCRYPTED: &str =
    "encryption is none: anyone who can read the store can read the cluster's secrets";

/// Prepares a run for a command; warns of settings that weaken it.
pub(crate) async fn prepare_by(
    frame: &Frame,
    config: &Config,
    note: &Note,
    context: &RunContext,
) -> Result<Run, Failure> {
    if config.encryption == Some(Encryption::None) {
        frame.terminal.warn(UNENCRYPTED);
    }
    prepare(config, note, context).await
}

/// Prepares a run from the configuration.
pub(crate) async fn prepare(
    config: &Config,
    note: &Note,
    context: &RunContext,
) -> Result<Run, Failure> {
    let (cluster, url, encryption, key) = (
        config.need_cluster(),
        config.need_store(),
        config.need_encryption(),
        config.need_signing_key(),
    );
    let (cluster, url, encryption, key) = match (cluster, url, encryption, key) {
        (Ok(cluster), Ok(url), Ok(encryption), Ok(key)) => (cluster, url, encryption, key),
        (cluster, url, encryption, key) => {
            let errors = [cluster.err(), url.err(), encryption.err(), key.err()];
            return Err(ConfigError::join(errors.into_iter().flatten()).into());
        }
    };
    let protection = match encryption {
        Encryption::Recipients(keys) => Protection::Recipients(keys.clone()),
        Encryption::None => Protection::None,
    };
    Ok(Run {
        cluster: cluster.clone(),
        store: open::store(url, StoreAccess::Write, &context.environment).await?,
        protection,
        signing_key: Some(key),
        tool: concat!("backupd ", env!("CARGO_PKG_VERSION")).to_owned(),
        reason: note.reason.clone(),
        pinned: note.pin,
        clock: Arc::clone(&context.clock),
        progress: Arc::clone(&context.progress),
        cancel: context.cancel.clone(),
    })
}
