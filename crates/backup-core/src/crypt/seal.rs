//! Encryption of bytes to recipients, and decryption, or a pass-through for unencrypted stores.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use super::identity::Identities;
use super::recipient::{ParseRecipientError, Recipient};
use crate::num::to_u64;

/// Failure of encryption or decryption.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Encryption was requested without a recipient.
    #[error("there is no recipient to encrypt to")]
    NoRecipient,
    /// A recipient cannot be used.
    #[error("cannot encrypt to a recipient")]
    Recipient(#[from] ParseRecipientError),
    /// The age library refused.
    #[error("cannot encrypt")]
    Encrypt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// None of the identities is one of the recipients.
    #[error("none of the given identities opens it")]
    NoMatchingIdentity,
    /// The bytes are not an age file, or were changed.
    #[error("the encrypted bytes are damaged or not an age file")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The decrypted bytes exceed the limit.
    #[error("decrypted to more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A key object does not contain the expected secret.
    #[error("a key object does not hold the secret half of its epoch")]
    NotAnEpochKey,
}

/// Sealer that encrypts to a set of recipients, or passes bytes on unencrypted by explicit choice.
#[derive(Debug, Clone)]
pub struct Sealer(Option<Vec<Recipient>>);

impl Sealer {
    /// Returns a sealer that encrypts to all of `recipients`.
    #[must_use]
    pub fn to(recipients: &[Recipient]) -> Self {
        Self(Some(recipients.to_vec()))
    }

    /// Returns a sealer that passes bytes on unencrypted.
    #[must_use]
    pub fn plain() -> Self {
        Self(None)
    }

    /// Seals all of `plain`.
    ///
    /// # Errors
    /// When there are no recipients, or one is unusable.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut writer = self.writer(Vec::with_capacity(plain.len().saturating_add(512)))?;
        let broken = |e: io::Error| SealError::Encrypt(Box::new(e));
        writer.write_all(plain).map_err(broken)?;
        writer.finish().map_err(broken)
    }

    /// Returns a writer that seals the bytes written to it; it must be finished.
    ///
    /// # Errors
    /// See [`Sealer::seal`].
    pub fn writer<W: Write>(&self, inner: W) -> Result<SealWriter<W>, SealError> {
        let Some(recipients) = &self.0 else {
            return Ok(SealWriter::Plain(inner));
        };
        let keys = recipients
            .iter()
            .map(Recipient::to_age)
            .collect::<Result<Vec<_>, _>>()?;
        let keys = keys.iter().map(|k| {
            let key: &dyn age::Recipient = k.as_ref();
            key
        });
        let encryptor = age::Encryptor::with_recipients(keys).map_err(|e| match e {
            age::EncryptError::MissingRecipients => SealError::NoRecipient,
            other => SealError::Encrypt(Box::new(other)),
        })?;
        let writer = encryptor
            .wrap_output(inner)
            .map_err(|e| SealError::Encrypt(Box::new(e)))?;
        Ok(SealWriter::Age(Box::new(writer)))
    }
}

/// Writer from [`Sealer::writer`].
pub enum SealWriter<W: Write> {
    /// Bytes pass unchanged.
    Plain(W),
    /// Bytes are encrypted.
    Age(Box<age::stream::StreamWriter<W>>),
}

impl<W: Write> SealWriter<W> {
    /// Writes the buffered rest and returns the inner writer.
    ///
    /// # Errors
    /// Any error of the inner writer.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(inner) => Ok(inner),
            Self::Age(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(buf),
            Self::Age(writer) => writer.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Age(writer) => writer.flush(),
        }
    }
}

/// Opener of the bytes that a [`Sealer`] made.
#[derive(Debug, Clone, Copy)]
pub struct Opener<'a>(Option<&'a Identities>);

impl<'a> Opener<'a> {
    /// Returns an opener for bytes that were encrypted to one of `identities`.
    #[must_use]
    pub fn with(identities: &'a Identities) -> Self {
        Self(Some(identities))
    }

    /// Returns an opener that passes on bytes that were stored unencrypted.
    #[must_use]
    pub fn plain() -> Self {
        Self(None)
    }

