//! Reader of a tarball's members, one after the other, each checked before use.

use std::io::{self, Read, Write as _};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tar::EntryType;
use zeroize::Zeroizing;

use super::VeleroError;
use crate::RecoverError;
use crate::select::Selection;
use crate::spool::ObjectSpool;
use backup_core::archive::{MAX_OBJECT, MemberError, ObjectPath, TarMembers, quote_name};
use backup_core::digest::{Digest, HashingWriter};
use backup_core::num::to_u64;

/// Size limit of the unpacked tarball: a backup of half a million objects is smaller.
const MAX_PLAIN: u64 = 16 << 30;
/// Suffix of the folder with an object's second copy.
const PREFERRED: &str = "-preferredversion";

/// Tarball that is being read into a spool.
pub(super) struct TarballReader<'a> {
    pub(super) file: String,
    pub(super) select: &'a Selection,
    pub(super) spool: ObjectSpool,
    /// Second copies of objects whose first copy was not seen yet.
    pub(super) later: ObjectSpool,
    pub(super) version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectIdentity {
    api_version: String,
    kind: String,
    metadata: ObjectName,
}

#[derive(Deserialize)]
struct ObjectName {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

impl TarballReader<'_> {
    /// Reads the whole tarball; returns its length and digest.
    pub(super) fn tarball(&mut self, opened: impl Read) -> Result<(u64, Digest), RecoverError> {
        let hashed = HashingReader {
            inner: opened,
            hash: HashingWriter::new(io::sink()),
        };
        let plain = LimitedReader {
            inner: MultiGzDecoder::new(hashed),
            left: MAX_PLAIN,
        };
        let mut archive = tar::Archive::new(plain);
        let file = self.file.clone();
        let damaged = |source| VeleroError::Damaged {
            file: file.clone(),
            source,
        };
        let not_read = |error| match error {
            MemberError::Tar(source) => damaged(source),
            MemberError::Hostile { member, what } => VeleroError::Hostile {
                file: file.clone(),
                member,
                what: what.to_owned(),
            },
        };
        for member in TarMembers::of(&mut archive).map_err(not_read)? {
            let mut member = member.map_err(not_read)?;
            let (name, kind, size) = (member.name.clone(), member.kind, member.size);
            self.member(&name, kind, size, &mut member)?;
        }
        let mut plain = archive.into_inner();
        // Read to the end: gzip's checksum is there, and the digest covers all bytes.
        io::copy(&mut plain, &mut io::sink()).map_err(damaged)?;
        let mut hashed = plain.inner.into_inner();
        io::copy(&mut hashed, &mut io::sink()).map_err(damaged)?;
        let (_, digest, length) = hashed.hash.finish();
        Ok((length, digest))
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
            // Other versions of the same object, and Velero's additional files.
            _ => return Ok(()),
        };
        if size > MAX_OBJECT {
            let what = format!("has {size} bytes, more than any object");
            return Err(self.hostile(name, &what).into());
        }
        let path: ObjectPath = path
            .parse()
            .map_err(|_| self.hostile(name, "is not the place of an object"))?;
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
        let Ok(head) = serde_json::from_slice::<ObjectIdentity>(&json) else {
            // The entry records that the object cannot be read.
            return self.spool.add(&path, &json);
        };
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
            return Err(self.hostile(name, "is not a version").into());
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

    /// Adds objects that have only a second copy, and returns the spool.
    pub(super) fn finish(self) -> Result<ObjectSpool, RecoverError> {
        if self.version.is_none() {
            return Err(VeleroError::NoVersion { file: self.file }.into());
        }
        let mut spool = self.spool;
        for entry in self.later.entries() {
            if spool.by_path(&entry.path).is_none() {
                spool.add(&entry.path, &self.later.json(entry)?)?;
            }
        }
        Ok(spool)
    }

    fn hostile(&self, member: &str, what: &str) -> VeleroError {
        VeleroError::Hostile {
            file: self.file.clone(),
            member: quote_name(member),
            what: what.to_owned(),
        }
    }
}

/// Reader that computes the digest of the bytes it reads.
struct HashingReader<R> {
    inner: R,
    hash: HashingWriter<io::Sink>,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.write_all(buf.get(..n).unwrap_or_default())?;
        Ok(n)
    }
}

/// Reader that fails, instead of ending, if the content is too long.
struct LimitedReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let taken = to_u64(n);
        self.left = self.left.checked_sub(taken).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {MAX_PLAIN} bytes"))
        })?;
        Ok(n)
    }
}
