//! Restore of objects from a Git repository, completed from a restore point.
//!
//! Git has what people asked for: spec, labels, annotations. It has no status, no owners, and of
//! Secrets at most sealed ones. So an object is the archive's with Git's fields laid over it, and
//! an object that only Git has is created as Git has it.

use std::path::Path;

mod absent;
mod build;
mod checkout;
mod commit;
mod coverage;
mod documents;
mod error;
mod included;
mod kinds;
mod kustomize;
mod overlay;
mod refusals;
pub(crate) mod runner;
mod source;
mod tree;

pub use checkout::{Checkout, GitObjects};
pub(crate) use documents::parse;
pub use error::GitError;
pub use source::GitSource;

/// Folder where Butler keeps the management cluster's objects.
pub const BUTLERS: &str = "clusters/management";
/// Folder of mirrors, with a folder for each cluster.
pub const MIRRORS: &str = "butler-backup";
/// Largest number of objects that a mirror writes, and of files that a restore reads: a restore can
/// read every mirror.
pub const MAX_OBJECTS: u64 = 100_000;
/// Largest size of their text, for both.
pub const MAX_TEXT: u64 = 512 << 20;

/// Reports whether a path stays inside the folder where it begins.
pub(crate) fn is_inside(path: &str) -> bool {
    let parts = Path::new(path).components();
    let plain = |c| {
        matches!(
            c,
            std::path::Component::Normal(_) | std::path::Component::CurDir
        )
    };
    !path.is_empty() && !path.contains(char::is_control) && parts.into_iter().all(plain)
}

/// Returns the documents of a text.
#[cfg(test)]
pub(crate) fn read_back(text: &str) -> Vec<serde_json::Value> {
    let folder = std::env::temp_dir();
    let Ok(mut read) = documents::DocumentSet::new(&folder, documents::ReadLimits::ALL) else {
        return Vec::new();
    };
    if read.text("a.yaml", text.as_bytes()).is_err() {
        return Vec::new();
    }
    let documents = read.documents.iter();
    documents.filter_map(|d| read.value(d).ok()).collect()
}

#[cfg(test)]
mod tests;
