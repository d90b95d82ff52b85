//! Restore of objects from a Git repository, completed from a restore point.
//!
//! Git has what people asked for: spec, labels, annotations. It has no status, no owners, and of
//! Secrets at most sealed ones. So an object is the archive's with Git's fields laid over it, and
//! an object that only Git has is created as Git has it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::RecoverError;
use super::select::Selection;
use super::spool::Spool;
use backup_core::format::manifest::Finding;
use backup_core::id::ClusterName;
use backup_core::proxy::{Proxies, ProxyError};
use cluster_client::kube::target::KubeTarget;

mod absent;
mod build;
mod commit;
mod coverage;
mod documents;
mod included;
mod kinds;
mod overlay;
pub(crate) mod program;
mod refusals;
mod tree;

pub(crate) use documents::parse;

/// Time limit for a fetch. A shallow fetch of a repository of manifests takes seconds.
const FETCH: Duration = Duration::from_secs(180);
/// Time limit for any other `git` command.
const ASK: Duration = Duration::from_secs(60);
/// Folder of a checkout's files.
const TREE: &str = "tree";
/// Largest output of `git`, which is a line, or a line for each changed file.
const MAX_ANSWER: u64 = 4 << 20;
/// Folder where Butler keeps the management cluster's objects.
pub const BUTLERS: &str = "clusters/management";
/// Folder of mirrors, with a folder for each cluster.
pub const MIRRORS: &str = "butler-backup";
/// Largest number of objects that a mirror writes, and of files that a restore reads: a restore can
/// read every mirror.
pub const MAX_OBJECTS: u64 = 100_000;
/// Largest size of their text, for both.
pub const MAX_TEXT: u64 = 512 << 20;

/// Reason why a Git repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program cannot be started.
    #[error("cannot start `{program}`")]
    Start {
        /// Program.
        program: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// The configured proxy cannot be used.
    #[error("cannot reach the repository")]
    Proxy(#[from] ProxyError),
    /// The program failed.
    #[error("cannot {what}: {said}")]
    Failed {
        /// Operation that failed.
        what: String,
        /// Error message of the program.
        said: String,
    },
    /// ssh cannot connect or log in.
    #[error("cannot {what}: over ssh to {host}: {why}; {remedy}")]
    Ssh {
        /// Operation that failed.
        what: String,
        /// Host.
        host: String,
        /// Cause.
        why: String,
        /// Remedy.
        remedy: String,
    },
    /// The address, branch or path is not accepted.
    #[error("`{given}` is refused: {why}")]
    Refused {
        /// Value that was given.
        given: String,
        /// Reason.
        why: &'static str,
    },
    /// The folder is not in the repository.
    #[error("{repository} has no folder {path} at commit {commit}")]
    NoFolder {
        /// Repository.
        repository: String,
        /// Folder.
        path: String,
        /// Commit.
        commit: String,
    },
    /// There are more files, objects or bytes than the limit.
    #[error("{what} than {most}; name a smaller folder with --git-path")]
    TooMuch {
        /// Things that are too many.
        what: &'static str,
        /// Limit.
        most: u64,
    },
    /// A repository is larger than the limit.
    #[error(
        "{repository} has more than {most} {what}; keep the manifests in a repository of their own"
    )]
    TooLarge {
        /// Repository.
        repository: String,
        /// Limit.
        most: u64,
        /// Things that are too many.
        what: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// Name of the file.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
}

impl GitError {
    fn read(file: &Path, source: std::io::Error) -> Self {
        let file = file.display().to_string();
        Self::Read { file, source }
    }
}

/// Location of objects in Git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Folder or address.
    pub repository: String,
    /// Branch, tag or full commit hash; `None` for the repository's default branch.
    pub reference: Option<String>,
    /// Folder in the repository. `None` for the first of these that exists: all of an export that
    /// has a report, Butler's folder, the folder of the cluster's mirror, or everything except
    /// mirrors.
    pub path: Option<String>,
}

