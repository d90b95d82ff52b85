//! Library behind `backupd` and `restore-cli`.
//!
//! Modules are declared in the order data flows, and use only those declared above them: basic types, then
//! the parts of a snapshot, then other programs and stores, then encryption and the stored format, then
//! archives, then the sources, then the use cases. The library never prints, reads the ambient clock or
//! starts a task that it does not join; only `child`, which starts programs, reads the environment.

// Basic types.
pub mod causes;
pub mod clock;
pub mod digest;
pub mod id;
pub mod progress;
pub mod text;

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

pub mod audit;

pub mod gc;

pub mod backup;

pub mod read;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
