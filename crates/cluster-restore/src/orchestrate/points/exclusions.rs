//! Restore points that do not count for `latest`: warnings about them, and the error where none counts.

use backup_core::catalog::{Catalog, Exclusions, RestorePoint};

use super::{LATEST, PointError, PointFinder, Requirement};

impl PointFinder {
    /// Finds the newest restore point that counts.
    pub(super) async fn any(&self, catalog: &Catalog) -> Result<Option<RestorePoint>, PointError> {
        let (newest, left_out) = catalog.newest(&self.view).await?;
        self.warn_of(&left_out);
        Ok(newest)
    }

    /// Reports the restore points that do not count, each reason once, because a command may search several
    /// times.
    pub fn warn_of(&self, left_out: &Exclusions) {
        let told = self.reported.lock();
        let mut told = told.unwrap_or_else(std::sync::PoisonError::into_inner);
        for (reason, line) in left_out.lines() {
            if told.insert(reason) {
                self.reporter.warn(&line);
            }
        }
    }

    /// Returns the reason why no restore point counts.
    pub(super) async fn none(&self, catalog: &Catalog) -> PointError {
        let (looked, entries) = (catalog.newest(&self.view).await, catalog.list().await);
        let ((_, mut left_out), entries) = match (looked, entries) {
            (Ok(looked), Ok(entries)) => (looked, entries),
            (Err(error), _) | (_, Err(error)) => return error.into(),
        };
        if entries.is_empty() {
            return catalog.no_such(LATEST, "; it has none at all").into();
        }
        // A restore point that cannot be read is damage, and may be the wanted one.
        if !left_out.unread.is_empty() {
            return left_out.unread.remove(0).1.into();
        }
        let store = self.store.describe();
        let count = left_out.distrusted();
        if count > 0 {
            return PointError::NoneTrusted { store, count };
        }
        let count = entries.len();
        PointError::NoneCounts { store, count }
    }

    /// Returns the error for data that no restore point has.
    pub(super) fn no_such_data(&self, needs: &Requirement) -> PointError {
        PointError::NoData {
            store: self.store.describe(),
            needed: needs.words(),
        }
    }
}
