//! Epochs, key pairs whose secret half only the recipients can unwrap.

use std::collections::BTreeMap;
use std::str::FromStr;

use bytes::Bytes;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::identity::{Identities, secret_text, x25519_from_bytes};
use super::recipient::Recipient;
use super::seal::{Opener, SealError, Sealer};
use crate::digest::Digest;

/// New key pair, its secret half already sealed.
#[derive(Debug, Clone)]
pub struct NewEpoch {
    /// Public half, which packs and recipes are encrypted to.
    pub recipient: Recipient,
    /// Stored key object: the secret half, encrypted to the recipients.
    pub key_object: Bytes,
    /// Digest of the key object, and therefore its name.
    pub digest: Digest,
}

/// Creates an epoch for `recipients`; its secret half is gone when this returns.
///
/// # Errors
/// When `recipients` is empty, or one of them is unusable for encryption.
pub fn new_epoch(recipients: &[Recipient]) -> Result<NewEpoch, SealError> {
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient::from_x25519(&identity.to_public());
    let mut text = secret_text(&identity);
    text.push('\n');
    let key_object = Bytes::from(Sealer::to(recipients).seal(text.as_bytes())?);
    Ok(NewEpoch {
        recipient,
        digest: Digest::of(&key_object),
        key_object,
    })
}

/// Secret halves of the epochs that a reader could unwrap.
#[derive(Debug, Default)]
pub struct EpochSecrets(BTreeMap<Recipient, EpochKeys>);

/// Keys derived from an epoch's secret half.
#[derive(Debug)]
struct EpochKeys {
    /// The secret half itself.
    epoch: Identities,
    /// Identity that opens journals of restores from it, and its public half, which nobody else knows: a
    /// journal that it opens was therefore made by somebody who could read the restore point.
    journal: Option<(Identities, Recipient)>,
    /// Key for the digests in plans of restores from it.
    plan: Option<Zeroizing<[u8; 32]>>,
}

impl EpochSecrets {
    /// Unwraps the key object of the epoch whose public half is `epoch`.
    ///
    /// # Errors
    /// When no identity opens it, or its content is not the secret half of `epoch`.
    pub fn unwrap(
        &mut self,
        epoch: &Recipient,
        key_object: &[u8],
        identities: &Identities,
    ) -> Result<(), SealError> {
        let plain = Zeroizing::new(Opener::with(identities).open(key_object, MAX_KEY_OBJECT)?);
        let text = std::str::from_utf8(&plain).map_err(|_| SealError::NotAnEpochKey)?;
        let identity =
            age::x25519::Identity::from_str(text.trim()).map_err(|_| SealError::NotAnEpochKey)?;
        if Recipient::from_x25519(&identity.to_public()) != *epoch {
            return Err(SealError::NotAnEpochKey);
        }
        let mut secret = Identities::none();
        secret.push_x25519(identity);
        let secret = EpochKeys {
            epoch: secret,
            journal: journal_identity(text.trim()),
            plan: derived(text.trim(), b"butler-backup v1 plan digests"),
        };
        self.0.insert(epoch.clone(), secret);
        Ok(())
    }

    /// Returns the sealer and the opener for journals of restores from `epoch`; `None` if its key was not
    /// unwrapped.
    #[must_use]
    pub fn of_journals(&self, epoch: &Recipient) -> Option<(Sealer, Opener<'_>)> {
        let (identity, recipient) = self.0.get(epoch)?.journal.as_ref()?;
        let sealer = Sealer::to(std::slice::from_ref(recipient));
        Some((sealer, Opener::with(identity)))
    }

    /// Returns the key for digests in plans of restores from `epoch`; `None` if its key was not unwrapped.
    #[must_use]
    pub fn of_plans(&self, epoch: &Recipient) -> Option<Zeroizing<[u8; 32]>> {
        self.0.get(epoch)?.plan.clone()
    }

    /// Returns the opener for objects of `epoch`; `None` if its key was not unwrapped.
    #[must_use]
    pub fn opener(&self, epoch: &Recipient) -> Option<Opener<'_>> {
        self.0.get(epoch).map(|secret| Opener::with(&secret.epoch))
    }
}

fn derived(secret: &str, purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret.as_bytes())
        .expand(purpose, bytes.as_mut())
        .ok()?;
    Some(bytes)
}

fn journal_identity(secret: &str) -> Option<(Identities, Recipient)> {
    let bytes = derived(secret, b"butler-backup v1 journal identity")?;
    let identity = x25519_from_bytes(&bytes)?;
    let recipient = Recipient::from_x25519(&identity.to_public());
    let mut identities = Identities::none();
    identities.push_x25519(identity);
    Some((identities, recipient))
}

/// Largest decrypted key object: an epoch's secret half is one line of text, and nothing longer is read.
const MAX_KEY_OBJECT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::new_identity;

    #[test]
    fn only_a_recipient_unwraps_an_epoch() {
        let (secret, public) = new_identity();
        let (other, _) = new_identity();
        let epoch = new_epoch(&[public]).unwrap();
        let sealed = Sealer::to(std::slice::from_ref(&epoch.recipient))
            .seal(b"pack")
            .unwrap();

        let mut stranger = Identities::none();
        stranger.add("other", &other).unwrap();
        let mut secrets = EpochSecrets::default();
        let refused = secrets.unwrap(&epoch.recipient, &epoch.key_object, &stranger);
        assert!(matches!(refused, Err(SealError::NoMatchingIdentity)));

        let mut owner = Identities::none();
        owner.add("mine", &secret).unwrap();
        secrets
            .unwrap(&epoch.recipient, &epoch.key_object, &owner)
            .unwrap();
        let opener = secrets.opener(&epoch.recipient).unwrap();
        assert_eq!(opener.open(&sealed, 16).unwrap(), b"pack");
        let (sealer, of_journals) = secrets.of_journals(&epoch.recipient).unwrap();
        let journal = sealer.seal(b"line").unwrap();
        assert_eq!(of_journals.open(&journal, 16).unwrap(), b"line");
        // A reader of the bucket knows the epoch's public half, and cannot make a journal with it.
        assert!(of_journals.open(&sealed, 16).is_err());
        assert!(opener.open(&journal, 16).is_err());
        assert!(matches!(
            opener.open(&sealed, 3),
            Err(SealError::TooLong { .. })
        ));
    }
}
