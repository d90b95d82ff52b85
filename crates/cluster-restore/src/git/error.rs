//! Errors of a Git repository.

use std::path::Path;

use backup_core::proxy::ProxyError;

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
    pub(super) fn read(file: &Path, source: std::io::Error) -> Self {
        let file = file.display().to_string();
        Self::Read { file, source }
    }
}
