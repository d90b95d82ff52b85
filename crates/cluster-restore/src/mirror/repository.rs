//! Work folder as a clone of the remote branch, with the operations on it.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::git::Git;
use super::place::{CRDS, RESOURCES};
use super::{Access, Mirror, MirrorError, flux, private};
use crate::git::GitError;
use backup_core::id::ClusterName;

/// Ref that records the last known state of the remote branch.
const SEEN: &str = "refs/remotes/mirror/seen";
/// Number of loose objects from which they are packed.
const GC: &str = "gc.auto=2000";

/// Work folder; see the module. Only one process uses it at a time.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    mirror: &'a Mirror,
    git: Git<'a>,
    _lock: File,
}

/// Whether the remote accepted the push.
pub(super) enum PushResult {
    Yes,
    /// Error of the push.
    No(GitError),
}

impl<'a> Repository<'a> {
    /// Opens the work folder, or creates it; fails if another process uses it.
    pub(super) async fn open(mirror: &'a Mirror, access: &'a Access) -> Result<Self, MirrorError> {
        let home = &mirror.folder;
        private(home)?;
        let (path, own) = (home.join("lock"), home.join("repository"));
        // The lock exists before the repository, in which everything that is not committed is removed.
        if own.symlink_metadata().is_ok() && path.symlink_metadata().is_err() {
            let why = "the work folder has a `repository` that no mirror made; name another folder";
            return Err(MirrorError::Refused { why });
        }
        let failed = |source| MirrorError::file("lock", &path, source);
        let lock = lock_file(&path).map_err(failed)?;
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
            git: Git::new(mirror, access, own),
            _lock: lock,
        };
        repository.begin().await?;
        Ok(repository)
    }

    async fn begin(&self) -> Result<(), MirrorError> {
        let own = self.git.folder().join(".git");
        if own.is_dir() {
            // A killed process leaves lock files; only our lock counts, and we hold it.
            return unlock(&own, 0);
        }
        private(self.git.folder())?;
        let branch = ["--initial-branch", self.mirror.branch.as_str()];
        let init = [&["init", "--quiet", "--template="][..], &branch].concat();
        self.git.ask(&init, "make the work folder").await.map(drop)
    }

    /// Discards the work folder; commits that were not pushed are in the restore points.
    pub(super) async fn recreate(&self) -> Result<(), MirrorError> {
        let folder = self.git.folder();
        match std::fs::remove_dir_all(folder) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(MirrorError::file("remove", folder, e)),
        }
        self.begin().await
    }

    /// Returns the work folder.
    pub(super) fn folder(&self) -> &Path {
        self.git.folder()
    }

    /// Whether `folder` contains a mirror of `cluster`. A mirror whose commits name no cluster counts as one.
    pub(super) async fn is_mirrored_to(
        &self,
        folder: &str,
        cluster: &ClusterName,
    ) -> Result<bool, MirrorError> {
        let there = self.git.folder().join(folder);
        if !flux::holds_mirrored(&there)? {
            return Ok(false);
        }
        let (crds, resources) = (format!("{folder}/{CRDS}"), format!("{folder}/{RESOURCES}"));
        let log = [
            "log",
            "-n",
            "100",
            "--format=%(trailers:key=Cluster,valueonly,separator=%x2C)",
            "HEAD",
            "--",
            &crds,
            &resources,
        ];
        let told = self.git.ask(&log, "see whose mirror is there").await?;
        let mut clusters = told
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .peekable();
        Ok(clusters.peek().is_none() || clusters.any(|one| one == cluster.as_str()))
    }

    /// Returns the mirror's folder.
    pub(super) fn root(&self) -> PathBuf {
        self.git.folder().join(&self.mirror.path)
    }

    /// Returns the commit that is checked out, if there is one.
    pub(super) async fn head(&self) -> Option<String> {
        let verify = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        self.git.ask(&verify, "read the newest commit").await.ok()
    }

    /// Brings the remote branch into the work folder, if the branch exists.
    ///
    /// Commits that were not pushed are rebased onto those that others pushed meanwhile. If that fails, they
    /// are discarded: the next commit has the newest state. Returns the number of discarded commits.
    pub(super) async fn settle(&self, at: Timestamp) -> Result<u64, MirrorError> {
        let branch = format!("refs/heads/{}", self.mirror.branch);
        let remote = &self.mirror.repository;
        let list = ["ls-remote", "--quiet", "--", remote, &branch];
        let listed = self.git.ask_remote(&list, "ask the remote for its branch");
        if listed.await?.trim_ascii().is_empty() {
            self.clean().await?;
            return Ok(0);
        }
        let onto = format!("+{branch}:{SEEN}");
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        let fetch = [&fetch[..], &["--", remote, &onto]].concat();
        self.git.ask_remote(&fetch, "fetch the branch").await?;
        if self.head().await.is_none() {
            self.check_out().await?;
            return Ok(0);
        }
        self.clean().await?;
        let range = format!("HEAD...{SEEN}");
        let count = ["rev-list", "--count", "--left-right", &range];
        let counted = self.git.ask(&count, "compare with the remote").await?;
        let mut counts = counted
            .split_whitespace()
            .map(|n| n.parse::<u64>().unwrap_or(0));
        let (own, theirs) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
        if theirs == 0 {
            return Ok(0);
        }
        if own > 0 {
            let mut rebase = self.git.call(&["rebase", "--quiet", SEEN]);
            rebase.env("GIT_COMMITTER_DATE", date(at));
            let laid = self.git.run(rebase, "lay what was not pushed on top");
            if laid.await.is_ok() {
                return Ok(0);
            }
            self.abort_rebase().await;
        }
        self.check_out().await?;
        Ok(own)
    }

    async fn check_out(&self) -> Result<(), MirrorError> {
        let reset = ["reset", "--quiet", "--hard", SEEN];
        let reset = self.git.ask(&reset, "check the branch out");
        reset.await.map(drop)
    }

    /// Removes what a killed process may have left.
    pub(super) async fn clean(&self) -> Result<(), MirrorError> {
        self.abort_rebase().await;
        if self.head().await.is_some() {
            let reset = ["reset", "--quiet", "--hard"];
            self.git.ask(&reset, "put the work folder right").await?;
        }
        let clean = ["clean", "--quiet", "-ffdx"];
        let clean = self.git.ask(&clean, "put the work folder right");
        clean.await.map(drop)
    }

    async fn abort_rebase(&self) {
        let abort = self.git.ask(&["rebase", "--abort"], "give a rebase up");
        // The rebase may not even have begun.
        abort.await.ok();
    }

    /// Commits the changes; returns `None` if there are none.
    pub(super) async fn commit(
        &self,
        message: &str,
        at: Timestamp,
    ) -> Result<Option<String>, MirrorError> {
        let root = self.root();
        std::fs::create_dir_all(&root).map_err(|e| MirrorError::file("make", &root, e))?;
        let add = ["add", "--all", "--force", "--", "."];
        let add = [&["-C", self.mirror.path.as_str()][..], &add].concat();
        self.git.ask(&add, "note what changed").await?;
        let changed = ["diff", "--cached", "--shortstat"];
        let changed = self.git.ask(&changed, "see what changed").await?;
        if changed.is_empty() {
            return Ok(None);
        }
        let commit = ["commit", "--quiet", "--no-verify", "--cleanup=verbatim"];
        let commit = [&commit[..], &["-m", message]].concat();
        let mut commit = self.git.call(&commit);
        commit
            .env("GIT_AUTHOR_DATE", date(at))
            .env("GIT_COMMITTER_DATE", date(at));
        self.git.run(commit, "commit").await?;
        Ok(self.head().await)
    }

    /// Counts the commits that the remote does not have, as far as is known.
    pub(super) async fn unpushed(&self) -> Result<u64, MirrorError> {
        if self.head().await.is_none() {
            return Ok(0);
        }
        let seen = ["for-each-ref", "--format=%(refname)", SEEN];
        let seen = self.git.ask(&seen, "see what was pushed").await?;
        let mut args = vec!["rev-list", "--count", "HEAD"];
        if !seen.is_empty() {
            args.extend(["--not", SEEN]);
        }
        let count = self.git.ask(&args, "count what was not pushed").await?;
        Ok(count.parse().unwrap_or(0))
    }

    /// Pushes, and never by force.
    pub(super) async fn push(&self) -> Result<PushResult, MirrorError> {
        let to = format!("HEAD:refs/heads/{}", self.mirror.branch);
        let push = ["push", "--quiet", "--no-verify", "--no-force", "--"];
        let push = [&push[..], &[self.mirror.repository.as_str(), &to]].concat();
        if let Err(error) = self.git.ask_remote(&push, "push").await {
            return Ok(PushResult::No(error));
        }
        let note = ["update-ref", SEEN, "HEAD"];
        self.git.ask(&note, "note what was pushed").await?;
        let pack = ["-c", GC, "-c", "gc.autoDetach=false"];
        let pack = [&pack[..], &["gc", "--auto", "--quiet"]].concat();
        // This is housekeeping: a failure is made up for by the next push.
        self.git.ask(&pack, "pack").await.ok();
        Ok(PushResult::Yes)
    }
}

