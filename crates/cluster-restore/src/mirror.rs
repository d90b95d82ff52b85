//! Git mirror: definitions and custom resources of a restore point as YAML in a Git repository, one commit
//! for each restore point that changes something.
//!
//! A [`StagingArea`] records objects while the export reads them, because the writer of a restore point cannot read
//! it back. When the restore point is committed, [`Mirror::publish`] fetches the remote branch into its work
//! folder, writes the files over it, commits and pushes. The remote is the truth: the work folder may be lost
//! at any time.
//!
//! The mirror never pushes by force, never contains a Secret, and removes a file only if the manifest proves
//! that its object would have been listed. A restore from Git reads what the mirror writes.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use tokio::task::spawn_blocking;

use crate::git::{BUTLERS, GitError, GitSource, MAX_OBJECTS, MAX_TEXT, MIRRORS, is_inside};
use backup_core::format::manifest::Manifest;
use backup_core::id::{ClusterName, ComponentName, RestorePointId};
use backup_core::proxy::Proxies;
use cluster_client::kube::Selection;

mod flux;
mod folder;
mod git;
mod place;
mod redact;
mod removal;
mod repository;
mod secrets;
pub mod ssh;
mod staging;

pub use staging::{StagedObjects, StagingArea};

use repository::{PushResult, Repository};

/// Largest length of a reason, which is a sentence.
const MAX_REASON: usize = 500;

/// Destination of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Address of the repository, or its folder.
    pub repository: String,
    /// Branch.
    pub branch: String,
    /// Folder in the repository.
    pub path: String,
    /// Work folder that nothing else uses.
    pub folder: PathBuf,
}

/// Credentials and trust for the remote.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// User and token for http and https.
    pub token: Option<(String, SecretString)>,
    /// Private key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// File with the host keys that ssh trusts.
    pub known_hosts: Option<PathBuf>,
    /// File with the certificate authorities that https trusts.
    pub ca_file: Option<PathBuf>,
    /// Proxies for http and https.
    pub proxies: Proxies,
}

/// Result of publishing a restore point.
#[derive(Debug, Default)]
pub struct PublishReport {
    /// Commit, if the restore point changed something.
    pub commit: Option<String>,
    /// Number of files that were written.
    pub written: u64,
    /// Number of files that were removed.
    pub removed: u64,
    /// Number of fields that were left out of the files because they may be secret.
    pub left_out: u64,
    /// Number of commits that the remote does not have yet.
    pub unpushed: u64,
    /// Number of commits that were discarded because others changed the same lines: a later commit contains
    /// their content.
    pub given_up: u64,
    /// Reason why the remote does not have the commit.
    pub problem: Option<GitError>,
}

