//! The work folder as a clone of the remote branch, and what is asked of `git`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::{Access, Mirror, MirrorError, private};
use crate::recover::git::{GitError, program};

/// What goes over the network: a history of manifests is some MiB.
const NETWORK: Duration = Duration::from_secs(120);
/// What goes to a disk: a hundred thousand small files.
const LOCAL: Duration = Duration::from_secs(120);
/// Answers are a line; names of branches are few.
const MAX_ANSWER: u64 = 64 << 10;
/// Who the commits are by.
const AUTHOR: &str = "butler-backup";
const MAIL: &str = "butler-backup@localhost";
/// Where the remote branch is noted as it was last seen.
const SEEN: &str = "refs/remotes/mirror/seen";
/// Loose objects are packed from this many on.
const GC: &str = "gc.auto=2000";

/// See the module. Held by one at a time.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    mirror: &'a Mirror,
    access: &'a Access,
    folder: PathBuf,
    _lock: File,
}

/// Whether the remote took what was pushed.
pub(super) enum Pushed {
    Yes,
    /// Why not.
    No(GitError),
}

impl<'a> Repository<'a> {
    /// Opens the work folder, or makes it; waits for nobody.
    pub(super) async fn open(mirror: &'a Mirror, access: &'a Access) -> Result<Self, MirrorError> {
        let home = &mirror.folder;
        private(home)?;
        let path = home.join("lock");
        let failed = |source| MirrorError::file("lock", &path, source);
        let lock = File::create(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(MirrorError::Busy {
                    folder: home.clone(),
                });
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        let repository = Self {
            mirror,
            access,
            folder: home.join("repository"),
            _lock: lock,
        };
        repository.begin().await?;
        Ok(repository)
    }

    async fn begin(&self) -> Result<(), MirrorError> {
        if self.folder.join(".git").is_dir() {
            // A process that was killed leaves locks, and we hold the only one that counts.
            unlock(&self.folder.join(".git"), 0)?;
            return Ok(());
        }
        private(&self.folder)?;
        let mut init = self.git();
        init.args(["init", "--quiet", "--template=", "--initial-branch"]);
        init.arg(&self.mirror.branch);
        self.local(init, "make the work folder").await.map(drop)
    }

    /// Throws the work folder away; what was not pushed is in the restore points.
    pub(super) async fn anew(&self) -> Result<(), MirrorError> {
        match std::fs::remove_dir_all(&self.folder) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(MirrorError::file("remove", &self.folder, e)),
        }
        self.begin().await
    }

