//! Objects out of a Velero backup: the tarball of format 1.1.0, or the folder of the bucket that it
//! lies in.
//!
//! Nothing vouches for such a file. Its members are read as they come, nothing is unpacked to a
//! disk, and what no Velero writes is refused.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tar::EntryType;
use zeroize::Zeroizing;

use super::RecoverError;
use super::select::Select;
use super::spool::Spool;
use crate::archive::{MAX_OBJECT, ObjectPath};
use crate::digest::{Digest, HashingWriter};
use crate::format::manifest::{Finding, Severity};

/// Unpacked it is at most this large: a backup of half a million objects is not.
const MAX_PLAIN: u64 = 16 << 30;
/// Members at most: each object is there twice, and half a million are handled.
const MAX_MEMBERS: u64 = 2_000_000;
/// A member's long name and other extensions take some hundred bytes.
const MAX_EXTENSION: u64 = 64 << 10;
/// `velero-backup.json` describes a backup in some KiB.
const MAX_DESCRIPTION: u64 = 4 << 20;
/// Characters of a member's name that are told.
const NAME_TOLD: usize = 200;
/// Ends the folder of an object's second copy.
const PREFERRED: &str = "-preferredversion";

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
    File::open(file).map_err(|source| VeleroError::Read {
        file: file.display().to_string(),
        source,
    })
}

struct Taking<'a> {
    file: String,
    select: &'a Select,
    spool: Spool,
    /// Second copies of objects that were not seen yet.
    later: Spool,
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

