//! Stores for objects: a small trait, its outcomes, and three implementations.
//!
//! Objects are written once and never changed; they may be deleted. No object exceeds [`MAX_OBJECT`], so each
//! is one put, and callers hold whole objects in memory. Every implementation passes the same suite,
//! `testing::contract`.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::digest::Digest;

mod key;
mod open;
pub use key::{Key, ParseKeyError};
pub use open::{OpenError, OpenOptions, open};

pub mod local;
pub mod memory;
pub mod s3;
pub mod url;

/// Largest object, in bytes.
pub const MAX_OBJECT: usize = 16 << 20;

/// [`MAX_OBJECT`] in the type of object sizes.
#[expect(clippy::as_conversions, reason = "a constant that both types hold")]
const MAX_SIZE: u64 = MAX_OBJECT as u64;

/// Outcome of a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The object exists now and did not before.
    New,
    /// An object of that key existed already; it was not touched.
    Existed,
}

/// Object of a listing or a head request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key below the prefix.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 that the store recorded at the put; `None` where a listing or the store does not report it.
    pub recorded: Option<Digest>,
    /// Time of the put, by the clock that [`Store::date`] reads; `None` where it is not reported.
    pub modified: Option<jiff::Timestamp>,
    /// Whether it can be read.
    pub access: Access,
}

/// State of an object that decides whether it can be read now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// It can be read now.
    #[default]
    AtOnce,
    /// The store archives objects of this class on its own (S3's Intelligent-Tiering), and only a head shows
    /// whether it did. Listings report this state; a head never does.
    Tiered,
    /// It is in an archive.
    Archived(ArchiveState),
}

/// Details of an archived object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveState {
    /// Name of the storage class at the store, such as `GLACIER`.
    pub class: String,
    /// Whether a copy can be read for some days.
    pub copied: bool,
    /// Steps for a person to make it readable.
    pub remedy: String,
}

/// Page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Objects in key order, which is the order of their bytes.
    pub objects: Vec<ObjectInfo>,
    /// Names below the prefix that are not keys of the format, so this tool did not write them; an audit
    /// reports them.
    pub foreign: Vec<String>,
    /// Names of zero bytes that end in a slash: bucket consoles create them to show a folder.
    pub markers: Vec<String>,
    /// Position of the next page; `None` at the end.
    pub next: Option<String>,
}

/// Location of one cluster's objects: a bucket and prefix, a folder, or memory.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Returns a description without secrets for messages, such as `s3://bucket/prefix`.
    fn describe(&self) -> String;

    /// Whether its objects are local files, so that a local copy of what was read saves nothing.
    fn is_folder(&self) -> bool {
        false
    }

    /// Puts `bytes` at `key` unless an object exists there. Atomic: other readers see all of it or nothing,
    /// and only one of several writers gets [`CreateOutcome::New`]. `digest` is the SHA-256 of `bytes`; a
    /// store that receives different bytes, or more than [`MAX_OBJECT`], refuses them.
    ///
    /// A store that retries after a lost reply finds the object there, and cannot distinguish its own earlier
    /// put from another writer's put of the same bytes. It then returns [`CreateOutcome::New`] if the object
    /// there has this digest. So `New` always means that the object has these bytes, and `Existed` says
    /// nothing about its content.
    ///
    /// # Errors
    /// See [`StoreError`]; after an error the object may or may not exist.
    async fn create(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<CreateOutcome, StoreError>;

    /// Returns the whole object, at most [`MAX_OBJECT`] bytes (more is [`StoreError::TooLarge`]).
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn get(&self, key: &Key) -> Result<Bytes, StoreError>;

    /// Returns the bytes of `range`, cut off at the object's end; empty if the range begins there or later.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Returns size and recorded checksum; a folder records none, so it reads the object and computes it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError>;

    /// Returns one page of the objects whose key begins with `prefix` (a plain string prefix, "" for all), in
    /// key order, starting at the `next` of an earlier page.
    ///
    /// # Errors
    /// See [`StoreError`]; a prefix without objects is an empty page.
    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, StoreError>;

    /// Deletes the object. A missing object is success, since a delete that is repeated after a lost reply
    /// finds it gone. In a bucket with versions the object is hidden, and its bytes stay until the bucket's
    /// own rules drop them.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] without permission to delete, [`StoreError::Retained`] where the store keeps
    /// the object for some time; else see [`StoreError`]. The object is either complete or gone.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Reports whether the store honours create-if-absent; a probe finds out where necessary.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn probe(&self) -> Result<Probe, StoreError>;

    /// Returns the time at the store, to the second; `None` where it does not report one.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn date(&self) -> Result<Option<jiff::Timestamp>, StoreError> {
        Ok(None)
    }
}

/// Response of a store to a put of an existing key that `If-None-Match: *` forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOnceSupport {
    /// It refuses the put.
    Honoured,
    /// It overwrites the object.
    Ignored,
    /// It answers every such put with 501.
    NotImplemented,
}

