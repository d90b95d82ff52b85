//! Archives of Kubernetes objects: a tar with one JSON file per object, in the layout of Velero's backups,
//! which people and tools know.
//!
//! Entries are ordered by the name of their kind, and within a kind by namespace, then name, as the API
//! server lists them. All metadata of an entry except its path and size is constant, so an unchanged object
//! has the same bytes in every archive.

mod change;
mod head;
mod json;
mod mask;
mod members;
mod name;
mod path;
mod read;
mod schema;
mod write;

pub use change::{Change, strip_server_owned};
pub use head::ObjectProperties;
pub use json::{JsonFlaw, read_json};
pub use json::{MAX_DEPTH, is_too_deep, same, serialize_number};
pub use mask::{SENSITIVE, SensitiveValue, mask, mask_beside};
pub use members::MemberError;
pub use members::{MAX_EXTENSION, MAX_MEMBERS, TarMembers, quote_name};
pub use path::{ObjectPath, ParsePathError, ResourceName};
pub use read::ObjectHead;
pub use read::{ArchiveError, MAX_OBJECT, StoredJson, read_objects};
pub use schema::{Schema, Violation};
pub use write::TarWriter;
