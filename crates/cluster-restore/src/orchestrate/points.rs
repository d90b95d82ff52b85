//! Search for the restore points that a reader names, and resolution of `latest` to the newest one that has the
//! needed data.

mod damages;
mod exclusions;
mod finder;
mod passed;
mod requirement;

use backup_core::catalog::CatalogError;

pub use self::finder::{PointFinder, lost_parent_warning};
pub use self::requirement::{KindRequirement, Requirement, has_objects};

/// Word that stands for the newest restore point with the needed data.
pub const LATEST: &str = "latest";

/// Reason why no restore point was found.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    /// The search was cancelled.
    #[error("interrupted; nothing is left half-written")]
    Interrupted,
    /// The catalogue cannot be read, or does not have the named restore point.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// No restore point has a trusted signature.
    #[error(
        "no restore point of {store} is trusted: of {count} that are there none is signed by a key \
         of --trust"
    )]
    NoneTrusted {
        /// Description of the store.
        store: String,
        /// Number of restore points without a trusted signature.
        count: usize,
    },
    /// Every restore point lies in the future.
    #[error("no restore point of {store} counts: the names of all {count} are in the future")]
    NoneCounts {
        /// Description of the store.
        store: String,
        /// Number of restore points.
        count: usize,
    },
    /// No restore point has the needed data.
    #[error("no restore point of {store} has {needed}")]
    NoData {
        /// Description of the store.
        store: String,
        /// Words for the needed data.
        needed: String,
    },
}

impl PointError {
    /// Reports whether the restore point does not exist. One that cannot be read or trusted does exist.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Catalog(CatalogError::NoSuch { .. } | CatalogError::Ambiguous { .. })
                | Self::NoneCounts { .. }
                | Self::NoData { .. }
        )
    }
}
