//! The Git mirror: definitions and custom resources of a restore point as YAML in a Git repository,
//! one commit for each restore point that changes something.
//!
//! Objects are noted by a [`Stage`] while the export reads them, since what is stored cannot be read
//! by who stored it. When the restore point is committed, [`Mirror::publish`] brings the remote branch
//! into its work folder, lays the files over it, commits and pushes. The remote is the truth: the
//! work folder may be lost at any time.
//!
//! It never pushes by force, never takes a Secret, and removes a file only if the manifest proves that
//! its object would have been listed. What a restore reads from Git is what this writes.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use tokio::task::spawn_blocking;

use crate::format::manifest::Manifest;
use crate::id::{ClusterName, ComponentName, RestorePointId};
use crate::proxy::Proxies;
use crate::recover::git::{
    BUTLERS, GitError, GitSource, MAX_OBJECTS, MAX_TEXT, MIRRORS, is_inside,
};
use crate::source::kube::Selection;

mod flux;
mod folder;
mod git;
mod gone;
mod place;
mod plain;
mod repository;
pub mod ssh;
mod stage;
mod suspect;

pub use stage::{Stage, Staged};

use repository::{Pushed, Repository};

/// A reason is a sentence.
const MAX_REASON: usize = 500;

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The address of the repository, or its folder.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The folder in the repository.
    pub path: String,
    /// The work folder: nobody else's.
    pub folder: PathBuf,
}

/// What lets us in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// User and token for http and https.
    pub token: Option<(String, SecretString)>,
    /// The private key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// The hosts that ssh may believe.
    pub known_hosts: Option<PathBuf>,
    /// The authorities that https believes.
    pub ca_file: Option<PathBuf>,
    /// The proxies that lead to http and https.
    pub proxies: Proxies,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Published {
    /// The commit, if the restore point changed something.
    pub commit: Option<String>,
    /// Files that were written.
    pub written: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Fields that were left out of them, as they may be secret.
    pub left_out: u64,
    /// Commits that the remote does not have yet.
    pub unpushed: u64,
    /// Commits that were given up, since others had changed the same lines: their content is in a
    /// later one.
    pub given_up: u64,
    /// Why the remote does not have it.
    pub problem: Option<GitError>,
}

/// Why nothing was mirrored.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It is configured in a way that cannot work.
    #[error("the mirror is refused: {why}")]
    Refused {
        /// Why.
        why: &'static str,
    },
    /// A file or folder.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The notes of a run.
    #[error("cannot note what is to be mirrored")]
    Note(#[source] std::io::Error),
    /// There is more than is mirrored.
    #[error(
        "there is more than {MAX_OBJECTS} objects or {} MiB of them; leave some out with \
         `exclude-resources`, or the mirror",
        MAX_TEXT >> 20
    )]
    TooMuch,
    /// It was taken already.
    #[error("what was noted was taken already")]
    Taken,
    /// Another process has the work folder.
    #[error("another process works in {}; give each its own", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// Flux applies what lies there.
    #[error(
        "the mirror is refused: Flux applies {path} of the repository ({sign}); it would apply the copies, \
         which have no status, and delete in the cluster what the mirror removes; set `git-mirror.path` to \
         a folder that no Kustomization of Flux covers, or mirror into another repository"
    )]
    Flux {
        /// The mirror's folder.
        path: String,
        /// What tells it.
        sign: String,
    },
    /// It would be there twice.
    #[error(
        "the mirror is refused: this cluster is mirrored to {from} of the repository, where it was by \
         default before, and would be mirrored to {to} as well; move it there as docs/CONFIGURATION.md says \
         (\"An older mirror\"), so that Flux deletes nothing, or name its folder with `git-mirror.path`"
    )]
    Twice {
        /// The old folder.
        from: &'static str,
        /// The new one.
        to: String,
    },
    /// `git` failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl MirrorError {
    fn file(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::File { what, path, source }
    }

    fn note(source: std::io::Error) -> Self {
        Self::Note(source)
    }
}