/// Capabilities found in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Outcome of a second create of the same key.
    pub write_once: WriteOnceSupport,
    /// Heads report the SHA-256 that was recorded at the put.
    pub records_checksums: bool,
}

/// Creates one tiny object twice and requests its head. Its content and therefore its name are fixed, so that
/// repeated probes leave one object.
async fn probe_twice(store: &dyn Store) -> Result<Probe, StoreError> {
    let (key, bytes, digest) = probe_object(store)?;
    store.create(&key, bytes.clone(), digest).await?;
    let second = store.create(&key, bytes, digest).await?;
    let head = store.head(&key).await?;
    Ok(Probe {
        write_once: match second {
            CreateOutcome::Existed => WriteOnceSupport::Honoured,
            CreateOutcome::New => WriteOnceSupport::Ignored,
        },
        records_checksums: head.recorded == Some(digest),
    })
}

/// Returns the object that probes put.
fn probe_object(store: &dyn Store) -> Result<(Key, Bytes, Digest), StoreError> {
    let bytes = Bytes::from_static(b"butler-backup probe\n");
    let digest = Digest::of(&bytes);
    let key = format!("probe/{digest}")
        .parse()
        .map_err(|error: ParseKeyError| StoreError::Other {
            store: store.describe(),
            operation: "name the probe object".to_owned(),
            source: error.into(),
        })?;
    Ok((key, bytes, digest))
}

/// Returns the bytes of `range`, cut off at the end of `bytes`.
fn cut(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let at = |n: u64| usize::try_from(n).map_or(bytes.len(), |n| n.min(bytes.len()));
    let (start, end) = (at(range.start), at(range.end));
    bytes.slice(start..end.max(start))
}

/// Failure of a store, classified by what a caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object does not exist.
    #[error("{store} has no object {key}")]
    NotFound {
        /// The store's description.
        store: String,
        /// Requested key.
        key: Key,
    },
    /// The bucket or folder does not exist.
    #[error("{store} does not exist; create it, or correct the store's URL")]
    NoBucket {
        /// The store's description.
        store: String,
    },
    /// No credentials were found.
    #[error(
        "there are no credentials for {store}, so it was not asked to {operation}; set \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with AWS_PROFILE"
    )]
    NoCredentials {
        /// The store's description.
        store: String,
        /// The operation not attempted, such as `put packs/…`.
        operation: String,
        /// Error from the search for credentials.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The credentials are unknown, expired or wrong.
    #[error(
        "{store} does not accept the credentials, so it refused to {operation}; \
         check the access key, its secret and the clock of this machine"
    )]
    Credentials {
        /// The store's description.
        store: String,
        /// The attempted operation, such as `put packs/…`.
        operation: String,
        /// The store's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The credentials may be right, but do not permit this.
    #[error("{store} refused to {operation}; grant these credentials or this user the right to")]
    Forbidden {
        /// The store's description.
        store: String,
        /// The attempted operation, such as `put packs/…`.
        operation: String,
        /// The store's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses every caller for some time: an object lock.
    #[error(
        "{store} does not let {key} be deleted yet: it is under an object lock or a legal hold"
    )]
    Retained {
        /// The store's description.
        store: String,
        /// The object.
        key: Key,
        /// The store's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object is in an archive.
    #[error(
        "{store}: {key} is archived ({}) and cannot be read: {}",
        archived.class,
        archived.remedy
    )]
    Archived {
        /// The store's description.
        store: String,
        /// The object.
        key: Key,
        /// The archive's details.
        archived: Box<ArchiveState>,
    },
    /// The bytes received differ from the bytes sent.
    #[error("{store}: the bytes of {key} do not have the checksum that belongs to them")]
    Checksum {
        /// The store's description.
        store: String,
        /// The object.
        key: Key,
    },
    /// The object is larger than any object of this tool.
    #[error("{store}: {key} has {size} bytes; no object of the format has more than 16 MiB")]
    TooLarge {
        /// The store's description.
        store: String,
        /// The object.
        key: Key,
        /// Its size.
        size: u64,
    },
    /// The store has no room left.
    #[error("{store} has no room left to {operation}; make room or raise the quota")]
    NoSpace {
        /// The store's description.
        store: String,
        /// The attempted operation.
        operation: String,
    },
    /// The store did not answer, or asked to retry later, until the retries were used up.
    #[error("{store} could not {operation} within {tries} tries")]
    Unavailable {
        /// The store's description.
        store: String,
        /// The attempted operation.
        operation: String,
        /// Number of tries.
        tries: u32,
        /// The last failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Any other failure.
    #[error("{store} failed to {operation}")]
    Other {
        /// The store's description.
        store: String,
        /// The attempted operation.
        operation: String,
        /// The failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Reports whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Checksum { .. })
    }
}