/// Reason why nothing was mirrored.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The configuration cannot work.
    #[error("the mirror is refused: {why}")]
    Refused {
        /// Reason of the refusal.
        why: &'static str,
    },
    /// A file or folder cannot be used.
    #[error("cannot {what} {}", path.display())]
    File {
        /// Operation that failed.
        what: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operation.
        source: std::io::Error,
    },
    /// The objects of a run cannot be recorded.
    #[error("cannot note what is to be mirrored")]
    Note(#[source] std::io::Error),
    /// There are more objects or bytes than the mirror's limits.
    #[error(
        "there is more than {MAX_OBJECTS} objects or {} MiB of them; leave some out with \
         `exclude-resources`, or the mirror",
        MAX_TEXT >> 20
    )]
    TooMuch,
    /// The recorded objects were taken already.
    #[error("what was noted was taken already")]
    Taken,
    /// Another process uses the work folder.
    #[error("another process works in {}; give each its own", folder.display())]
    Busy {
        /// Work folder.
        folder: PathBuf,
    },
    /// Flux applies the mirror's folder.
    #[error(
        "the mirror is refused: Flux applies {path} of the repository ({sign}); it would apply the copies, \
         which have no status, and delete in the cluster what the mirror removes; set `git-mirror.path` to \
         a folder that no Kustomization of Flux covers, or mirror into another repository"
    )]
    Flux {
        /// Folder of the mirror.
        path: String,
        /// Evidence that Flux applies it.
        sign: String,
    },
    /// The cluster would be mirrored twice.
    #[error(
        "the mirror is refused: this cluster is mirrored to {from} of the repository, where it was by \
         default before, and would be mirrored to {to} as well; move it there as docs/CONFIGURATION.md says \
         (\"An older mirror\"), so that Flux deletes nothing, or name its folder with `git-mirror.path`"
    )]
    Twice {
        /// Old folder.
        from: &'static str,
        /// New folder.
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

/// Returns the default folder of a cluster's mirror: outside of `clusters/`, which Butler has Flux apply.
#[must_use]
pub fn usual_path(cluster: &ClusterName) -> String {
    format!("{MIRRORS}/{cluster}")
}

impl Mirror {
    /// Checks that address, branch and path can be used.
    ///
    /// # Errors
    /// The first problem that is found.
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
            let why = "Git does not accept the branch's name";
            return Err(MirrorError::Refused { why });
        }
        if !is_inside(&self.path) || self.path.split('/').any(|p| p.eq_ignore_ascii_case(".git")) {
            let why = "the path leads out of the repository";
            return Err(MirrorError::Refused { why });
        }
        Ok(())
    }

    /// Whether both write to the same folder, or one writes inside the other's folder.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        let (a, b) = (normal(&self.path), normal(&other.path));
        same(&self.repository, &other.repository)
            && self.branch == other.branch
            && (a.starts_with(&b) || b.starts_with(&a))
    }

    /// Mirrors the staged objects of the restore point `id`. A remote that is unreachable or refuses the push
    /// is reported in the result: the next call pushes the commit.
    ///
    /// # Errors
    /// When nothing could be committed.
    pub async fn publish(
        &self,
        access: &Access,
        mut staged: StagedObjects,
        id: &RestorePointId,
        manifest: &Arc<Manifest>,
        selection: &Selection,
    ) -> Result<PublishReport, MirrorError> {
        self.check()?;
        let repository = Repository::open(self, access).await?;
        let at = manifest.ended;
        let mut published = PublishReport {
            left_out: staged.left_out(),
            ..PublishReport::default()
        };
        // Others may push between our fetch and our push: try once more, then leave it to the next run.
        for _ in 0..2 {
            match self.settle(&repository, manifest).await {
                Ok(given_up) => {
                    published.given_up = published.given_up.saturating_add(given_up);
                }
                // Without a base, the commit would start another history.
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
            // There are many small files.
            let work = spawn_blocking(move || {
                let written = write_files(&root, &own, &mut staged)?;
                let removed = removal::remove(&root, &own, &selection, &staged)?;
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
                PushResult::Yes => {
                    published.problem = None;
                    break;
                }
                PushResult::No(error) => published.problem = Some(error),
            }
        }
        if published.commit.is_some() {
            // A rebase gives the commit another hash.
            published.commit = repository.head().await;
        }
        published.unpushed = repository.unpushed().await?;
        Ok(published)
    }

    /// Synchronizes with the remote; creates the work folder again if it is broken.
    async fn settle(
        &self,
        repository: &Repository<'_>,
        manifest: &Manifest,
    ) -> Result<u64, MirrorError> {
        let settled = repository.settle(manifest.ended).await;
        if settled.is_err() && repository.clean().await.is_err() {
            repository.recreate().await?;
            return repository.settle(manifest.ended).await;
        }
        settled
    }
}

/// Returns a path in the repository, with its normal components only.
fn normal(path: &str) -> PathBuf {
    let parts = Path::new(path).components();
    parts
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

/// Whether the run captured the component. A component that failed halfway is in no restore point.
fn is_taken(manifest: &Manifest, name: &ComponentName) -> bool {
    let component = manifest.component(name);
    component.is_some_and(|component| component.carried_from.is_none())
}

/// Writes the files that are missing or differ; returns their number.
fn write_files(
    root: &Path,
    manifest: &Manifest,
    staged: &mut StagedObjects,
) -> Result<u64, MirrorError> {
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

/// Creates a folder that only its owner can access, or restricts an existing folder.
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
