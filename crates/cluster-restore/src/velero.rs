//! Reader of objects in a Velero backup: the tarball of format 1.1.0, or the bucket folder that contains it.
//!
//! Such a file is not authenticated. Its members are read in order, nothing is unpacked to a disk, and
//! members that Velero never writes are refused.

mod tarball;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::tarball::TarballReader;
use super::RecoverError;
use super::select::Selection;
use super::spool::ObjectSpool;
use backup_core::digest::Digest;
use backup_core::format::manifest::Finding;

/// Size limit of `velero-backup.json`, which describes a backup in some KiB.
const MAX_DESCRIPTION: u64 = 4 << 20;

/// Reason why a Velero backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VeleroError {
    /// The file cannot be opened.
    #[error("cannot read {file}")]
    Read {
        /// Path of the file.
        file: String,
        /// Error of the read.
        source: io::Error,
    },
    /// The folder contains no tarball, or several.
    #[error("{folder} is not the folder of one Velero backup: {what}")]
    Folder {
        /// Path of the folder.
        folder: String,
        /// Description of the problem.
        what: String,
    },
    /// The backup has another format version.
    #[error("{file} is a Velero backup of format {version}, and 1.1.0 is the one that is known")]
    Version {
        /// Path of the file.
        file: String,
        /// Version that the backup names.
        version: String,
    },
    /// The file does not say that it is a Velero backup.
    #[error("{file} has no metadata/version, so it is not a Velero backup")]
    NoVersion {
        /// Path of the file.
        file: String,
    },
    /// The file contains a member that Velero never writes.
    #[error("{file} was not written by Velero: its member {member} {what}; nothing of it is used")]
    Hostile {
        /// Path of the file.
        file: String,
        /// Name of the member.
        member: String,
        /// Description of the problem.
        what: String,
    },
    /// The bytes of the file are damaged.
    #[error("{file} is damaged, or not a tar packed with gzip")]
    Damaged {
        /// Path of the file.
        file: String,
        /// Error of the reader.
        source: io::Error,
    },
}

/// Result of reading a backup.
#[derive(Debug)]
pub struct VeleroObjects {
    /// Objects of the backup.
    pub spool: ObjectSpool,
    /// Path of the tarball.
    pub file: PathBuf,
    /// Digest of the tarball.
    pub sha256: Digest,
    /// Findings for the operator.
    pub findings: Vec<Finding>,
}

/// Spools the selected objects of the backup at `path` in `scratch`.
///
/// # Errors
/// When there is no backup, when it differs from what Velero writes, or when the scratch file cannot be
/// written.
pub async fn read_velero(
    path: &Path,
    scratch: &Path,
    select: &Selection,
) -> Result<VeleroObjects, RecoverError> {
    let (path, scratch, select) = (path.to_owned(), scratch.to_owned(), select.clone());
    let read = tokio::task::spawn_blocking(move || read(&path, &scratch, &select));
    read.await.unwrap_or(Err(RecoverError::Cancelled))
}

fn read(path: &Path, scratch: &Path, select: &Selection) -> Result<VeleroObjects, RecoverError> {
    let (file, mut findings) = find(path)?;
    let opened = open(&file)?;
    let bytes = opened.metadata().map_or(0, |m| m.len());
    let mut taking = TarballReader {
        file: file.display().to_string(),
        select,
        // Objects compress to a tenth of their size.
        spool: ObjectSpool::create(scratch, bytes.saturating_mul(10))?,
        later: ObjectSpool::create(scratch, 0)?,
        version: None,
    };
    let (_, sha256) = taking.tarball(opened)?;
    let spool = taking.finish()?;
    findings.push(Finding::warning(
        file.display().to_string(),
        "Velero backups are not signed: anyone who can write to the bucket can make you \
         restore what they like",
        "restore from an archive of this program where there is one",
    ));
    Ok(VeleroObjects {
        spool,
        file,
        sha256,
        findings,
    })
}

/// Finds the tarball at `path`, or in the folder `path`.
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
    Ok((file, check_description(&path.join("velero-backup.json"))?))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BackupDescription {
    status: BackupStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BackupStatus {
    phase: String,
    errors: u64,
}

/// Returns a finding if the description beside the tarball says that the backup is not complete.
fn check_description(file: &Path) -> Result<Vec<Finding>, VeleroError> {
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
    let warned = |cause: String| {
        Finding::warning(
            name.clone(),
            cause,
            "choose a backup that is Completed, or look for what it lacks in the plan",
        )
    };
    let Ok(BackupDescription { status }) = serde_json::from_slice(&bytes) else {
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
    // Opening a pipe would block.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a plain file")));
    }
    File::open(file).map_err(failed)
}

#[cfg(test)]
#[path = "velero/tests.rs"]
mod tests;
