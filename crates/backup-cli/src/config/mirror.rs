//! Git mirror as configured, with its credentials.

use std::path::PathBuf;

use cluster_restore::mirror::{Access, Mirror, ssh};
use secrecy::ExposeSecret as _;

use super::problem::{ConfigError, ConfigValue, Problem};
use super::secret;

/// Git mirror of definitions and custom resources, with its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitMirror {
    /// Repository, branch and path of the mirror.
    pub mirror: Mirror,
    /// User name for the token.
    pub user: String,
    /// File with the token for https.
    pub token_file: Option<ConfigValue<PathBuf>>,
    /// File with the private key for ssh.
    pub ssh_key: Option<ConfigValue<PathBuf>>,
    /// File with the known hosts for ssh.
    pub known_hosts: Option<ConfigValue<PathBuf>>,
    /// Certificate authorities for https.
    pub ca_file: Option<PathBuf>,
}

/// Shortest accepted token. No Git host makes a shorter one.
const SHORTEST_GIT_TOKEN: usize = 8;

impl GitMirror {
    /// Reads the credentials again, because tokens change.
    ///
    /// # Errors
    /// Fails when one of the files cannot be read or is open to others.
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

/// Checks that ssh can use the private key in the file `path` without asking anybody.
fn usable_key(path: &ConfigValue<PathBuf>) -> Result<(), ConfigError> {
    let text = secret::read_closed("key for ssh", path)?;
    ssh::check_key(text.expose_secret()).map_err(|odd| {
        let why = format!("the key for ssh {} {odd}", path.value.display());
        Problem::new(path.origin.clone(), why).into()
    })
}
