//! Engine that cuts, encrypts and stores backups, and reads them back, for `cluster-client`,
//! `cluster-restore`, `backupd` and `restore-cli`.
//!
//! Modules are declared in the order data flows, and use only those declared above them: basic types, then
//! the parts of a snapshot, then stores, then encryption and the stored format, then archives, then the
//! traits of the sources, then the use cases. The engine knows no client of a cluster. It never prints, reads
//! the environment or the ambient clock, or starts a task that it does not join.
//!
//! A run stores an etcd snapshot; whoever has the identity reads it back:
//!
//! ```
//! use std::sync::Arc;
//!
//! use backup_core::backup::{Protection, Run};
//! use backup_core::catalog::Catalog;
//! use backup_core::clock::SystemClock;
//! use backup_core::crypt::{Identities, SigningKey, Trust, new_identity};
//! use backup_core::progress::SilentProgress;
//! use backup_core::read::{VerifyDepth, unlock, verify};
//! use backup_core::store::Store;
//! use backup_core::store::memory::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! let (identity, recipient) = new_identity();
//! let signing_key = SigningKey::generate()?;
//! let trust = Trust::Keys(vec![signing_key.public().clone()]);
//! let run = Run {
//!     cluster: "management".parse()?,
//!     store: Arc::clone(&store),
//!     protection: Protection::Recipients(vec![recipient]),
//!     signing_key: Some(signing_key),
//!     tool: "example 1".to_owned(),
//!     reason: None,
//!     pinned: false,
//!     clock: Arc::new(SystemClock),
//!     progress: Arc::new(SilentProgress),
//!     cancel: Default::default(),
//! };
//! # let packed = include_bytes!("../tests/fixtures/etcd-3.6.16-objects.db.zst");
//! # let snapshot = zstd::decode_all(&packed[..])?;
//! let stream = futures::stream::iter([Ok(snapshot.into())]);
//! run.import_etcd("etcd.snapshot", Box::pin(stream)).await?;
//!
//! let catalog = Catalog::new(Arc::clone(&store));
//! let newest = catalog.list().await?.pop().ok_or("the store is empty")?;
//! let point = catalog.load(&newest, &trust).await?;
//! let mut identities = Identities::none();
//! identities.add("example", &identity)?;
//! let depth = VerifyDepth::Full(unlock(&store, &point, &identities).await?);
//! let scratch = std::env::temp_dir();
//! verify(store, &point, depth, &scratch, Arc::new(SilentProgress), Default::default()).await?;
//! # Ok(())
//! # }
//! ```

// Basic types.
pub mod causes;
pub mod clock;
pub mod failure;
pub mod num;
pub mod shortlist;
pub mod text;

pub mod digest;
pub mod id;
pub mod progress;

// Parts of a snapshot.
pub mod chunk;
pub mod etcd;

// Stores, and files that hold bytes in the meantime.
pub mod newfile;
pub mod proxy;
pub mod scratch;
pub mod store;

// Encryption, and the stored format.
pub mod crypt;
pub mod format;

// Form of objects in an archive.
pub mod archive;

// Sources.
pub mod source;

// Use cases.
pub mod catalog;

pub mod retention;

pub mod audit;

pub mod gc;

pub mod backup;

pub mod read;

// Classes of the errors of all of these.
mod classification;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
