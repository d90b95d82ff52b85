//! Reader of an archive, object by object. The bytes are not trusted.

use std::collections::HashMap;
use std::io::Read;
use std::ops::ControlFlow;

use serde::Deserialize;

use super::json::{JsonFlaw, MAX_DEPTH, is_too_deep, read_json};
use super::members::{MemberError, TarMembers};
use super::path::ROOT;
use super::{ObjectPath, ObjectProperties, ParsePathError};

/// Size of the largest object that is read, in bytes. The API server accepts requests of 3 MiB at most.
pub const MAX_OBJECT: u64 = 16 << 20;

/// Reason why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive's members cannot be read.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// A path below `resources/` is not that of an object.
    #[error("the archive contains something other than objects")]
    Path(#[source] ParsePathError),
    /// An object is not JSON, or not the JSON of an object. The parser's message is not repeated, because it
    /// quotes values.
    #[error("{path} is not the JSON of an object: see its line {line}, column {column}")]
    Json {
        /// Path of the object.
        path: String,
        /// Line in which the parser stopped.
        line: usize,
        /// Column in the line.
        column: usize,
    },
    /// An object is nested deeper than the limit.
    #[error("{path} is nested deeper than {MAX_DEPTH} levels; `restore-cli fetch` gives its bytes")]
    TooDeep {
        /// Path of the object.
        path: String,
    },
    /// An object is larger than the limit.
    #[error("{path} has {bytes} bytes, above {MAX_OBJECT}")]
    TooLarge {
        /// Path of the object.
        path: String,
        /// Size of the object in bytes.
        bytes: u64,
    },
}

impl ArchiveError {
    fn of(path: &ObjectPath, flaw: JsonFlaw) -> Self {
        let path = path.to_string();
        let JsonFlaw { line, column, .. } = flaw;
        if flaw.too_deep {
            Self::TooDeep { path }
        } else {
            Self::Json { path, line, column }
        }
    }
}

/// Properties of an object that a restore needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectHead {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
}

/// Metadata of an object that a restore needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Its UID.
    #[serde(default)]
    pub uid: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: Option<HashMap<String, String>>,
    /// Its owners.
    #[serde(default)]
    pub owner_references: Vec<ObjectOwner>,
}

/// Owner of an object.
#[derive(Deserialize)]
pub struct ObjectOwner {
    /// Its UID.
    #[serde(default)]
    pub uid: String,
}

impl ObjectHead {
    /// Reads the head of an object that a restore can read whole.
    ///
    /// # Errors
    /// If a restore cannot read the object.
    pub fn of(path: &ObjectPath, json: &[u8]) -> Result<Self, ArchiveError> {
        if is_too_deep(json) {
            let path = path.to_string();
            return Err(ArchiveError::TooDeep { path });
        }
        read_json(json).map_err(|flaw| ArchiveError::of(path, flaw))
    }
}

/// Object in an archive. It may be a Secret, so its debug output omits the content.
pub struct StoredJson {
    /// Path of the object.
    pub path: ObjectPath,
    json: zeroize::Zeroizing<Vec<u8>>,
}

impl StoredJson {
    /// Returns the JSON, as the API server returned it.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Returns the object as a value that can be changed and printed.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn value(&self) -> Result<serde_json::Value, ArchiveError> {
        self.parse()
    }

    /// Returns the object's properties for a listing.
    ///
    /// # Errors
    /// If it is not the JSON of an object.
    pub fn head(&self) -> Result<ObjectProperties, ArchiveError> {
        Ok(self.parse::<super::head::HeadFields>()?.head())
    }

    /// Checks that a restore can read the object.
    ///
    /// # Errors
    /// If a restore cannot read it, with the reason.
    pub fn check(&self) -> Result<(), ArchiveError> {
        ObjectHead::of(&self.path, &self.json).map(drop)
    }

    /// Parses the object. Numbers keep the digits that the API server wrote.
    ///
    /// # Errors
    /// When it is not JSON of that type, with line and column.
    pub fn parse<'j, T: serde::Deserialize<'j>>(&'j self) -> Result<T, ArchiveError> {
        read_json(&self.json).map_err(|flaw| ArchiveError::of(&self.path, flaw))
    }
}

impl std::fmt::Debug for StoredJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredJson({})", self.path)
    }
}

/// Passes each object of the archive to `each`, in order, until it breaks. Holds one object at a time.
///
/// Skips everything else: directories, and files outside `resources/`.
///
/// # Errors
/// See [`ArchiveError`]; also any error that `each` returns.
pub fn read_objects<E, F>(tar: impl Read, mut each: F) -> Result<(), E>
where
    E: From<ArchiveError>,
    F: FnMut(StoredJson) -> Result<ControlFlow<()>, E>,
{
    let mut archive = tar::Archive::new(tar);
    for member in TarMembers::of(&mut archive).map_err(ArchiveError::from)? {
        let mut member = member.map_err(ArchiveError::from)?;
        if !member.kind.is_file() {
            continue;
        }
        let path = member.name.clone();
        if path.split('/').next() != Some(ROOT) {
            continue;
        }
        let bytes = member.size;
        let size = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_OBJECT);
        let Some(size) = size else {
            return Err(ArchiveError::TooLarge { path, bytes }.into());
        };
        let path = path.parse().map_err(ArchiveError::Path)?;
        let mut json = zeroize::Zeroizing::new(Vec::with_capacity(size));
        let read = member.read_to_end(&mut json);
        read.map_err(|e| ArchiveError::from(MemberError::Tar(e)))?;
        if each(StoredJson { path, json })?.is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reader that returns zeros, and counts them.
    struct Zeros<'c>(&'c mut u64, u64);

    impl Read for Zeros<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let left = usize::try_from(self.1).unwrap_or(usize::MAX);
            let n = buf.len().min(left);
            buf[..n].fill(0);
            *self.0 += u64::try_from(n).unwrap();
            self.1 -= u64::try_from(n).unwrap();
            Ok(n)
        }
    }

    fn header(kind: tar::EntryType, size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path("resources/x").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn refused(tar: impl Read) -> String {
        let read = read_objects::<ArchiveError, _>(tar, |_| Ok(ControlFlow::Continue(())));
        read.unwrap_err().to_string()
    }

    #[test]
    fn an_extension_that_claims_gigabytes_is_refused_and_not_read() {
        use tar::EntryType::{GNULongLink, GNULongName, XGlobalHeader, XHeader};
        for kind in [XHeader, XGlobalHeader, GNULongName, GNULongLink] {
            let size = 6 << 30;
            let mut read = 0;
            let head = header(kind, size);
            let said = refused(head.as_slice().chain(Zeros(&mut read, size)));
            assert!(said.contains("oversized extension"), "{said}");
            assert!(read < 1 << 20, "{read} bytes were read");
        }
    }
}
