//! Findings of a plan about volumes, and about fields that name objects that are created again.

use std::collections::HashSet;

use super::Survey;
use super::uids::UidReferences;
use crate::RecoverError;
use crate::journal::Outcome;
use crate::volumes;
use backup_core::format::manifest::Finding;

impl Survey<'_> {
    /// Reads every body once more, for checks that matter only if objects are created.
    pub(super) async fn fields(&mut self) -> Result<(), RecoverError> {
        let made = self.outcomes.iter();
        let made: HashSet<usize> = made
            .filter(|(_, prediction)| prediction.outcome == Outcome::Created)
            .map(|(position, _)| *position)
            .collect();
        if made.is_empty() {
            return Ok(());
        }
        let mut uids = UidReferences::default();
        let (mut bound, mut lost) = (0_u64, Vec::new());
        for (position, entry) in self.spool.entries().iter().enumerate() {
            if entry.flaw.is_some() || self.without.contains_key(&position) {
                continue;
            }
            let value = self.spool.value(entry)?;
            uids.search(self.spool, entry, &value, &made);
            if !made.contains(&position) {
                continue;
            }
            if volumes::is_volume(&entry.path) && volumes::claim_of(&value).is_some() {
                bound = bound.saturating_add(1);
            }
            if let Some(volume) = volumes::volume_of(&entry.path, &value)
                && self.spool.by_path(&volume).is_none()
                && self.target.get(&volume, None).await?.is_none()
            {
                lost.push((entry.path.to_string(), volume.name));
            }
        }
        if bound > 0 {
            self.findings.push(Finding::info(
                volumes::VOLUMES,
                format!("{bound} volume(s): {}", volumes::MADE),
                "nothing: what cannot be bound keeps Retain and is reported",
            ));
        }
        for (object, volume) in lost {
            self.findings.push(Finding::warning(
                object,
                format!(
                    "its volume {volume} is neither in the restore point nor in the cluster, so \
                     that the claim is lost"
                ),
                "make the volume first, with reclaim policy Retain; or leave the claim out",
            ));
        }
        self.findings.extend(uids.findings());
        Ok(())
    }
}
