//! Git mirror: definitions and custom resources of a restore point as YAML in a Git repository, one commit
//! for each restore point that changes something.
//!
//! A [`StagingArea`] records objects while the export reads them, because the writer of a restore point cannot read
//! it back. When the restore point is committed, [`Mirror::publish`] fetches the remote branch into its work
//! folder, writes the files over it, commits and pushes. The remote is the truth: the work folder may be lost
//! at any time.
//!
//! The mirror never pushes by force, never contains a Secret, and removes a file only if the manifest proves
//! that its object would have been listed. A restore from Git reads what the mirror writes.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use backup_core::proxy::Proxies;

mod destination;
mod error;
mod flux;
mod folder;
mod git;
mod place;
mod publish;
mod redact;
mod removal;
mod repository;
mod secrets;
pub mod ssh;
mod staging;

pub use destination::{Mirror, usual_path};
pub use error::MirrorError;
pub use publish::PublishReport;
pub use staging::{StagedObjects, StagingArea};

/// Credentials and trust for the remote.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// User and token for http and https.
    pub token: Option<(String, SecretString)>,
    /// Private key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// File with the host keys that ssh trusts.
    pub known_hosts: Option<PathBuf>,
    /// File with the certificate authorities that https trusts.
    pub ca_file: Option<PathBuf>,
    /// Proxies for http and https.
    pub proxies: Proxies,
}

/// Creates a folder that only its owner can access, or restricts an existing folder.
fn private(folder: &Path) -> Result<(), MirrorError> {
    let failed = |source| MirrorError::file("make", folder, source);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(failed)?;
    let mode = folder.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let failed = |source| MirrorError::file("close to others", folder, source);
        let permissions = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, permissions).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_folder_is_closed_to_others() {
        let folder = tempfile::TempDir::new().unwrap();
        let own = folder.path().join("a/b");
        private(&own).unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&own, open).unwrap();
        private(&own).unwrap();
        let mode = own.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
