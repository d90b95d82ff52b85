//! Draft of a restore point: its time and its epoch, decided before its bytes arrive.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::stages::UploadTotals;
use super::{BackupError, Protection, Run, put};
use crate::catalog::RestorePoint;
use crate::crypt::{Sealer, Verdict, new_epoch};
use crate::format::layout;
use crate::format::manifest::Epoch;

/// Properties of a restore point that are decided before its bytes arrive.
pub(super) struct Draft {
    pub(super) began: Timestamp,
    pub(super) epoch: Option<Epoch>,
}

impl Draft {
    /// Records the time, and finds or makes the epoch. The parent's epoch stays in use for its calendar
    /// month, if its recipients are the same and this run's own key signed the parent.
    pub(super) async fn begin(
        run: &Run,
        parent: Option<&RestorePoint>,
    ) -> Result<(Self, Sealer, UploadTotals), BackupError> {
        let began = run.clock.now();
        let Protection::Recipients(recipients) = &run.protection else {
            return Ok((
                Self { began, epoch: None },
                Sealer::plain(),
                UploadTotals::default(),
            ));
        };
        let mut recipients = recipients.clone();
        recipients.sort();
        recipients.dedup();
        let goes_on = |e: &&Epoch| e.recipients == recipients && month(e.began) == month(began);
        let parent = parent.filter(|p| p.verdict == Verdict::Trusted);
        if let Some(epoch) = parent
            .and_then(|p| p.manifest.epochs().last())
            .filter(goes_on)
        {
            let sealer = Sealer::to(std::slice::from_ref(&epoch.recipient));
            let epoch = Some(epoch.clone());
            return Ok((Self { began, epoch }, sealer, UploadTotals::default()));
        }
        let new = new_epoch(&recipients)?;
        let sealer = Sealer::to(std::slice::from_ref(&new.recipient));
        let key = layout::epoch_key(new.digest);
        let key = put(run.store.as_ref(), &key, new.key_object, new.digest).await?;
        let spent = UploadTotals {
            objects: 1,
            bytes: key.bytes,
        };
        let epoch = Some(Epoch {
            recipient: new.recipient,
            key,
            recipients,
            began,
        });
        Ok((Self { began, epoch }, sealer, spent))
    }

    /// Returns the public half of the epoch; empty without encryption.
    pub(super) fn epoch_text(&self) -> String {
        self.epoch
            .as_ref()
            .map(|e| e.recipient.to_string())
            .unwrap_or_default()
    }
}

fn month(time: Timestamp) -> (i16, i8) {
    let date = time.to_zoned_datetime(TimeZone::UTC);
    (date.year(), date.month())
}
