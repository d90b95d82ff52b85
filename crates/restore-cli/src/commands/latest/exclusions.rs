//! Restore points that do not count for `latest`: warnings about them, and the error where none counts.

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::catalog::{Catalog, Exclusions, RestorePoint};

use super::{LATEST, Requirement};
use crate::commands::OpenedStore;

/// Hint for a store without any trusted signature.
pub(in super::super) const TRUST: &str = "give the public key of the daemon that writes here with \
    --trust; `restore-cli audit` shows who vouches for each restore point";

impl OpenedStore {
    /// Finds the newest restore point that counts.
    pub(super) async fn any(
        &self,
        catalog: &Catalog,
        frame: &Frame,
    ) -> Result<Option<RestorePoint>, Failure> {
        let (newest, left_out) = catalog.newest(&self.view).await?;
        self.warn_of(&left_out, frame);
        Ok(newest)
    }

    /// Reports the restore points that do not count, each reason once, because a command may search several
    /// times.
    pub(in super::super) fn warn_of(&self, left_out: &Exclusions, frame: &Frame) {
        let told = self.told.lock();
        let mut told = told.unwrap_or_else(std::sync::PoisonError::into_inner);
        for (reason, line) in left_out.lines() {
            if told.insert(reason) {
                frame.terminal.warn(&line);
            }
        }
    }

    /// Returns the reason why no restore point counts.
    pub(super) async fn none(&self, catalog: &Catalog) -> Failure {
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
        if left_out.distrusted() > 0 {
            let told = format!(
                "no restore point of {store} is trusted: of {} that are there none is signed by a key of --trust",
                left_out.distrusted()
            );
            return Failure::message(Exit::Refused, told).hint(TRUST);
        }
        let told = format!(
            "no restore point of {store} counts: the names of all {} are in the future",
            entries.len()
        );
        Failure::message(Exit::NotFound, told)
            .hint("set the clock of this machine, or name one of `restore-cli list`")
    }

    /// Returns the failure for data that no restore point has.
    pub(super) fn no_such_data(&self, needs: &Requirement) -> Failure {
        let told = format!(
            "no restore point of {} has {}",
            self.store.describe(),
            needs.words()
        );
        Failure::message(Exit::NotFound, told)
            .hint("`restore-cli list` shows what each of them has")
    }
}