/// The folder of a cluster's mirror where none is named: outside of `clusters/`, which Butler has Flux apply.
#[must_use]
pub fn usual_path(cluster: &ClusterName) -> String {
    format!("{MIRRORS}/{cluster}")
}

impl Mirror {
    /// Whether address, branch and path are such as can be used.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), MirrorError> {
        let source = GitSource {
            repository: self.repository.clone(),
            reference: Some(self.branch.clone()),
            path: Some(self.path.clone()),
        };
        source.check().map_err(|error| match error {
            GitError::Refused { why, .. } if why.contains("password") => {
                let why = "its address holds a user or a password; give a token in a file instead";
                MirrorError::Refused { why }
            }
            error => error.into(),
        })?;
        let branch = self.branch.as_str();
        let odd = branch.is_empty()
            || branch.starts_with(['/', '.'])
            || branch.ends_with(['/', '.'])
            || branch.ends_with(".lock")
            || branch == "HEAD"
            || branch.starts_with("refs/")
            || ["..", "//", "@{", "/."]
                .iter()
                .any(|part| branch.contains(part));
        if odd {
            let why = "the branch has no name that Git takes";
            return Err(MirrorError::Refused { why });
        }
        if !is_inside(&self.path) || self.path.split('/').any(|p| p.eq_ignore_ascii_case(".git")) {
            let why = "the path leads out of the repository";
            return Err(MirrorError::Refused { why });
        }
        Ok(())
    }

    /// Whether both write to the same folder, or one within the other's.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        let (a, b) = (normal(&self.path), normal(&other.path));
        same(&self.repository, &other.repository)
            && self.branch == other.branch
            && (a.starts_with(&b) || b.starts_with(&a))
    }

    /// Mirrors what was staged for the restore point `id`. A remote that is away, or takes nothing, is
    /// told in the answer: what was committed is pushed with the next.
    ///
    /// # Errors
    /// When nothing could be committed.
    pub async fn publish(
        &self,
        access: &Access,
        mut staged: Staged,
        id: &RestorePointId,
        manifest: &Arc<Manifest>,
        selection: &Selection,
    ) -> Result<Published, MirrorError> {
        self.check()?;
        let repository = Repository::open(self, access).await?;
        let at = manifest.ended;
        let mut published = Published {
            left_out: staged.left_out(),
            ..Published::default()
        };
        // Others may push between our fetch and our push: once more, then the next run is as good.
        for _ in 0..2 {
            match self.settle(&repository, manifest).await {
                Ok(given_up) => {
                    published.given_up = published.given_up.saturating_add(given_up);
                }
                // Without a base it would be another history.
                Err(error) if repository.head().await.is_none() => return Err(error),
                Err(MirrorError::Git(error)) => {
                    repository.clean().await?;
                    published.problem = Some(error);
                }
                Err(error) => return Err(error),
            }
            let applied = flux::is_known(manifest).then(|| staged.applied());
            flux::refuse(self, applied, repository.folder())?;
            if normal(&self.path) != normal(BUTLERS)
                && repository
                    .is_mirrored_to(BUTLERS, &manifest.cluster)
                    .await?
            {
                let (from, to) = (BUTLERS, self.path.clone());
                return Err(MirrorError::Twice { from, to });
            }
            let (root, own) = (repository.root(), Arc::clone(manifest));
            let selection = selection.clone();
            // Many small files.
            let work = spawn_blocking(move || {
                let written = lay(&root, &own, &mut staged)?;
                let removed = gone::remove(&root, &own, &selection, &staged)?;
                Ok::<_, MirrorError>((staged, written, removed))
            });
            let worked = work.await.map_err(|e| MirrorError::note(e.into()))??;
            staged = worked.0;
            let (written, removed) = (worked.1, worked.2);
            let message = message(id, manifest, written, removed);
            if let Some(commit) = repository.commit(&message, at).await? {
                published.commit = Some(commit);
                published.written = written;
                published.removed = removed;
            }
            if published.problem.is_some() || repository.unpushed().await? == 0 {
                break;
            }
            match repository.push().await? {
                Pushed::Yes => {
                    published.problem = None;
                    break;
                }
                Pushed::No(error) => published.problem = Some(error),
            }
        }
        if published.commit.is_some() {
            // A rebase makes another of it.
            published.commit = repository.head().await;
        }
        published.unpushed = repository.unpushed().await?;
        Ok(published)
    }

    /// Settles with the remote; makes the work folder anew if it is broken.
    async fn settle(
        &self,
        repository: &Repository<'_>,
        manifest: &Manifest,
    ) -> Result<u64, MirrorError> {
        let settled = repository.settle(manifest.ended).await;
        if settled.is_err() && repository.clean().await.is_err() {
            repository.anew().await?;
            return repository.settle(manifest.ended).await;
        }
        settled
    }
}

