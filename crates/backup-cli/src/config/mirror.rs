//! The Git mirror as configured, and what lets us in there.

use std::path::PathBuf;

use backup_core::mirror::{Access, Mirror, ssh};
use secrecy::ExposeSecret as _;

use super::problem::{ConfigError, Problem, Sourced};
use super::secret;

/// Where definitions and custom resources are mirrored to, and what lets us in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitMirror {
    /// Where to.
    pub mirror: Mirror,
    /// The name that goes with the token.
    pub user: String,
    /// The file with the token for https.
    pub token_file: Option<Sourced<PathBuf>>,
    /// The file with the private key for ssh.
    pub ssh_key: Option<Sourced<PathBuf>>,
    /// The file with the hosts that ssh may believe.
    pub known_hosts: Option<Sourced<PathBuf>>,
    /// The authorities that https believes.
    pub ca_file: Option<PathBuf>,
}

/// A token that is shorter is none that a host of Git makes.
const SHORTEST_GIT_TOKEN: usize = 8;

impl GitMirror {
    /// What lets us in, read anew: tokens change.
    ///
    /// # Errors
    /// When a file of it cannot be read, or is open to others.
    pub fn access(&self) -> Result<Access, ConfigError> {
        let token = self.token_file.as_ref();
        let token = token
            .map(|path| secret::token_of(path, SHORTEST_GIT_TOKEN))
            .transpose()?;
        if let Some(path) = &self.ssh_key {
            usable_key(path)?;
        }
        if let Some(path) = &self.known_hosts
            && let Err(e) = std::fs::File::open(&path.value)
        {
            let why = format!("cannot read the known hosts {}: {e}", path.value.display());
            return Err(Problem::new(path.origin.clone(), why).into());
        }
        Ok(Access {
            token: token.map(|token| (self.user.clone(), token)),
            ssh_key: self.ssh_key.as_ref().map(|key| key.value.clone()),
            known_hosts: self.known_hosts.as_ref().map(|hosts| hosts.value.clone()),
            ca_file: self.ca_file.clone(),
            ..Access::default()
        })
    }
}

/// Sees that ssh can use the private key in the file `path` without asking anybody.
fn usable_key(path: &Sourced<PathBuf>) -> Result<(), ConfigError> {
    let text = secret::read_closed("key for ssh", path)?;
    ssh::check_key(text.expose_secret()).map_err(|odd| {
        let why = format!("the key for ssh {} {odd}", path.value.display());
        Problem::new(path.origin.clone(), why).into()
    })
}
