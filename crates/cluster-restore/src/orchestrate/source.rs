//! Source of a restore's objects: the archive, a Git repository, or a Velero backup.

use std::path::PathBuf;

use crate::git::GitSource;
use crate::plan::Origin;

/// Source of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectSource {
    /// The restore point.
    Archive,
    /// A Git repository, supplemented from the restore point.
    Git(GitSource),
    /// A Velero backup alone.
    Velero(PathBuf),
}

/// Difference between the source of a plan and the same source now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceDifference {
    /// A branch of the Git repository moved.
    #[error("the plan is of commit {planned} of {repository}, which is at {now} now")]
    Commit {
        /// Git repository.
        repository: String,
        /// Commit of the plan.
        planned: String,
        /// Commit now.
        now: String,
    },
    /// The Velero backup was replaced.
    #[error("the plan is of {path} with SHA-256 {planned}, and it has {now} now")]
    Backup {
        /// Path of the backup.
        path: String,
        /// SHA-256 in the plan.
        planned: String,
        /// SHA-256 now.
        now: String,
    },
}

impl ObjectSource {
    /// Returns the source of a plan, as it was requested.
    #[must_use]
    pub fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Archive { .. } => Self::Archive,
            Origin::Git {
                repository,
                reference,
                path,
                ..
            } => Self::Git(GitSource {
                repository: repository.clone(),
                reference: reference.clone(),
                path: path.clone(),
            }),
            Origin::Velero { path, .. } => Self::Velero(path.into()),
        }
    }

    /// Returns the source of a restore that began: its commit, even if the branch has moved.
    pub(super) fn begun(origin: &Origin) -> Self {
        match (Self::of(origin), origin) {
            (Self::Git(git), Origin::Git { commit, .. }) => Self::Git(GitSource {
                reference: Some(commit.clone()),
                ..git
            }),
            (source, _) => source,
        }
    }
}

/// Refuses a source that differs from the plan's.
pub(super) fn same_source(planned: &Origin, now: &Origin) -> Result<(), SourceDifference> {
    match (planned, now) {
        (
            Origin::Git {
                repository, commit, ..
            },
            Origin::Git { commit: now, .. },
        ) if commit != now => Err(SourceDifference::Commit {
            repository: repository.clone(),
            planned: commit.clone(),
            now: now.clone(),
        }),
        (Origin::Velero { path, sha256 }, Origin::Velero { sha256: now, .. }) if sha256 != now => {
            Err(SourceDifference::Backup {
                path: path.clone(),
                planned: sha256.to_string(),
                now: now.to_string(),
            })
        }
        _ => Ok(()),
    }
}
