//! Objects out of a Git repository, filled up from a restore point.
//!
//! Git has what people asked for: spec, labels, annotations. It has no status, no owners, and of
//! Secrets at most sealed ones. So an object is the archive's with Git's fields laid over it, and
//! what Git alone has is made as it stands there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::RecoverError;
use super::select::Select;
use super::spool::Spool;
use crate::format::manifest::{Finding, Severity};
use crate::proxy::{Proxies, ProxyError};
use crate::source::kube::target::KubeTarget;

mod documents;
mod included;
mod kinds;
mod lay;
pub(crate) mod program;

pub(crate) use documents::parse;

/// A shallow fetch of a repository of manifests takes seconds.
const FETCH: Duration = Duration::from_secs(180);
/// Everything else that `git` is asked.
const ASK: Duration = Duration::from_secs(60);
/// Answers of `git` are a line, or a line for each changed file.
const MAX_ANSWER: u64 = 4 << 20;
/// Where Butler keeps the management cluster's objects.
pub const BUTLERS: &str = "clusters/management";

/// Why a Git repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program is not there.
    #[error("cannot start `{program}`")]
    Start {
        /// Which.
        program: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A proxy is named and cannot be used.
    #[error("cannot reach the repository")]
    Proxy(#[from] ProxyError),
    /// It ended otherwise than well.
    #[error("cannot {what}: {said}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the program said.
        said: String,
    },
    /// ssh does not let us in.
    #[error("cannot {what}: over ssh to {host}: {why}; {remedy}")]
    Ssh {
        /// What was tried.
        what: String,
        /// Where.
        host: String,
        /// Why not.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// Address, branch or path are none that are taken.
    #[error("`{given}` is refused: {why}")]
    Refused {
        /// What was given.
        given: String,
        /// Why.
        why: &'static str,
    },
    /// The folder is not in the repository.
    #[error("{repository} has no folder {path} at commit {commit}")]
    NoFolder {
        /// The repository.
        repository: String,
        /// The folder.
        path: String,
        /// The commit.
        commit: String,
    },
    /// There is more than can be handled.
    #[error("{what} than {most}; name a folder of less with --git-path")]
    TooMuch {
        /// What there is more of.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// A file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// Which.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Where objects are in Git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// A folder or an address.
    pub repository: String,
    /// A branch, a tag or a whole commit; the repository's own branch if there is none.
    pub reference: Option<String>,
    /// The folder in it; Butler's if there is none.
    pub path: Option<String>,
}

/// A commit of a repository, in a folder that only its owner reads.
#[derive(Debug)]
pub struct Checkout {
    folder: TempDir,
    path: String,
    /// The folder or address, as a plan names it.
    pub repository: String,
    /// Its hash.
    pub commit: String,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

/// What Git and the archive gave together.
#[derive(Debug)]
pub struct TakenGit {
    /// The objects.
    pub spool: Spool,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

impl GitSource {
    /// Takes `URL-or-FOLDER[#REF]` apart.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (repository, reference) = match text.rsplit_once('#') {
            Some((repository, reference)) => (repository, Some(reference)),
            None => (text, None),
        };
        Self {
            repository: repository.to_owned(),
            reference: reference.filter(|r| !r.is_empty()).map(str::to_owned),
            path: None,
        }
    }

    /// Whether it is a folder of this machine.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        let text = &self.repository;
        let host = text.split_once(':').map(|(host, _)| host);
        !text.contains("://") && host.is_none_or(|host| host.contains('/'))
    }

    /// Whether address, reference and path are such as are given to `git`.
    pub(crate) fn check(&self) -> Result<(), GitError> {
        let refuse = |given: &str, why| {
            let given = given.chars().filter(|c| !c.is_control()).collect();
            Err(GitError::Refused { given, why })
        };
        let repository = self.repository.as_str();
        if repository.is_empty() || repository.starts_with('-') {
            return refuse(repository, "it names no repository");
        }
        if let Some((scheme, rest)) = repository.split_once("://") {
            if !["file", "http", "https", "ssh"].contains(&scheme) {
                return refuse(scheme, "only file, http, https and ssh are taken");
            }
            let host = rest.split('/').next().unwrap_or_default();
            let user = host.rsplit_once('@').map_or("", |(user, _)| user);
            if user.contains(':') || (scheme.starts_with("http") && !user.is_empty()) {
                let host = host.rsplit('@').next().unwrap_or_default();
                let why = "a plan would keep its password; leave that to Git's credential helper";
                return refuse(host, why);
            }
        } else if repository.contains("::") {
            return refuse(repository, "only file, http, https and ssh are taken");
        }
        let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        if let Some(reference) = &self.reference
            && (reference.starts_with(['-', '+']) || reference.contains(bad))
        {
            return refuse(reference, "it is no branch, tag or commit");
        }
        if let Some(path) = &self.path
            && !is_inside(path)
        {
            return refuse(path, "it is no path within the repository");
        }
        Ok(())
    }

    /// Fetches the newest commit of it into a folder of `scratch`.
    ///
    /// # Errors
    /// When `git` is not there or fails, or when something is asked that is not done.
    pub async fn checkout(&self, scratch: &Path, proxies: &Proxies) -> Result<Checkout, GitError> {
        self.check()?;
        let mut findings = Vec::new();
        let repository = if self.is_folder() {
            let folder = std::fs::canonicalize(&self.repository);
            let folder = folder.map_err(|source| GitError::Read {
                file: self.repository.clone(),
                source,
            })?;
            findings.extend(uncommitted(&folder).await?);
            folder.display().to_string()
        } else {
            self.repository.clone()
        };
        let folder = tempfile::Builder::new()
            .prefix("butler-git-")
            .tempdir_in(scratch)
            .map_err(|source| GitError::Read {
                file: scratch.display().to_string(),
                source,
            })?;
        let mut init = program::git(folder.path());
        init.args(["init", "--quiet", "--template="]);
        program::run(init, "make a folder for Git", ASK, MAX_ANSWER).await?;
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        let mut fetch = program::git(folder.path());
        program::through(&mut fetch, proxies, &repository)?;
        fetch.args(["fetch", "--quiet", "--depth=1", "--no-tags"]);
        fetch.args(["--no-recurse-submodules", "--", &repository, reference]);
        let what = format!("fetch {reference} of {repository}");
        program::run(fetch, &what, FETCH, MAX_ANSWER).await?;
        let mut parse = program::git(folder.path());
        parse.args([
            "rev-parse",
            "--verify",
            "--end-of-options",
            "FETCH_HEAD^{commit}",
        ]);
        let commit = program::run(parse, "read the commit", ASK, MAX_ANSWER).await?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        let mut checkout = program::git(folder.path());
        checkout.args(["checkout", "--quiet", "--detach", "FETCH_HEAD"]);
        program::run(checkout, "check the commit out", FETCH, MAX_ANSWER).await?;
        let path = match &self.path {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None if folder.path().join(BUTLERS).is_dir() => BUTLERS.to_owned(),
            None => ".".to_owned(),
        };
        if !folder.path().join(&path).is_dir() {
            return Err(GitError::NoFolder {
                repository,
                path,
                commit,
            });
        }
        Ok(Checkout {
            folder,
            path,
            repository,
            commit,
            findings,
        })
    }
}

impl Checkout {
    /// Lays its objects over those of `archive`. Kinds are told by `target`, if it answers, by
    /// definitions, and by the archive.
    ///
    /// # Errors
    /// When there is too much, or a file cannot be read or written.
    pub async fn over(
        &self,
        archive: &Spool,
        target: Option<&KubeTarget>,
        select: &Select,
        scratch: &Path,
    ) -> Result<TakenGit, RecoverError> {
        let root = self.root();
        let read = documents::read(self.folder.path(), &root).await?;
        let kinds = kinds::Kinds::new(archive, &read.documents, target)?;
        let mut findings = self.findings.clone();
        findings.extend(read.findings);
        let spool = lay::over(
            archive,
            read.documents,
            &kinds,
            select,
            scratch,
            &mut findings,
        )?;
        Ok(TakenGit { spool, findings })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join(&self.path)
    }
}

/// Whether a path stays where it begins.
pub(crate) fn is_inside(path: &str) -> bool {
    let parts = Path::new(path).components();
    let plain = |c| {
        matches!(
            c,
            std::path::Component::Normal(_) | std::path::Component::CurDir
        )
    };
    !path.is_empty() && !path.contains(char::is_control) && parts.into_iter().all(plain)
}

/// A word about changes in a work tree that no commit has.
async fn uncommitted(folder: &Path) -> Result<Option<Finding>, GitError> {
    let mut bare = program::git(folder);
    bare.args(["rev-parse", "--is-inside-work-tree"]);
    let what = format!("find a repository in {}", folder.display());
    let inside = program::run(bare, &what, ASK, MAX_ANSWER).await?;
    if inside.trim_ascii() != b"true" {
        return Ok(None);
    }
    let mut status = program::git(folder);
    status.args([
        "--no-optional-locks",
        "status",
        "--porcelain",
        "--ignore-submodules=all",
    ]);
    let what = format!("see what is not committed in {}", folder.display());
    let changed = program::run(status, &what, ASK, MAX_ANSWER).await?;
    let files = changed.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    let files = files.count();
    Ok((files > 0).then(|| Finding {
        severity: Severity::Warning,
        object: folder.display().to_string(),
        cause: format!("{files} files there are changed or new and not committed"),
        remedy: "only what is committed is restored; commit them and plan again if they are meant"
            .to_owned(),
    }))
}

/// What the documents of a text say.
#[cfg(test)]
pub(crate) fn read_back(text: &str) -> Vec<serde_json::Value> {
    let mut read = documents::Read::default();
    let read_all = read.text("a.yaml", text.as_bytes());
    let documents = read.documents.into_iter();
    read_all.map_or_else(|_| Vec::new(), |()| documents.map(|d| d.value).collect())
}

#[cfg(test)]
#[path = "git/tests.rs"]
mod tests;
