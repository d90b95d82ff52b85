//! Calls of `git` in the mirror's work folder, with the credentials of the remote for those that use it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::{Access, Mirror, MirrorError, ssh};
use crate::git::GitError;
use crate::git::runner::{self, CallLimits};

/// `git` in one work folder.
#[derive(Debug)]
pub(super) struct Git<'a> {
    mirror: &'a Mirror,
    access: &'a Access,
    folder: PathBuf,
}

impl<'a> Git<'a> {
    pub(super) fn new(mirror: &'a Mirror, access: &'a Access, folder: PathBuf) -> Self {
        Self {
            mirror,
            access,
            folder,
        }
    }

    /// Returns the work folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a call that uses no remote.
    pub(super) fn call(&self, args: &[&str]) -> Command {
        let mut git = runner::git_of_mirror(&self.folder, &self.mirror.folder);
        git.args(args);
        git
    }

    /// Runs a call that uses no remote; returns its output.
    pub(super) async fn run(&self, git: Command, what: &str) -> Result<String, MirrorError> {
        let answer = runner::run(git, what, CallLimits::MIRROR).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// Builds and runs a call that uses no remote; returns its output.
    pub(super) async fn ask(&self, args: &[&str], what: &str) -> Result<String, MirrorError> {
        self.run(self.call(args), what).await
    }

    /// Runs a call that uses the remote; returns its output.
    pub(super) async fn ask_remote(&self, args: &[&str], what: &str) -> Result<Vec<u8>, GitError> {
        let mut git = self.with_access();
        runner::through(&mut git, &self.access.proxies, &self.mirror.repository)?;
        git.args(args);
        let answer = runner::run(git, what, CallLimits::MIRROR).await;
        answer.map_err(|error| ssh::explain(&self.mirror.repository, self.access, error))
    }

    /// Returns a `git` that may use the remote.
    fn with_access(&self) -> Command {
        let mut git = self.call(&[]);
        git.arg("-c")
            .arg(format!("core.sshCommand={}", ssh::command(self.access)));
        // A password must not follow to another host; a server that is silent for a minute counts as gone.
        for setting in [
            "http.followRedirects=false",
            "http.lowSpeedLimit=1",
            "http.lowSpeedTime=60",
        ] {
            git.arg("-c").arg(setting);
        }
        if let Some(ca) = &self.access.ca_file {
            git.arg("-c")
                .arg(format!("http.sslCAInfo={}", ca.display()));
        }
        if let Some((user, token)) = &self.access.token {
            // Not an argument, because every user of the machine can read arguments.
            let basic = STANDARD.encode(format!("{user}:{}", token.expose_secret()));
            git.env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "http.extraHeader")
                .env(
                    "GIT_CONFIG_VALUE_0",
                    format!("Authorization: Basic {basic}"),
                );
        }
        git
    }
}