/// A path in the repository, without what leads nowhere.
fn normal(path: &str) -> PathBuf {
    let parts = Path::new(path).components();
    parts
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

/// Whether the run took the component. One that failed half-way is in no restore point.
fn is_taken(manifest: &Manifest, name: &ComponentName) -> bool {
    let component = manifest.component(name);
    component.is_some_and(|component| component.carried_from.is_none())
}

/// Writes the files that are not there as they should be; gives their number.
fn lay(root: &Path, manifest: &Manifest, staged: &mut Staged) -> Result<u64, MirrorError> {
    let mut written: u64 = 0;
    let (crds, resources) = (
        is_taken(manifest, &ComponentName::crds()),
        is_taken(manifest, &ComponentName::resources()),
    );
    staged.each(|place, text| {
        if !(if place::is_definition(place) {
            crds
        } else {
            resources
        }) {
            return Ok(());
        }
        let path = root.join(place);
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let failed = |source| MirrorError::file("write", &path, source);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(&path, text).map_err(failed)?;
        written = written.saturating_add(1);
        Ok(())
    })?;
    Ok(written)
}

fn message(id: &RestorePointId, manifest: &Manifest, written: u64, removed: u64) -> String {
    let reason = manifest.reason.as_deref().unwrap_or("none was given");
    let reason: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect();
    format!(
        "Restore point {id}\n\nObjects written: {written}, removed: {removed}.\n\n\
         Restore-Point: {id}\nCluster: {}\nReason: {}\n",
        manifest.cluster,
        reason.trim()
    )
}

/// Makes a folder that only its owner can look into, or sees to that.
fn private(folder: &Path) -> Result<(), MirrorError> {
    let failed = |source| MirrorError::file("make", folder, source);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(failed)?;
    let mode = folder.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let failed = |source| MirrorError::file("close to others", folder, source);
        let permissions = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, permissions).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_branch_and_a_folder_is_taken() {
        let mirror = |branch: &str, path: &str, repository: &str| Mirror {
            repository: repository.to_owned(),
            branch: branch.to_owned(),
            path: path.to_owned(),
            folder: "/x".into(),
        };
        let fine = "https://git.example.org/fleet.git";
        mirror("main", "clusters/management", fine).check().unwrap();
        mirror("a/b", ".", "git@git.example.org:fleet")
            .check()
            .unwrap();
        for bad in [
            mirror("--force", "a", fine),
            mirror("+main", "a", fine),
            mirror("a..b", "a", fine),
            mirror("refs/heads/main", "a", fine),
            mirror("main", "../a", fine),
            mirror("main", "a/.git/hooks", fine),
            mirror("main", "a", "https://user:canary@git.example.org/fleet"),
            mirror("main", "a", "ext::sh -c x"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_work_folder_is_closed_to_others() {
        let folder = tempfile::TempDir::new().unwrap();
        let own = folder.path().join("a/b");
        private(&own).unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&own, open).unwrap();
        private(&own).unwrap();
        let mode = own.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
