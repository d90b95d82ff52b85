//! Flags that several commands share.

use backup_cli::config::ConfigFlags;
use backup_cli::flags::{ClusterFlags, SealFlags, StoreFlags, TalosFlags};
use backup_core::id::ComponentName;

use crate::run_builder::Note;

/// Flags of commands that write restore points.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WriteFlags {
    #[command(flatten)]
    pub(crate) store: StoreFlags,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
    #[command(flatten)]
    pub(crate) seal: SealFlags,
}

/// Why a restore point is made.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NoteFlags {
    /// Note in the restore point why it was made
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Keep the restore point until somebody removes it by hand
    #[arg(long)]
    pub(crate) pin: bool,
}

impl NoteFlags {
    /// Converts the flags into the note of a run.
    pub(crate) fn note(&self) -> Note {
        Note {
            reason: self.reason.clone(),
            pin: self.pin,
        }
    }
}

/// Parses a component that can be imported from a file.
pub(crate) fn importable(text: &str) -> Result<ComponentName, String> {
    match text.parse::<ComponentName>() {
        Ok(name) if name == ComponentName::etcd() => Ok(name),
        Ok(_) => Err("only `etcd` can be imported from a file".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// Converts the flags into input for the configuration.
pub(crate) fn given(write: &WriteFlags, talos: Option<&TalosFlags>) -> ConfigFlags {
    ConfigFlags {
        store: write.store.clone(),
        cluster: write.cluster.clone(),
        seal: write.seal.clone(),
        talos: talos.cloned().unwrap_or_default(),
        ..ConfigFlags::default()
    }
}
