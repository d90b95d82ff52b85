//! Unlocking a restore point: its epochs' secrets, before anything large is downloaded.

use std::sync::Arc;

use super::RestoreError;
use super::objects::get_named;
use crate::catalog::RestorePoint;
use crate::crypt::{EpochSecrets, Identities, Opener, SealError};
use crate::format::layout;
use crate::format::manifest::Epoch;
use crate::store::Store;

/// What opens the objects of one restore point.
#[derive(Debug)]
pub struct Unlocked {
    epochs: Vec<Epoch>,
    secrets: EpochSecrets,
}

impl Unlocked {
    /// The opener of objects of the epoch at `position` in the manifest.
    pub(super) fn opener(&self, position: u64) -> Opener<'_> {
        let epoch = usize::try_from(position)
            .ok()
            .and_then(|p| self.epochs.get(p));
        // Unlocking unwraps every epoch or fails, so only "not encrypted" has none.
        epoch
            .and_then(|e| self.secrets.opener(&e.recipient))
            .unwrap_or(Opener::plain())
    }

    /// The opener of recipes and indexes, which are encrypted to the run's own, last epoch.
    pub(super) fn own_opener(&self) -> Opener<'_> {
        let last = self.epochs.len().saturating_sub(1);
        self.opener(u64::try_from(last).unwrap_or(0))
    }
}

/// Unwraps the secrets of every epoch that `point` needs. Reads only the small key objects.
///
/// # Errors
/// [`RestoreError::WrongIdentity`] with the recipients needed, when no identity fits.
pub async fn unlock(
    store: &Arc<dyn Store>,
    point: &RestorePoint,
    identities: &Identities,
) -> Result<Unlocked, RestoreError> {
    let id = &point.entry.id;
    let mut secrets = EpochSecrets::default();
    for epoch in point.manifest.epochs() {
        let wrong = || RestoreError::WrongIdentity {
            id: id.clone(),
            given: identities.len(),
            recipients: epoch.recipients.iter().map(ToString::to_string).collect(),
        };
        if identities.is_empty() {
            return Err(wrong());
        }
        let key = layout::epoch_key(epoch.key.sha256);
        let bytes = get_named(store.as_ref(), id, &key, epoch.key.sha256).await?;
        match secrets.unwrap(&epoch.recipient, &bytes, identities) {
            Ok(()) => {}
            Err(SealError::NoMatchingIdentity) => return Err(wrong()),
            Err(source) => return Err(RestoreError::KeyObject { key, source }),
        }
    }
    Ok(Unlocked {
        epochs: point.manifest.epochs().to_vec(),
        secrets,
    })
}
