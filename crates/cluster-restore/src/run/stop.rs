//! Phase that stops everything that must not act while objects are written.

use super::super::journal::{Journal, Record};
use super::super::{RecoverError, quiesce};
use super::Recovery;
use backup_core::format::manifest::Finding;

impl Recovery {
    /// Stops everything that must not act while objects are written.
    pub(super) async fn quiesce(&mut self) -> Result<Vec<Finding>, RecoverError> {
        let known = |parked: &quiesce::ParkedItem, journal: &Journal| {
            journal
                .state
                .parked
                .iter()
                .any(|p| p.place() == parked.place())
        };
        // The plan may be older than a controller.
        let webhooks = !self.plan.options.keep_webhooks;
        let found = quiesce::find(&self.target, &self.spool, webhooks).await?;
        let all = found.parked;
        let new = all.iter().filter(|parked| !known(parked, &self.journal));
        let records: Vec<Record> = new
            .map(|parked| Record::Parking {
                parked: parked.clone(),
            })
            .collect();
        self.journal.write(records)?;
        // The earlier state must be known wherever the restore continues.
        self.copy.catch_up().await;
        for parked in all {
            self.progress.note(&format!("stopping {}", parked.place()));
            quiesce::park(&self.target, &parked).await?;
        }
        Ok(found.findings)
    }
}
