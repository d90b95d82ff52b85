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
use crate::id::ClusterName;
use crate::proxy::{Proxies, ProxyError};
use crate::source::kube::target::KubeTarget;

mod absent;
mod build;
mod commit;
mod coverage;
mod documents;
mod included;
mod kinds;
mod lay;
pub(crate) mod program;
mod refuse;
mod tree;

pub(crate) use documents::parse;

/// A shallow fetch of a repository of manifests takes seconds.
const FETCH: Duration = Duration::from_secs(180);
/// Everything else that `git` is asked.
const ASK: Duration = Duration::from_secs(60);
/// The folder of a checkout's files.
const TREE: &str = "tree";
/// Answers of `git` are a line, or a line for each changed file.
const MAX_ANSWER: u64 = 4 << 20;
/// Where Butler keeps the management cluster's objects.
pub const BUTLERS: &str = "clusters/management";
/// Where mirrors are, a folder for each cluster.
pub const MIRRORS: &str = "butler-backup";
/// Objects that a mirror writes, and files that a restore reads: what one writes the other takes.
pub const MAX_OBJECTS: u64 = 100_000;
/// Their text, for both.
pub const MAX_TEXT: u64 = 512 << 20;

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
    /// A repository has more than is taken.
    #[error(
        "{repository} has more than {most} {what}; keep the manifests in a repository of their own"
    )]
    TooLarge {
        /// The repository.
        repository: String,
        /// The limit.
        most: u64,
        /// What there is more of.
        what: &'static str,
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

impl GitError {
    fn read(file: &Path, source: std::io::Error) -> Self {
        let file = file.display().to_string();
        Self::Read { file, source }
    }
}

/// Where objects are in Git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// A folder or an address.
    pub repository: String,
    /// A branch, a tag or a whole commit; the repository's own branch if there is none.
    pub reference: Option<String>,
    /// The folder in it. If there is none: all of an export that has a report, Butler's folder, that of the
    /// cluster's mirror, or all but mirrors, the first of these that is there.
    pub path: Option<String>,
}

/// A commit of a repository, in a folder that only its owner reads.
#[derive(Debug)]
pub struct Checkout {
    home: TempDir,
    path: String,
    /// Whether nobody named the folder.
    is_usual: bool,
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

    /// The folder of this machine that it is, if it is one.
    fn folder(&self) -> Result<Option<PathBuf>, GitError> {
        let given = self.repository.as_str();
        if given.starts_with("file:") {
            let url = url::Url::parse(given).ok();
            let folder = url.and_then(|url| url.to_file_path().ok());
            let why = "it names no folder of this machine";
            let given = given.to_owned();
            return folder.map(Some).ok_or(GitError::Refused { given, why });
        }
        Ok(self.is_folder().then(|| given.into()))
    }

    /// Writes the newest commit of it, for the cluster of this name, into a folder of `scratch`.
    ///
    /// # Errors
    /// When `git` is not there or fails, or when something is asked that is not done.
    pub async fn checkout(
        &self,
        cluster: &ClusterName,
        scratch: &Path,
        proxies: &Proxies,
    ) -> Result<Checkout, GitError> {
        self.check()?;
        let folder = match self.folder()? {
            Some(folder) => {
                let found = std::fs::canonicalize(&folder);
                Some(found.map_err(|source| GitError::Read {
                    file: self.repository.clone(),
                    source,
                })?)
            }
            None => None,
        };
        let home = tempfile::Builder::new()
            .prefix("butler-git-")
            .tempdir_in(scratch)
            .map_err(|e| GitError::read(scratch, e))?;
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        let own = home.path().join("git");
        let (repository, commit) = match &folder {
            Some(folder) => {
                let commit = commit::borrowed(&own, folder, reference).await?;
                (folder.display().to_string(), commit)
            }
            None => {
                let url = self.repository.as_str();
                let commit = commit::fetched(&own, url, reference, proxies).await?;
                (url.to_owned(), commit)
            }
        };
        let tree = home.path().join(TREE);
        tree::write(&commit, &repository, &tree, tree::Most::ALL).await?;
        let mut checkout = Checkout {
            home,
            path: String::new(),
            is_usual: self.path.is_none(),
            repository,
            commit: commit.hash,
            findings: commit.findings,
        };
        checkout.path = match &self.path {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => checkout.usual(cluster),
        };
        if !checkout.root().is_dir() {
            return Err(GitError::NoFolder {
                repository: checkout.repository,
                path: checkout.path,
                commit: checkout.commit,
            });
        }
        Ok(checkout)
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
        let (tree, mirrors) = (self.tree(), self.tree().join(MIRRORS));
        let place = documents::Place {
            home: self.home.path(),
            tree: &tree,
            root: &root,
            // Those of other clusters may be among them.
            without: self.is_usual.then_some(mirrors.as_path()),
        };
        let mut read = documents::read(place, documents::Most::ALL).await?;
        let kinds = kinds::Kinds::new(archive, &read, target)?;
        let mut findings = self.findings.clone();
        findings.append(&mut read.findings);
        let spool = lay::over(archive, &read, &kinds, select, scratch, &mut findings)?;
        Ok(TakenGit { spool, findings })
    }

    fn tree(&self) -> PathBuf {
        self.home.path().join(TREE)
    }

    fn root(&self) -> PathBuf {
        self.tree().join(&self.path)
    }

    /// The folder that is taken where nobody names one.
    fn usual(&mut self, cluster: &ClusterName) -> String {
        let mirror = format!("{MIRRORS}/{cluster}");
        let has = |path: &str| self.tree().join(path).is_dir();
        let mirrored = has(&mirror);
        if self.tree().join(coverage::FILE).is_file() {
            return ".".to_owned();
        }
        if !has(BUTLERS) {
            return if mirrored { mirror } else { ".".to_owned() };
        }
        if mirrored {
            self.findings.push(Finding {
                severity: Severity::Info,
                object: mirror.clone(),
                cause: format!("a mirror of the cluster is there, and {BUTLERS} was taken"),
                remedy: format!("give --git-path {mirror} if the mirror is meant"),
            });
        }
        BUTLERS.to_owned()
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

/// What the documents of a text say.
#[cfg(test)]
pub(crate) fn read_back(text: &str) -> Vec<serde_json::Value> {
    let folder = std::env::temp_dir();
    let Ok(mut read) = documents::Read::new(&folder, documents::Most::ALL) else {
        return Vec::new();
    };
    if read.text("a.yaml", text.as_bytes()).is_err() {
        return Vec::new();
    }
    let documents = read.documents.iter();
    documents.filter_map(|d| read.value(d).ok()).collect()
}

#[cfg(test)]
#[path = "git/tests.rs"]
mod tests;
