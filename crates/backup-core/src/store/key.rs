//! Object keys below a store's prefix.

use std::fmt;
use std::str::FromStr;

/// Key of an object: one or more segments of `a-z 0-9 . _ -` with `/` between them.
///
/// No segment is empty or begins with a dot, so a key is also a safe relative file path.
///
/// ```
/// use backup_core::store::Key;
/// assert!("packs/00ff".parse::<Key>().is_ok());
/// assert!("../packs".parse::<Key>().is_err());
/// assert!("a//b".parse::<Key>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Error for text that is not a key.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an object key of the format")]
pub struct ParseKeyError {
    text: String,
}

impl Key {
    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.bytes().all(byte);
        // 512 leaves room for any prefix below the 1 024 bytes that S3 allows.
        if text.len() <= 512 && text.split('/').all(segment) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseKeyError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}
