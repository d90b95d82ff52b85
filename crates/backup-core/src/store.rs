//! Where stored objects are put: a small trait, its outcomes, and three implementations.
//!
//! Objects are written once and never changed; they may be deleted. No object is above [`MAX_OBJECT`], so
//! each is one put, and callers hold whole objects in memory. Every implementation passes the same suite,
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

/// The largest object, in bytes.
pub const MAX_OBJECT: usize = 16 << 20;

/// [`MAX_OBJECT`] as the type that sizes of objects are told in.
#[expect(clippy::as_conversions, reason = "a constant that both types hold")]
const MAX_SIZE: u64 = MAX_OBJECT as u64;

/// What a create-if-absent did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is there now, and was not before.
    New,
    /// An object of that key was there already; it was not touched.
    Existed,
}

/// One object of a listing or of a look at its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key below the prefix.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 that the store recorded when it was put; `None` where a listing or the store
    /// does not tell.
    pub recorded: Option<Digest>,
    /// When it was put, by the clock that [`Store::date`] tells; `None` where it is not told.
    pub modified: Option<jiff::Timestamp>,
    /// Whether it can be read.
    pub access: Access,
}

/// Whether an object can be read at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// It can.
    #[default]
    AtOnce,
    /// The store archives objects of its class by itself, and only its head tells whether it has:
    /// S3's Intelligent-Tiering. A head never tells this.
    Tiered,
    /// It lies in an archive.
    Archived(Archived),
}

/// Where an archived object lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The store's word for it, such as `GLACIER`.
    pub class: String,
    /// Whether a copy of it can be read for some days.
    pub copied: bool,
    /// What a person does so that it can be read.
    pub remedy: String,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Objects in key order, which is the order of their bytes.
    pub objects: Vec<ObjectInfo>,
    /// Names below the prefix that are no keys of the format, so nothing of ours wrote them; an
    /// audit tells of them.
    pub foreign: Vec<String>,
    /// Names of no bytes that end in a slash: consoles of buckets make them to show a folder.
    pub markers: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Where one cluster's objects are: a bucket and prefix, a folder, or memory.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// A description without secrets for messages, such as `s3://bucket/prefix`.
    fn describe(&self) -> String;

    /// Whether its objects are files here: then a copy of what was read spares nothing.
    fn is_folder(&self) -> bool {
        false
    }

    /// Puts `bytes` at `key` unless an object is there. Atomic: others see all of it or nothing,
    /// and of many writers one gets [`Created::New`]. `digest` is the SHA-256 of `bytes`; a store
    /// that receives other bytes refuses them, and more than [`MAX_OBJECT`] of them.
    ///
    /// A store that tries again by itself after a reply was lost finds the object there, and
    /// cannot tell its own earlier put from another writer's put of the same bytes. It then says
    /// [`Created::New`] if the object there has this digest. So `New` always means that the
    /// object has these bytes, and `Existed` says nothing of what it has.
    ///
    /// # Errors
    /// As [`StoreError`] says; after an error the object may or may not be there.
    async fn create(&self, key: &Key, bytes: Bytes, digest: Digest) -> Result<Created, StoreError>;

    /// The whole object, at most [`MAX_OBJECT`] bytes (more is [`StoreError::TooLarge`]).
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn get(&self, key: &Key) -> Result<Bytes, StoreError>;

    /// The bytes of `range`, cut off at the object's end; empty if it begins there or later.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Size and recorded checksum; a folder records none, so it reads the object and takes it.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError>;

    /// One page of the objects whose key begins with `prefix` (a plain string prefix, "" for
    /// all), in key order, from where an earlier page's `next` says.
    ///
    /// # Errors
    /// As [`StoreError`] says; a prefix without objects is an empty page.
    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, StoreError>;

    /// Deletes the object. That there is none is success: whoever deletes again after a lost reply
    /// finds it gone. In a bucket with versions the object is hidden, and its bytes stay until the
    /// bucket's own rules drop them.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] without the right to, [`StoreError::Retained`] where the store
    /// keeps it for some time; else as [`StoreError`] says. The object is there or gone, whole.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Whether the store honours create-if-absent; found out by a probe if it must be.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn probe(&self) -> Result<Probe, StoreError>;

    /// What time it is at the store, to the second; `None` where it does not tell.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn date(&self) -> Result<Option<jiff::Timestamp>, StoreError> {
        Ok(None)
    }
}