impl Taking<'_> {
    /// Reads the whole tarball; gives its length and digest.
    fn tarball(&mut self, opened: impl Read) -> Result<(u64, Digest), RecoverError> {
        let hashed = Hashed {
            inner: opened,
            hash: HashingWriter::new(io::sink()),
        };
        let plain = Limited {
            inner: MultiGzDecoder::new(hashed),
            left: MAX_PLAIN,
        };
        let mut archive = tar::Archive::new(plain);
        let file = self.file.clone();
        let damaged = |source| VeleroError::Damaged {
            file: file.clone(),
            source,
        };
        let mut long_name = None;
        let mut members = 0_u64;
        // Raw: a tar's extensions are read here, with a limit.
        for entry in archive.entries().map_err(damaged)?.raw(true) {
            let mut entry = entry.map_err(damaged)?;
            members = members.saturating_add(1);
            let kind = entry.header().entry_type();
            let own = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if members > MAX_MEMBERS {
                return Err(self.hostile(&own, "is one too many").into());
            }
            let size = entry.size();
            if matches!(
                kind,
                EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName
            ) {
                if size > MAX_EXTENSION {
                    return Err(self.hostile(&own, "has an oversized extension").into());
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(damaged)?;
                match kind {
                    EntryType::XHeader => long_name = self.extended(&own, &bytes)?,
                    EntryType::GNULongName => {
                        let text = String::from_utf8_lossy(&bytes);
                        long_name = Some(text.trim_end_matches('\0').to_owned());
                    }
                    _ => {}
                }
                continue;
            }
            let name = long_name.take().unwrap_or(own);
            self.member(&name, kind, size, &mut entry)?;
        }
        let mut plain = archive.into_inner();
        // To its end: the checksum of gzip stands there, and the digest is of all bytes.
        io::copy(&mut plain, &mut io::sink()).map_err(damaged)?;
        let mut hashed = plain.inner.into_inner();
        io::copy(&mut hashed, &mut io::sink()).map_err(damaged)?;
        let (_, digest, length) = hashed.hash.finish();
        Ok((length, digest))
    }

    /// The name that a pax header gives to the next member.
    fn extended(&self, own: &str, bytes: &[u8]) -> Result<Option<String>, VeleroError> {
        let mut name = None;
        for record in tar::PaxExtensions::new(bytes) {
            let record = record.map_err(|source| VeleroError::Damaged {
                file: self.file.clone(),
                source,
            })?;
            match record.key() {
                Ok("path") => {
                    let text = record.value();
                    let text = text.map_err(|_| self.hostile(own, "has a name that is no text"))?;
                    name = Some(text.to_owned());
                }
                Ok("size" | "linkpath") => {
                    return Err(self.hostile(own, "has a size or a link in its extension"));
                }
                _ => {}
            }
        }
        Ok(name)
    }

    fn member(
        &mut self,
        name: &str,
        kind: EntryType,
        size: u64,
        bytes: &mut impl Read,
    ) -> Result<(), RecoverError> {
        let plain = name.strip_prefix("./").unwrap_or(name);
        if plain.starts_with('/') {
            return Err(self.hostile(name, "has an absolute path").into());
        }
        if plain.split('/').any(|part| part == "..") {
            return Err(self.hostile(name, "leads out of its folder").into());
        }
        if kind.is_dir() {
            return Ok(());
        }
        if !kind.is_file() {
            return Err(self.hostile(name, "is a link or a special file").into());
        }
        let parts: Vec<&str> = plain.split('/').collect();
        let (path, is_second) = match parts.as_slice() {
            ["metadata", "version"] => return self.versioned(name, size, bytes),
            ["resources", resource, version, rest @ ..] if version.ends_with(PREFERRED) => {
                (format!("resources/{resource}/{}", rest.join("/")), true)
            }
            ["resources", _, "cluster" | "namespaces", ..] => (plain.to_owned(), false),
            // Other versions of the same object, and what Velero keeps beside them.
            _ => return Ok(()),
        };
        if size > MAX_OBJECT {
            let what = format!("has {size} bytes, more than any object");
            return Err(self.hostile(name, &what).into());
        }
        let path: ObjectPath = path
            .parse()
            .map_err(|_| self.hostile(name, "is no place of an object"))?;
        if is_second && self.spool.by_path(&path).is_some() {
            return Ok(());
        }
        let mut json = Zeroizing::new(Vec::new());
        bytes
            .read_to_end(&mut json)
            .map_err(|source| VeleroError::Damaged {
                file: self.file.clone(),
                source,
            })?;
        let head: Head = serde_json::from_slice(&json).map_err(|e| RecoverError::NoObject {
            path: path.to_string(),
            line: e.line(),
            column: e.column(),
        })?;
        let group = head.api_version.split_once('/').map_or("", |(g, _)| g);
        let namespace = head.metadata.namespace.filter(|n| !n.is_empty());
        if head.metadata.name != path.name
            || namespace != path.namespace
            || group != path.resource.group()
            || head.kind.is_empty()
        {
            return Err(self.hostile(name, "holds another object").into());
        }
        if !self.select.keeps(&path, &json) {
            return Ok(());
        }
        if is_second {
            self.later.add(&path, &json)
        } else {
            self.spool.add(&path, &json)
        }
    }

    fn versioned(
        &mut self,
        name: &str,
        size: u64,
        bytes: &mut impl Read,
    ) -> Result<(), RecoverError> {
        /// A version number is shorter.
        const LONGEST: u64 = 64;
        if size > LONGEST {
            return Err(self.hostile(name, "is no version").into());
        }
        let mut text = String::new();
        bytes
            .read_to_string(&mut text)
            .map_err(|source| VeleroError::Damaged {
                file: self.file.clone(),
                source,
            })?;
        let version = text.trim();
        if version != "1.1.0" && version != "1" {
            let version = version.chars().filter(|c| !c.is_control()).collect();
            let file = self.file.clone();
            return Err(VeleroError::Version { file, version }.into());
        }
        self.version = Some(version.to_owned());
        Ok(())
    }

    /// What was seen as a second copy alone joins the others.
    fn finish(self) -> Result<Spool, RecoverError> {
        if self.version.is_none() {
            return Err(VeleroError::NoVersion { file: self.file }.into());
        }
        let mut spool = self.spool;
        for entry in self.later.entries() {
            if spool.by_path(&entry.path).is_none() {
                let bytes = Zeroizing::new(self.later.value(entry)?.to_string().into_bytes());
                spool.add(&entry.path, &bytes)?;
            }
        }
        Ok(spool)
    }

    fn hostile(&self, member: &str, what: &str) -> VeleroError {
        VeleroError::Hostile {
            file: self.file.clone(),
            member: format!("{:?}", member.chars().take(NAME_TOLD).collect::<String>()),
            what: what.to_owned(),
        }
    }
}

/// Takes the digest of what is read.
struct Hashed<R> {
    inner: R,
    hash: HashingWriter<io::Sink>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.write_all(buf.get(..n).unwrap_or_default())?;
        Ok(n)
    }
}

/// Fails, rather than ends, where too much comes.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let taken = u64::try_from(n).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(taken).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {MAX_PLAIN} bytes"))
        })?;
        Ok(n)
    }
}

#[cfg(test)]
#[path = "velero/tests.rs"]
mod tests;
