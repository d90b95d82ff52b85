//! Encryption and signatures: age recipients, identities and epochs, and minisign keys.
//!
//! Packs and recipes are encrypted to the public half of an *epoch* key pair. Its secret half is itself
//! stored, encrypted to the recipients, and forgotten by the daemon, so that the daemon in the cluster cannot
//! read what it wrote. Only dedup indexes are also encrypted to an identity derived from the daemon's signing
//! key.

mod epoch;
mod identity;
mod recipient;
mod seal;
mod sign;

pub use epoch::{EpochSecrets, NewEpoch, new_epoch};
pub use identity::{Identities, IdentityError};
pub use recipient::{ParseRecipientError, Recipient};
pub use seal::{Opener, SealError, Sealer};
pub use sign::{PublicKey, SigningError, SigningKey, Trust, TrustError, Verdict};

/// Creates a fresh X25519 identity pair for operators: the secret text, and the public recipient.
#[must_use]
pub fn new_identity() -> (secrecy::SecretString, Recipient) {
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient::from_x25519(&identity.to_public());
    (identity.to_string(), recipient)
}
