//! etcd snapshots: a bbolt file and a SHA-256 trailer, checked and read in one pass.

pub mod facts;
pub mod inspect;
pub mod trailer;

pub use facts::{Contents, SnapshotError, SnapshotFacts, TornObject, TornObjects};
pub use inspect::stored_uid;
pub use inspect::{Inspector, PageFacts};
pub use trailer::{Trailer, TrailerCheck};
