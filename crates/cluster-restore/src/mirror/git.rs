//! Calls of `git` for the mirror: with the mirror's settings only, without prompts, each with a time limit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::{Access, Mirror, MirrorError, ssh};
use crate::git::{GitError, program};

/// Time limit for network calls: a history of manifests has some MiB.
const NETWORK: Duration = Duration::from_secs(120);
/// Time limit for local calls: they write a hundred thousand small files.
const LOCAL: Duration = Duration::from_secs(120);
/// Largest size of an answer: answers are one line; names of branches are few.
const MAX_ANSWER: u64 = 64 << 10;
/// Author of the commits.
const AUTHOR: &str = "butler-backup";
const MAIL: &str = "butler-backup@localhost";

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
        let mut git = self.command();
        git.args(args);
        git
    }

    /// Runs a call that uses no remote; returns its output.
    pub(super) async fn run(&self, git: Command, what: &str) -> Result<String, MirrorError> {
        let answer = program::run(git, what, LOCAL, MAX_ANSWER).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// Builds and runs a call that uses no remote; returns its output.
    pub(super) async fn ask(&self, args: &[&str], what: &str) -> Result<String, MirrorError> {
        self.run(self.call(args), what).await
    }

    /// Runs a call that uses the remote; returns its output.
    pub(super) async fn ask_remote(&self, args: &[&str], what: &str) -> Result<Vec<u8>, GitError> {
        let mut git = self.with_access();
        program::through(&mut git, &self.access.proxies, &self.mirror.repository)?;
        git.args(args);
        let answer = program::run(git, what, NETWORK, MAX_ANSWER).await;
        answer.map_err(|error| ssh::explain(&self.mirror.repository, self.access, error))
    }

    fn command(&self) -> Command {
        let mut git = program::git(&self.folder);
        for setting in [
            // The folder may be a volume that belongs to another user.
            "safe.directory=*",
            "credential.helper=",
            "commit.gpgSign=false",
            // Files of the remote are written without changes.
            "core.autocrlf=false",
            "core.protectNTFS=true",
            "core.protectHFS=true",
        ] {
            git.arg("-c").arg(setting);
        }
        // Use this repository and not an enclosing one, even if this one is broken.
        git.env("GIT_DIR", self.folder.join(".git"))
            .env("GIT_WORK_TREE", &self.folder);
        // Only the settings given here apply: none of the machine or of a person.
        git.env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("HOME", &self.mirror.folder)
            .env("GIT_ASKPASS", "")
            .env("GIT_AUTHOR_NAME", AUTHOR)
            .env("GIT_AUTHOR_EMAIL", MAIL)
            .env("GIT_COMMITTER_NAME", AUTHOR)
            .env("GIT_COMMITTER_EMAIL", MAIL);
        for name in [
            "XDG_CONFIG_HOME",
            "SSH_ASKPASS",
            "SSH_ASKPASS_REQUIRE",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_SSH_VARIANT",
        ] {
            git.env_remove(name);
        }
        // These variables would log what is sent.
        for name in [
            "GIT_TRACE",
            "GIT_TRACE_CURL",
            "GIT_TRACE_PACKET",
            "GIT_CURL_VERBOSE",
        ] {
            git.env_remove(name);
        }
        git
    }

    /// Returns a `git` that may use the remote.
    fn with_access(&self) -> Command {
        let mut git = self.command();
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