/// Commit of a repository, in a folder that only its owner can read.
#[derive(Debug)]
pub struct Checkout {
    home: TempDir,
    path: String,
    /// Whether the folder was chosen by default.
    is_usual: bool,
    /// Folder or address, as a plan names it.
    pub repository: String,
    /// Hash of the commit.
    pub commit: String,
    /// Findings about the repository.
    pub findings: Vec<Finding>,
}

/// Objects of Git and the archive together.
#[derive(Debug)]
pub struct GitObjects {
    /// Objects.
    pub spool: Spool,
    /// Findings about them.
    pub findings: Vec<Finding>,
}

impl GitSource {
    /// Parses `URL-or-FOLDER[#REF]`.
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

    /// Reports whether it is a folder on this machine.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        let text = &self.repository;
        let host = text.split_once(':').map(|(host, _)| host);
        !text.contains("://") && host.is_none_or(|host| host.contains('/'))
    }

    /// Checks that address, reference and path are safe to pass to `git`.
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
                let why = "a plan would store its password; use Git's credential helper instead";
                return refuse(host, why);
            }
        } else if repository.contains("::") {
            return refuse(repository, "only file, http, https and ssh are taken");
        }
        let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        if let Some(reference) = &self.reference
            && (reference.starts_with(['-', '+']) || reference.contains(bad))
        {
            return refuse(reference, "it is not a branch, tag or commit");
        }
        if let Some(path) = &self.path
            && !is_inside(path)
        {
            return refuse(path, "it is not a path in the repository");
        }
        Ok(())
    }

    /// Returns the folder on this machine, if it is one.
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

    /// Writes its newest commit, for the cluster with this name, into a folder in `scratch`.
    ///
    /// # Errors
    /// When `git` is missing or fails, or when the address, reference or path is refused.
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
                let commit = commit::borrow(&own, folder, reference).await?;
                (folder.display().to_string(), commit)
            }
            None => {
                let url = self.repository.as_str();
                let commit = commit::fetch(&own, url, reference, proxies).await?;
                (url.to_owned(), commit)
            }
        };
        let tree = home.path().join(TREE);
        tree::write(&commit, &repository, &tree, tree::TreeLimits::ALL).await?;
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
    /// Lays its objects over those of `archive`. Kinds come from `target`, if it answers, from
    /// definitions, and from the archive.
    ///
    /// # Errors
    /// When there is too much, or a file cannot be read or written.
    pub async fn over(
        &self,
        archive: &Spool,
        target: Option<&KubeTarget>,
        select: &Selection,
        scratch: &Path,
    ) -> Result<GitObjects, RecoverError> {
        let root = self.root();
        let (tree, mirrors) = (self.tree(), self.tree().join(MIRRORS));
        let place = documents::CheckoutFolders {
            home: self.home.path(),
            tree: &tree,
            root: &root,
            // It may contain mirrors of other clusters.
            without: self.is_usual.then_some(mirrors.as_path()),
        };
        let mut read = documents::read(place, documents::ReadLimits::ALL).await?;
        let kinds = kinds::Kinds::new(archive, &read, target)?;
        let mut findings = self.findings.clone();
        findings.append(&mut read.findings);
        let spool = overlay::overlay_spool(archive, &read, &kinds, select, scratch, &mut findings)?;
        Ok(GitObjects { spool, findings })
    }

    fn tree(&self) -> PathBuf {
        self.home.path().join(TREE)
    }

    fn root(&self) -> PathBuf {
        self.tree().join(&self.path)
    }

    /// Returns the default folder.
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
            self.findings.push(Finding::info(
                mirror.clone(),
                format!("a mirror of the cluster is there, and {BUTLERS} was taken"),
                format!("give --git-path {mirror} if the mirror is meant"),
            ));
        }
        BUTLERS.to_owned()
    }
}

/// Reports whether a path stays inside the folder where it begins.
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

/// Returns the documents of a text.
#[cfg(test)]
pub(crate) fn read_back(text: &str) -> Vec<serde_json::Value> {
    let folder = std::env::temp_dir();
    let Ok(mut read) = documents::DocumentSet::new(&folder, documents::ReadLimits::ALL) else {
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
