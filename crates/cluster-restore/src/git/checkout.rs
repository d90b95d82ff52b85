//! Checkout of one commit, and the objects that it gives together with a restore point's.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::commit;
use super::{BUTLERS, GitError, GitSource, MIRRORS, coverage, documents, kinds, overlay, tree};
use crate::RecoverError;
use crate::select::Selection;
use crate::spool::ObjectSpool;
use backup_core::format::manifest::Finding;
use backup_core::id::ClusterName;
use backup_core::proxy::Proxies;
use cluster_client::kube::target::KubeTarget;

/// Folder of a checkout's files.
const TREE: &str = "tree";

/// Commit of a repository, in a folder that only its owner can read.
#[derive(Debug)]
pub struct Checkout {
    home: TempDir,
    pub(super) path: String,
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
    pub spool: ObjectSpool,
    /// Findings about them.
    pub findings: Vec<Finding>,
}

impl GitSource {
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
        archive: &ObjectSpool,
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

    pub(super) fn root(&self) -> PathBuf {
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
