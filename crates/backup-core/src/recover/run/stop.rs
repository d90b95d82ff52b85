//! Stopping what has to stand still while objects are written.

use std::collections::BTreeSet;

use super::super::journal::{Journal, Record};
use super::super::{RecoverError, quiesce};
use super::Recovery;

impl Recovery {
    /// Stops what has to stand still.
    pub(super) async fn quiesce(&mut self) -> Result<(), RecoverError> {
        let known = |parked: &quiesce::Parked, journal: &Journal| {
            journal
                .state
                .parked
                .iter()
                .any(|p| p.place() == parked.place())
        };
        // A plan may be older than a controller.
        let groups: BTreeSet<String> = self
            .spool
            .entries()
            .iter()
            .map(|e| e.path.resource.group().to_owned())
            .collect();
        let webhooks = !self.plan.options.keep_webhooks;
        let all = quiesce::find(&self.target, &groups, webhooks).await?;
        let new = all.iter().filter(|parked| !known(parked, &self.journal));
        let records: Vec<Record> = new
            .map(|parked| Record::Parking {
                parked: parked.clone(),
            })
            .collect();
        self.journal.write(records)?;
        // How it was must be known wherever the restore is gone on with.
        self.copy.catch_up().await;
        for parked in all {
            self.progress.note(&format!("stopping {}", parked.place()));
            quiesce::park(&self.target, &parked).await?;
        }
        Ok(())
    }
}