    /// The folder that is mirrored to.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join(&self.mirror.path)
    }

    fn git(&self) -> Command {
        let mut git = program::git(&self.folder);
        for setting in [
            // The folder may be a volume that belongs to somebody else.
            "safe.directory=*",
            "credential.helper=",
            "commit.gpgSign=false",
            // What a remote wants to be written is written as it is.
            "core.autocrlf=false",
            "core.protectNTFS=true",
            "core.protectHFS=true",
        ] {
            git.arg("-c").arg(setting);
        }
        // This one, and not one around it, be it broken or not.
        git.env("GIT_DIR", self.folder.join(".git"))
            .env("GIT_WORK_TREE", &self.folder);
        // Nothing but what is said here: no settings of the machine or of a person.
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
            "GIT_SSH",
            "GIT_SSH_COMMAND",
        ] {
            git.env_remove(name);
        }
        // They would write what is sent.
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

    /// A `git` that may ask the remote.
    fn network(&self) -> Command {
        let mut git = self.git();
        git.arg("-c")
            .arg(format!("core.sshCommand={}", ssh(self.access)));
        // A password must not follow to another host, and who says nothing for a minute is away.
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
            // Not an argument, which every user of the machine can read.
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

    async fn local(&self, git: Command, what: &str) -> Result<String, MirrorError> {
        let answer = program::run(git, what, LOCAL, MAX_ANSWER).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    async fn ask(&self, args: &[&str], what: &str) -> Result<String, MirrorError> {
        let mut git = self.git();
        git.args(args);
        self.local(git, what).await
    }

    /// The commit that is checked out, if there is one.
    pub(super) async fn head(&self) -> Option<String> {
        let verify = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        self.ask(&verify, "read the newest commit").await.ok()
    }

    /// Brings the remote branch into the work folder; false if it has none yet.
    ///
    /// What was not pushed is laid on top of what others pushed meanwhile. If the two do not fit,
    /// it is given up: it is made anew of the newest state. Gives how many commits that were.
    pub(super) async fn settle(&self, at: Timestamp) -> Result<u64, MirrorError> {
        let branch = format!("refs/heads/{}", self.mirror.branch);
        let remote = &self.mirror.repository;
        let mut list = self.network();
        list.args(["ls-remote", "--quiet", "--", remote, &branch]);
        let listed = program::run(list, "ask the remote for its branch", NETWORK, MAX_ANSWER);
        if listed.await?.trim_ascii().is_empty() {
            self.clean().await?;
            return Ok(0);
        }
        let mut fetch = self.network();
        fetch.args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
            remote,
        ]);
        fetch.arg(format!("+{branch}:{SEEN}"));
        program::run(fetch, "fetch the branch", NETWORK, MAX_ANSWER).await?;
        if self.head().await.is_none() {
            self.ask(
                &["reset", "--quiet", "--hard", SEEN],
                "check the branch out",
            )
            .await?;
            return Ok(0);
        }
        self.clean().await?;
        let range = format!("HEAD...{SEEN}");
        let counted = self
            .ask(
                &["rev-list", "--count", "--left-right", &range],
                "compare with the remote",
            )
            .await?;
        let mut counts = counted
            .split_whitespace()
            .map(|n| n.parse::<u64>().unwrap_or(0));
        let (own, theirs) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
        if theirs == 0 {
            return Ok(0);
        }
        if own > 0 {
            let mut rebase = self.git();
            rebase.args(["rebase", "--quiet", SEEN]);
            rebase.env("GIT_COMMITTER_DATE", date(at));
            if self
                .local(rebase, "lay what was not pushed on top")
                .await
                .is_ok()
            {
                return Ok(0);
            }
            // It may not even have begun.
            self.ask(&["rebase", "--abort"], "give the rebase up")
                .await
                .ok();
        }
        self.ask(
            &["reset", "--quiet", "--hard", SEEN],
            "check the branch out",
        )
        .await?;
        Ok(own)
    }

    /// Takes away what a process that was killed may have left.
    pub(super) async fn clean(&self) -> Result<(), MirrorError> {
        self.ask(&["rebase", "--abort"], "give a rebase up")
            .await
            .ok();
        if self.head().await.is_some() {
            self.ask(&["reset", "--quiet", "--hard"], "put the work folder right")
                .await?;
        }
        let clean = ["clean", "--quiet", "-ffdx"];
        self.ask(&clean, "put the work folder right")
            .await
            .map(drop)
    }

    /// Commits what changed; `None` if nothing did.
    pub(super) async fn commit(
        &self,
        message: &str,
        at: Timestamp,
    ) -> Result<Option<String>, MirrorError> {
        let root = self.root();
        std::fs::create_dir_all(&root).map_err(|e| MirrorError::file("make", &root, e))?;
        let mut add = self.git();
        add.arg("-C").arg(&self.mirror.path);
        add.args(["add", "--all", "--force", "--", "."]);
        self.local(add, "note what changed").await?;
        let changed = ["diff", "--cached", "--shortstat"];
        if self.ask(&changed, "see what changed").await?.is_empty() {
            return Ok(None);
        }
        let mut commit = self.git();
        commit.args([
            "commit",
            "--quiet",
            "--no-verify",
            "--cleanup=verbatim",
            "-m",
            message,
        ]);
        commit
            .env("GIT_AUTHOR_DATE", date(at))
            .env("GIT_COMMITTER_DATE", date(at));
        self.local(commit, "commit").await?;
        Ok(self.head().await)
    }

    /// Commits that the remote does not have, as far as is known.
    pub(super) async fn unpushed(&self) -> Result<u64, MirrorError> {
        if self.head().await.is_none() {
            return Ok(0);
        }
        let seen = ["for-each-ref", "--format=%(refname)", SEEN];
        let seen = self.ask(&seen, "see what was pushed").await?;
        let mut args = vec!["rev-list", "--count", "HEAD"];
        if !seen.is_empty() {
            args.extend(["--not", SEEN]);
        }
        let count = self.ask(&args, "count what was not pushed").await?;
        Ok(count.parse().unwrap_or(0))
    }

    /// Pushes, and never by force.
    pub(super) async fn push(&self) -> Result<Pushed, MirrorError> {
        let mut push = self.network();
        push.args([
            "push",
            "--quiet",
            "--no-verify",
            "--no-force",
            "--",
            &self.mirror.repository,
        ]);
        push.arg(format!("HEAD:refs/heads/{}", self.mirror.branch));
        if let Err(error) = program::run(push, "push", NETWORK, MAX_ANSWER).await {
            return Ok(Pushed::No(error));
        }
        self.ask(&["update-ref", SEEN, "HEAD"], "note what was pushed")
            .await?;
        // Packing is housekeeping: the next time is as good.
        self.ask(
            &[
                "-c",
                GC,
                "-c",
                "gc.autoDetach=false",
                "gc",
                "--auto",
                "--quiet",
            ],
            "pack",
        )
        .await
        .ok();
        Ok(Pushed::Yes)
    }
}

/// As `git` reads a time.
fn date(at: Timestamp) -> String {
    format!("@{} +0000", at.as_second())
}

/// The command for ssh: asks nobody, believes only the hosts that are known.
fn ssh(access: &Access) -> String {
    // A shell takes it apart.
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let mut ssh = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes \
                   -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
        .to_owned();
    if let Some(key) = &access.ssh_key {
        ssh.push_str(&format!(" -o IdentitiesOnly=yes -i {}", quoted(key)));
    }
    if let Some(hosts) = &access.known_hosts {
        ssh.push_str(&format!(" -o UserKnownHostsFile={}", quoted(hosts)));
    }
    ssh
}

/// Removes the lock files in a folder of Git's own and those below.
fn unlock(folder: &Path, depth: usize) -> Result<(), MirrorError> {
    let failed = |source| MirrorError::file("read", folder, source);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        if is_folder && entry.file_name() != "objects" && depth < 8 {
            unlock(&path, depth.saturating_add(1))?;
        } else if !is_folder && path.extension().is_some_and(|end| end == "lock") {
            std::fs::remove_file(&path).map_err(|e| MirrorError::file("remove", &path, e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_of_the_shell() {
        let access = Access {
            ssh_key: Some("/a b/it's".into()),
            known_hosts: Some("/hosts".into()),
            ..Access::default()
        };
        let ssh = ssh(&access);
        assert!(
            ssh.ends_with(
                " -o IdentitiesOnly=yes -i '/a b/it'\\''s' -o UserKnownHostsFile='/hosts'"
            )
        );
        assert!(ssh.contains("BatchMode=yes") && ssh.contains("StrictHostKeyChecking=yes"));
    }
}
