//! Flags that several commands share.

use std::path::PathBuf;

use backup_cli::config::ConfigFlags;
use backup_cli::flags::{IdentityFlags, StoreFlags, TrustFlags};
use backup_cli::program::Frame;

/// Flags of commands that read without decrypting.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LookFlags {
    #[command(flatten)]
    pub(crate) store: StoreFlags,
    #[command(flatten)]
    pub(crate) trust: TrustFlags,
}

/// Flags of commands that decrypt.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReadFlags {
    #[command(flatten)]
    pub(crate) look: LookFlags,
    #[command(flatten)]
    pub(crate) identity: IdentityFlags,
}

impl LookFlags {
    /// Converts the flags into input for the configuration.
    pub(crate) fn given(&self) -> ConfigFlags {
        ConfigFlags {
            store: self.store.clone(),
            trust: self.trust.clone(),
            ..ConfigFlags::default()
        }
    }
}

impl ReadFlags {
    /// Converts the flags into input for the configuration.
    pub(crate) fn given(&self) -> ConfigFlags {
        ConfigFlags {
            identity: self.identity.clone(),
            ..self.look.given()
        }
    }
}

/// Which restore point.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PointArg {
    /// The restore point: an id, the beginning of one, or `latest`, the newest that has what is
    /// needed
    #[arg(value_name = "RESTORE-POINT")]
    pub(crate) restore_point: String,
}

/// Where scratch files are kept.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ScratchFlags {
    /// Keep scratch files, encrypted, in this folder, with room for the largest component
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

impl ScratchFlags {
    /// Returns the folder.
    pub(crate) fn folder(&self, frame: &Frame) -> PathBuf {
        let folder = self.scratch.as_ref();
        folder.unwrap_or(&frame.environment.temp).clone()
    }
}
