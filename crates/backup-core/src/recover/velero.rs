//! Objects out of a Velero backup: the tarball of format 1.1.0, or the folder of the bucket that it
//! lies in.
//!
//! Nothing vouches for such a file. Its members are read as they come, nothing is unpacked to a
//! disk, and what no Velero writes is refused.

mod tarball;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::tarball::Taking;
use super::RecoverError;
use super::select::Select;
use super::spool::Spool;
use crate::digest::Digest;
use crate::format::manifest::{Finding, Severity};

/// `velero-backup.json` describes a backup in some KiB.
const MAX_DESCRIPTION: u64 = 4 << 20;

/// Why a Velero backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VeleroError {
    /// It cannot be opened.
    #[error("cannot read {file}")]
    Read {
        /// Which.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// The folder holds none, or several.
    #[error("{folder} is no folder of one Velero backup: {what}")]
    Folder {
        /// Which.
        folder: String,
        /// What is wrong.
        what: String,
    },
    /// It is of another version.
    #[error("{file} is a Velero backup of format {version}, and 1.1.0 is the one that is known")]
    Version {
        /// Which.
        file: String,
        /// As it names itself.
        version: String,
    },
    /// It does not say that it is one.
    #[error("{file} has no metadata/version, so it is no Velero backup")]
    NoVersion {
        /// Which.
        file: String,
    },
    /// It holds what no Velero writes.
    #[error("{file} was not written by Velero: its member {member} {what}; nothing of it is used")]
    Hostile {
        /// Which.
        file: String,
        /// The member's name.
        member: String,
        /// What is wrong with it.
        what: String,
    },
    /// Its bytes are damaged.
    #[error("{file} is damaged, or no tar packed with gzip")]
    Damaged {
        /// Which.
        file: String,
        /// What the reader says.
        source: io::Error,
    },
}

/// What a backup gave.
#[derive(Debug)]
pub struct TakenVelero {
    /// Its objects.
    pub spool: Spool,
    /// The tarball.
    pub file: PathBuf,
    /// The tarball's digest.
    pub sha256: Digest,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

/// Lays the chosen objects of the backup at `path` aside, in `scratch`.
///
/// # Errors
/// When there is no backup, when it is not as Velero writes it, or when the scratch file cannot be
/// written.
pub async fn read_velero(
    path: &Path,
    scratch: &Path,
    select: &Select,
) -> Result<TakenVelero, RecoverError> {
    let (path, scratch, select) = (path.to_owned(), scratch.to_owned(), select.clone());
    let read = tokio::task::spawn_blocking(move || read(&path, &scratch, &select));
    read.await.unwrap_or(Err(RecoverError::Cancelled))
}

fn read(path: &Path, scratch: &Path, select: &Select) -> Result<TakenVelero, RecoverError> {
    let (file, mut findings) = find(path)?;
    let opened = open(&file)?;
    let bytes = opened.metadata().map_or(0, |m| m.len());
    let mut taking = Taking {
        file: file.display().to_string(),
        select,
        // Objects pack to a tenth.
        spool: Spool::create(scratch, bytes.saturating_mul(10))?,
        later: Spool::create(scratch, 0)?,
        version: None,
    };
    let (_, sha256) = taking.tarball(opened)?;
    let spool = taking.finish()?;
    findings.push(Finding {
        severity: Severity::Warning,
        object: file.display().to_string(),
        cause:
            "nobody signs a Velero backup: whoever can write to its bucket can make you restore \
                what they like"
                .to_owned(),
        remedy: "restore from an archive of this program where there is one".to_owned(),
    });
    Ok(TakenVelero {
        spool,
        file,
        sha256,
        findings,
    })
}

/// The tarball at `path`, or in the folder `path`.
fn find(path: &Path) -> Result<(PathBuf, Vec<Finding>), VeleroError> {
    if !path.is_dir() {
        return Ok((path.to_owned(), Vec::new()));
    }
    let failed = |source| VeleroError::Read {
        file: path.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let name = entry.file_name().and_then(|n| n.to_str());
        if name.is_some_and(|n| n.ends_with(".tar.gz") && !n.starts_with('.')) {
            found.push(entry);
        }
    }
    // In a bucket the folder and the tarball have the backup's name.
    let own = path
        .file_name()
        .and_then(|n| n.to_str())
        .map(|name| path.join(format!("{name}.tar.gz")));
    let wrong = |what: &str| VeleroError::Folder {
        folder: path.display().to_string(),
        what: what.to_owned(),
    };
    let file = match (found.as_slice(), own.filter(|own| found.contains(own))) {
        (_, Some(own)) => own,
        ([one], None) => one.clone(),
        ([], None) => return Err(wrong("it holds no NAME.tar.gz")),
        (_, None) => {
            return Err(wrong(
                "it holds several tarballs, and none has the folder's name; name one of them",
            ));
        }
    };
    Ok((file, described(&path.join("velero-backup.json"))?))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Described {
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    phase: String,
    errors: u64,
}

/// What Velero itself says of the backup, if it lies beside it.
fn described(file: &Path) -> Result<Vec<Finding>, VeleroError> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    open(file)?
        .take(MAX_DESCRIPTION)
        .read_to_end(&mut bytes)
        .map_err(|source| VeleroError::Read {
            file: name.clone(),
            source,
        })?;
    let warned = |cause: String| Finding {
        severity: Severity::Warning,
        object: name.clone(),
        cause,
        remedy: "choose a backup that is Completed, or look for what it lacks in the plan"
            .to_owned(),
    };
    let Ok(Described { status }) = serde_json::from_slice(&bytes) else {
        return Ok(vec![warned("it cannot be read".to_owned())]);
    };
    if status.phase == "Completed" {
        return Ok(Vec::new());
    }
    let (phase, errors) = (status.phase, status.errors);
    let cause = format!("Velero says that the backup is {phase:?}, with {errors} errors");
    Ok(vec![warned(cause)])
}

fn open(file: &Path) -> Result<File, VeleroError> {
    let failed = |source| VeleroError::Read {
        file: file.display().to_string(),
        source,
    };
    // A pipe would be waited for.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no plain file")));
    }
    File::open(file).map_err(failed)
}

#[cfg(test)]
#[path = "velero/tests.rs"]
mod tests;