    /// Returns all plain bytes of `sealed`, at most `limit`.
    ///
    /// # Errors
    /// When no identity matches, the bytes are damaged, or there are more than `limit`.
    pub fn open(&self, sealed: &[u8], limit: usize) -> Result<Vec<u8>, SealError> {
        let Some(identities) = self.0 else {
            return if sealed.len() > limit {
                Err(SealError::TooLong { limit })
            } else {
                Ok(sealed.to_vec())
            };
        };
        // One byte above the limit distinguishes "too long" from "just fits".
        let most = to_u64(limit).saturating_add(1);
        let mut plain = Vec::with_capacity(sealed.len().min(limit));
        let read = decryptor(sealed, identities)?
            .take(most)
            .read_to_end(&mut plain);
        read.map_err(|e| SealError::Damaged(Box::new(e)))?;
        if plain.len() > limit {
            return Err(SealError::TooLong { limit });
        }
        Ok(plain)
    }

    /// Returns the plain bytes of `range` of `sealed`; decrypts only the 64 KiB steps that it touches.
    ///
    /// # Errors
    /// See [`Opener::open`]; also when the range ends after the last byte.
    pub fn open_range(&self, sealed: &[u8], range: Range<u64>) -> Result<Vec<u8>, SealError> {
        let damaged = |e: io::Error| SealError::Damaged(Box::new(e));
        let length = range.end.saturating_sub(range.start);
        let mut plain = Vec::new();
        let read = match self.0 {
            None => {
                let mut reader = Cursor::new(sealed);
                reader.set_position(range.start);
                reader.take(length).read_to_end(&mut plain)
            }
            Some(identities) => {
                let mut reader = decryptor(sealed, identities)?;
                reader.seek(SeekFrom::Start(range.start)).map_err(damaged)?;
                reader.take(length).read_to_end(&mut plain)
            }
        };
        let read = read.map_err(damaged)?;
        if u64::try_from(read).is_ok_and(|read| read == length) {
            return Ok(plain);
        }
        Err(damaged(io::ErrorKind::UnexpectedEof.into()))
    }
}

fn decryptor<'s>(
    sealed: &'s [u8],
    identities: &Identities,
) -> Result<age::stream::StreamReader<Cursor<&'s [u8]>>, SealError> {
    let wrong = |e: age::DecryptError| match e {
        age::DecryptError::NoMatchingKeys => SealError::NoMatchingIdentity,
        other => SealError::Damaged(Box::new(other)),
    };
    let decryptor = age::Decryptor::new_buffered(Cursor::new(sealed)).map_err(wrong)?;
    decryptor.decrypt(identities.iter()).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::new_identity;

    #[test]
    fn ranges_of_sealed_bytes_are_those_of_the_plain_ones() {
        let (secret, public) = new_identity();
        let mut identities = Identities::none();
        identities.add("me", &secret).unwrap();
        let plain: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let pairs = [
            (Sealer::to(&[public]), Opener::with(&identities)),
            (Sealer::plain(), Opener::plain()),
        ];
        for (sealer, opener) in pairs {
            let sealed = sealer.seal(&plain).unwrap();
            assert_eq!(opener.open(&sealed, plain.len()).unwrap(), plain);
            let part = opener.open_range(&sealed, 65_000..700_000).unwrap();
            assert_eq!(part, &plain[65_000..700_000]);
            assert!(opener.open_range(&sealed, 1_199_999..1_200_001).is_err());
        }
    }

    #[test]
    fn a_changed_byte_is_damage_and_a_stranger_is_told_so() {
        let (secret, public) = new_identity();
        let mut identities = Identities::none();
        identities.add("me", &secret).unwrap();
        let mut sealed = Sealer::to(&[public]).seal(b"state of the cluster").unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        let opened = Opener::with(&identities).open(&sealed, 100);
        assert!(matches!(opened, Err(SealError::Damaged(_))), "{opened:?}");
        let nobody = Sealer::to(&[]).seal(b"x");
        assert!(matches!(nobody, Err(SealError::NoRecipient)), "{nobody:?}");
    }
}
