//! The library that `backupd` and `restore-cli` stand on.
//!
//! Modules are declared in the order data flows, and use only those declared above them:
//! words, then the stored format, then what cuts, encrypts and stores bytes, then the sources,
//! then the use cases. The library never prints, asks the ambient clock or starts a task that it does
//! not join; only `child`, which starts programs, reads the environment.

// Words.
pub mod causes;
pub mod clock;
pub mod digest;
pub mod id;
pub mod progress;
pub mod text;

// What a snapshot is made of.
pub mod chunk;
pub mod etcd;

// Other programs; where bytes are put, and where they lie meanwhile.
mod child;
pub mod newfile;
pub mod proxy;
mod scratch;
pub mod store;

// What stored bytes look like, and who may read them.
pub mod crypt;
pub mod format;

// What objects look like in an archive.
pub mod archive;

// Where bytes come from.
pub mod source;

// Use cases.
pub mod catalog;

pub mod audit;

pub mod leftovers;

pub mod backup;

pub mod restore;

pub mod tenants;

pub mod recover;

pub mod mirror;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
