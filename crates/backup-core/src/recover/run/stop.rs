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
        for parked in quiesce::find(&self.target, &groups, webhooks).await? {
            self.progress.note(&format!("stopping {}", parked.place()));
            if !known(&parked, &self.journal) {
                self.journal.write(vec![Record::Parking {
                    parked: parked.clone(),
                }])?;
            }
            quiesce::park(&self.target, &parked).await?;
        }
        Ok(())
    }
}
