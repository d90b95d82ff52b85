//! Secret keys that open bytes encrypted to their recipients.

use std::fmt;
use std::str::FromStr;

use age::secrecy::ExposeSecret as _;
use secrecy::SecretString;

/// Error for a file without a usable identity; never repeats its content.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file contains neither age identities nor an SSH private key.
    #[error(
        "{name} holds no identity: want lines `AGE-SECRET-KEY-1…` or an unencrypted OpenSSH \
         private key"
    )]
    Unknown {
        /// The file's name.
        name: String,
    },
    /// The file is an SSH key with a passphrase.
    #[error(
        "{name} is an SSH key with a passphrase; write an unprotected copy to a safe place with \
         `ssh-keygen -p` and give that"
    )]
    Passphrase {
        /// The file's name.
        name: String,
    },
}

/// Identities given to a reader. Its debug output shows only their number.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Returns a set without identities: it opens only unencrypted objects.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reports whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of identities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds the identities in one file's `text`; `name` is used in errors only.
    ///
    /// # Errors
    /// When the text contains none, or an SSH key that is protected by a passphrase.
    pub fn add(&mut self, name: &str, text: &SecretString) -> Result<(), IdentityError> {
        let text = secrecy::ExposeSecret::expose_secret(text);
        if text.contains("PRIVATE KEY") {
            return match age::ssh::Identity::from_buffer(text.as_bytes(), Some(name.to_owned())) {
                Ok(age::ssh::Identity::Unencrypted(key)) => {
                    self.0.push(Box::new(age::ssh::Identity::from(key)));
                    Ok(())
                }
                Ok(age::ssh::Identity::Encrypted(_)) => Err(IdentityError::Passphrase {
                    name: name.to_owned(),
                }),
                _ => Err(IdentityError::Unknown {
                    name: name.to_owned(),
                }),
            };
        }
        let before = self.0.len();
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        for line in lines {
            let identity =
                age::x25519::Identity::from_str(line).map_err(|_| IdentityError::Unknown {
                    name: name.to_owned(),
                })?;
            self.0.push(Box::new(identity));
        }
        if self.0.len() == before {
            return Err(IdentityError::Unknown {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn push_x25519(&mut self, identity: age::x25519::Identity) {
        self.0.push(Box::new(identity));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|i| {
            let identity: &dyn age::Identity = i.as_ref();
            identity
        })
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

/// Returns the X25519 identity whose secret half is `bytes`.
pub(super) fn x25519_from_bytes(bytes: &[u8; 32]) -> Option<age::x25519::Identity> {
    let hrp = bech32::Hrp::parse("age-secret-key-").ok()?;
    let text = bech32::encode_upper::<bech32::Bech32>(hrp, bytes).ok()?;
    let text = SecretString::from(text);
    age::x25519::Identity::from_str(secrecy::ExposeSecret::expose_secret(&text)).ok()
}

/// Returns the secret text of `identity`, for a sealed key object.
pub(super) fn secret_text(identity: &age::x25519::Identity) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(identity.to_string().expose_secret().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::{Opener, Recipient, Sealer};

    fn text(bytes: &[u8]) -> SecretString {
        SecretString::from(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn ssh_keys_open_what_was_sealed_to_them() {
        let pairs: [(&[u8], &str); 2] = [
            (
                include_bytes!("../../tests/fixtures/ssh/ed25519"),
                include_str!("../../tests/fixtures/ssh/ed25519.pub"),
            ),
            (
                include_bytes!("../../tests/fixtures/ssh/rsa"),
                include_str!("../../tests/fixtures/ssh/rsa.pub"),
            ),
        ];
        let recipients: Vec<Recipient> = pairs.iter().map(|(_, p)| p.parse().unwrap()).collect();
        let sealed = Sealer::to(&recipients).seal(b"state").unwrap();
        for (private, _) in pairs {
            let mut identities = Identities::none();
            identities.add("key", &text(private)).unwrap();
            assert_eq!(
                Opener::with(&identities).open(&sealed, 9).unwrap(),
                b"state"
            );
        }
    }

    #[test]
    fn what_is_no_identity_is_named_and_not_repeated() {
        let protected = text(include_bytes!("../../tests/fixtures/ssh/protected"));
        let error = Identities::none().add("my.key", &protected).unwrap_err();
        assert!(matches!(error, IdentityError::Passphrase { .. }), "{error}");
        for bad in ["", "# only a comment\n", "AGE-SECRET-KEY-1XYZ", "hunter2"] {
            let error = Identities::none()
                .add("my.key", &text(bad.as_bytes()))
                .unwrap_err();
            assert!(error.to_string().contains("my.key"), "{error}");
            assert!(bad.len() < 5 || !error.to_string().contains(bad), "{error}");
        }
    }
}
