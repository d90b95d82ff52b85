//! Errors of the mirror.

use std::path::{Path, PathBuf};

use crate::git::{GitError, MAX_OBJECTS, MAX_TEXT};

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
    pub(super) fn file(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::File { what, path, source }
    }

    pub(super) fn note(source: std::io::Error) -> Self {
        Self::Note(source)
    }
}