/// What a store does with a put of a key that is there, where `If-None-Match: *` forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOnce {
    /// It refuses the put.
    Honoured,
    /// It overwrites the object.
    Ignored,
    /// It answers every such put with 501.
    NotImplemented,
}

/// What a store turned out to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What a second create of the same key comes to.
    pub write_once: WriteOnce,
    /// Heads tell the SHA-256 that was recorded at the put.
    pub records_checksums: bool,
}

/// Creates one tiny object twice and looks at its head. Its content and so its name are fixed, so
/// however often a store is probed, one object is left.
async fn probe_twice(store: &dyn Store) -> Result<Probe, StoreError> {
    let (key, bytes, digest) = probe_object(store)?;
    store.create(&key, bytes.clone(), digest).await?;
    let second = store.create(&key, bytes, digest).await?;
    let head = store.head(&key).await?;
    Ok(Probe {
        write_once: match second {
            Created::Existed => WriteOnce::Honoured,
            Created::New => WriteOnce::Ignored,
        },
        records_checksums: head.recorded == Some(digest),
    })
}

/// The object that probes put.
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

/// A length as the `u64` that sizes of objects are told in.
fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The bytes of `range`, cut off at the end of `bytes`.
fn cut(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let at = |n: u64| usize::try_from(n).map_or(bytes.len(), |n| n.min(bytes.len()));
    let (start, end) = (at(range.start), at(range.end));
    bytes.slice(start..end.max(start))
}

/// What can go wrong in a store, by what a caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{store} has no object {key}")]
    NotFound {
        /// The store's description.
        store: String,
        /// The key asked for.
        key: Key,
    },
    /// There is no such bucket or folder.
    #[error("{store} does not exist; create it, or correct the store's URL")]
    NoBucket {
        /// The store's description.
        store: String,
    },
    /// There are no credentials to show.
    #[error(
        "there are no credentials for {store}, so it was not asked to {operation}; set \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with AWS_PROFILE"
    )]
    NoCredentials {
        /// The store's description.
        store: String,
        /// What was to be done, such as `put packs/…`.
        operation: String,
        /// Where they were looked for.
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
        /// What was tried, such as `put packs/…`.
        operation: String,
        /// The store's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The credentials may be right, but are not allowed to do this.
    #[error("{store} refused to {operation}; grant these credentials or this user the right to")]
    Forbidden {
        /// The store's description.
        store: String,
        /// What was tried, such as `put packs/…`.
        operation: String,
        /// The store's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store keeps the object for some time, whoever asks: an object lock.
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
    /// The object lies in an archive.
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
        /// Where it lies.
        archived: Box<Archived>,
    },
    /// The bytes that arrived are not those that were sent.
    #[error("{store}: the bytes of {key} do not have the checksum that belongs to them")]
    Checksum {
        /// The store's description.
        store: String,
        /// The object.
        key: Key,
    },
    /// The object is larger than any that this tool writes.
    #[error("{store}: {key} has {size} bytes; no object of the format has more than 16 MiB")]
    TooLarge {
        /// The store's description.
        store: String,
        /// The object.
        key: Key,
        /// Its size.
        size: u64,
    },
    /// No room left.
    #[error("{store} has no room left to {operation}; make room or raise the quota")]
    NoSpace {
        /// The store's description.
        store: String,
        /// What was tried.
        operation: String,
    },
    /// It did not answer, or said to come back later, until the retries were used up.
    #[error("{store} could not {operation} within {tries} tries")]
    Unavailable {
        /// The store's description.
        store: String,
        /// What was tried.
        operation: String,
        /// How often.
        tries: u32,
        /// The last failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything else.
    #[error("{store} failed to {operation}")]
    Other {
        /// The store's description.
        store: String,
        /// What was tried.
        operation: String,
        /// The failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Checksum { .. })
    }
}
