//! Public keys that data is encrypted to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// X25519 (`age1…`) or SSH (`ssh-ed25519 …`, `ssh-rsa …`) public key.
///
/// Compared and written as its text without the comment of an SSH key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(String);

/// Error for text that is not a recipient; never repeats the text of a secret key.
#[derive(Debug, thiserror::Error)]
pub enum ParseRecipientError {
    /// The text is a secret key instead of a public one.
    #[error(
        "this recipient is a private key: keep it away from this machine, and give its public \
         half (the line `# public key: age1…` of its file, or the `.pub` file of an SSH key)"
    )]
    PrivateKey,
    /// The text is not a usable public key.
    #[error(
        "`{text}` is not a recipient: want `age1…`, `ssh-ed25519 AAAA…` or `ssh-rsa AAAA…` of at \
         least 2048 bits"
    )]
    Unknown {
        /// The given text.
        text: String,
    },
}

impl Recipient {
    /// Returns the text of the public key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn from_x25519(recipient: &age::x25519::Recipient) -> Self {
        Self(recipient.to_string())
    }

    /// Returns the form that the age library encrypts to.
    pub(super) fn to_age(&self) -> Result<Box<dyn age::Recipient + Send>, ParseRecipientError> {
        if let Ok(key) = self.0.parse::<age::x25519::Recipient>() {
            return Ok(Box::new(key));
        }
        match self.0.parse::<age::ssh::Recipient>() {
            Ok(key) => Ok(Box::new(key)),
            Err(_) => Err(ParseRecipientError::Unknown {
                text: self.0.clone(),
            }),
        }
    }
}

impl FromStr for Recipient {
    type Err = ParseRecipientError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.to_ascii_uppercase().contains("AGE-SECRET-KEY-") || text.contains("PRIVATE KEY") {
            return Err(ParseRecipientError::PrivateKey);
        }
        // An SSH public key may end in a comment, which does not belong in a manifest.
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        let recipient = Self(words.join(" "));
        recipient.to_age()?;
        Ok(recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl Serialize for Recipient {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Recipient {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Recipient".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "an age X25519 or SSH public key"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_are_taken_and_private_ones_are_not() {
        let (secret, public) = super::super::new_identity();
        assert_eq!(public.as_str().parse::<Recipient>().unwrap(), public);
        let ssh = "ssh-ed25519 \
            AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN ops@example";
        let ssh: Recipient = ssh.parse().unwrap();
        assert!(!ssh.as_str().contains("ops@example"));
        for secret in [
            secrecy::ExposeSecret::expose_secret(&secret),
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            let error = secret.parse::<Recipient>().unwrap_err();
            assert!(matches!(error, ParseRecipientError::PrivateKey));
            assert!(!error.to_string().contains(secret));
        }
        assert!("age1xyz".parse::<Recipient>().is_err());
    }
}
