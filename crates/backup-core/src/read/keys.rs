//! Unlocking of a restore point: the secrets of its epochs, before anything large is downloaded.

use std::collections::HashSet;
use std::sync::Arc;
use zeroize::Zeroizing;

use super::RestoreError;
use super::objects::get_named;
use crate::catalog::RestorePoint;
use crate::crypt::{EpochSecrets, Identities, Opener, SealError, Sealer};
use crate::format::limits::MAX_KEY;
use crate::format::manifest::{Component, Epoch};
use crate::format::{FormatError, layout};
use crate::store::Store;

/// Keys that open the objects of one restore point.
#[derive(Debug)]
pub struct PointKeys {
    epochs: Vec<Epoch>,
    secrets: EpochSecrets,
}

impl PointKeys {
    /// Returns the keys for objects that are not encrypted.
    #[cfg(test)]
    pub(super) fn of_nothing() -> Self {
        Self {
            epochs: Vec::new(),
            secrets: EpochSecrets::default(),
        }
    }

    /// Returns the opener for objects of the epoch at `position` in the manifest.
    pub(super) fn opener(&self, position: u64) -> Opener<'_> {
        let epoch = usize::try_from(position)
            .ok()
            .and_then(|p| self.epochs.get(p));
        // Closed epochs were reported earlier: only an unencrypted restore point has no secret here.
        epoch
            .and_then(|e| self.secrets.opener(&e.recipient))
            .unwrap_or(Opener::plain())
    }

    /// Returns the opener for the recipe of `component`.
    pub(super) fn recipe_opener(&self, component: &Component) -> Opener<'_> {
        match component.recipe_epoch {
            Some(position) => self.opener(position),
            None => self.own_opener(),
        }
    }

    /// Returns an epoch that the identities cannot open and `component` needs, if there is one.
    pub(super) fn closed(&self, component: &Component) -> Option<&Epoch> {
        let wanted = positions(component, self.epochs.len());
        let mut wanted = wanted.filter_map(|p| self.epochs.get(p));
        wanted.find(|e| self.secrets.opener(&e.recipient).is_none())
    }

    /// Returns the sealer and the opener for journals of restores from the restore point; `None` if it is
    /// encrypted and its last epoch stayed closed.
    #[must_use]
    pub fn of_journals(&self) -> Option<(Sealer, Opener<'_>)> {
        match self.epochs.last() {
            None => Some((Sealer::plain(), Opener::plain())),
            Some(epoch) => self.secrets.of_journals(&epoch.recipient),
        }
    }

    /// Returns the key for digests in plans of restores from the restore point; `None` if it is encrypted and
    /// its last epoch stayed closed. An unencrypted restore point needs no secret key.
    #[must_use]
    pub fn of_plans(&self) -> Option<Zeroizing<[u8; 32]>> {
        match self.epochs.last() {
            None => Some(Zeroizing::new([0; 32])),
            Some(epoch) => self.secrets.of_plans(&epoch.recipient),
        }
    }

    /// Returns the opener for recipes and indexes, which are encrypted to the run's own, last epoch.
    pub(super) fn own_opener(&self) -> Opener<'_> {
        let last = self.epochs.len().saturating_sub(1);
        self.opener(u64::try_from(last).unwrap_or(0))
    }
}

/// Returns the positions of the epochs that `component` needs, of `count`.
fn positions(component: &Component, count: usize) -> impl Iterator<Item = usize> {
    let last = count.saturating_sub(1);
    let recipe = component.recipe_epoch;
    let recipe = recipe.map_or(last, |p| usize::try_from(p).unwrap_or(last));
    let packs = component.packs.iter();
    let packs = packs.filter_map(|pack| usize::try_from(pack.epoch).ok());
    std::iter::once(recipe).chain(packs)
}

/// Unwraps the secrets of every epoch that `point` needs. Reads only the small key objects.
///
/// # Errors
/// [`RestoreError::WrongIdentity`] with the required recipients, if no identity fits. Epochs that only
/// carried components need may stay closed: recipients added later cannot read those.
pub async fn unlock(
    store: &Arc<dyn Store>,
    point: &RestorePoint,
    identities: &Identities,
) -> Result<PointKeys, RestoreError> {
    let id = &point.entry.id;
    let mut secrets = EpochSecrets::default();
    let epochs = point.manifest.epochs();
    let own = point.manifest.components.iter();
    let own = own.filter(|c| c.carried_from.is_none());
    let needed: HashSet<usize> = own.flat_map(|c| positions(c, epochs.len())).collect();
    for (position, epoch) in epochs.iter().enumerate() {
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
        // Each line of the object's head costs time for each identity.
        if u64::try_from(bytes.len()).map_or(true, |n| n > MAX_KEY) {
            let what = format!("it has {} bytes, above {MAX_KEY}", bytes.len());
            let source = FormatError::damaged("key object", what);
            return Err(RestoreError::Format { key, source });
        }
        match secrets.unwrap(&epoch.recipient, &bytes, identities) {
            Ok(()) => {}
            Err(SealError::NoMatchingIdentity) if !needed.contains(&position) => {}
            Err(SealError::NoMatchingIdentity) => return Err(wrong()),
            Err(source) => return Err(RestoreError::KeyObject { key, source }),
        }
    }
    Ok(PointKeys {
        epochs: point.manifest.epochs().to_vec(),
        secrets,
    })
}