/// Opens the lock file and creates it if it is missing. Its content stays, and no link is followed.
fn lock_file(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}

/// Formats a time for `git`.
fn date(at: Timestamp) -> String {
    format!("@{} +0000", at.as_second())
}

/// Removes the lock files in one of Git's own folders and below.
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

    #[tokio::test]
    async fn a_repository_that_no_mirror_made_is_refused_and_a_link_is_not_locked() {
        let home = tempfile::tempdir().unwrap();
        let mirror = Mirror {
            repository: "https://git.example.org/fleet.git".to_owned(),
            branch: "main".to_owned(),
            path: "clusters".to_owned(),
            folder: home.path().to_owned(),
        };
        let access = Access::default();
        let work = home.path().join("repository");
        std::fs::create_dir(&work).unwrap();
        std::fs::write(work.join("thesis"), "a year's work").unwrap();
        let refused = Repository::open(&mirror, &access).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("no mirror made"), "{refused}");
        std::fs::remove_dir_all(&work).unwrap();

        let other = home.path().join("other");
        std::fs::write(&other, "of somebody else").unwrap();
        std::os::unix::fs::symlink(&other, home.path().join("lock")).unwrap();
        let refused = Repository::open(&mirror, &access).await;
        assert!(matches!(refused.err(), Some(MirrorError::File { .. })));
        assert_eq!(std::fs::read(&other).unwrap(), b"of somebody else");
    }
}
