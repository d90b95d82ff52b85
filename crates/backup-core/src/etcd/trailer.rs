//! Check of the SHA-256 trailer of a snapshot in one pass.

use sha2::{Digest as _, Sha256};

use super::facts::SnapshotError;
use crate::digest::Digest;
use crate::num::to_u64;

/// Size of the trailer in bytes.
const LEN: usize = 32;

/// Trailer that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// SHA-256 of all bytes before the trailer; the content of the trailer.
    pub sha256_plain: Digest,
    /// SHA-256 of all bytes, including the trailer.
    pub sha256_whole: Digest,
    /// Number of all bytes, including the trailer.
    pub size: u64,
}

impl Trailer {
    /// Size of the trailer in bytes.
    pub const LEN: u64 = 32;
}

/// Checker that digests a stream and holds back the bytes that may be its trailer.
#[derive(Debug, Clone, Default)]
pub struct TrailerCheck {
    hasher: Sha256,
    /// Last bytes, at most 32; not yet in the digest.
    held: Vec<u8>,
    size: u64,
}

impl TrailerCheck {
    /// Creates a checker that has seen no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, of any length.
    pub fn push(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(to_u64(bytes.len()));
        let (body, last) = bytes.split_at(bytes.len().saturating_sub(LEN));
        // The held bytes precede these; those beyond the last 32 bytes go into the digest.
        let over = self
            .held
            .len()
            .saturating_add(last.len())
            .saturating_sub(LEN);
        let mut held = std::mem::take(&mut self.held);
        self.hasher.update(held.get(..over).unwrap_or(&held));
        self.hasher.update(body);
        held.drain(..over.min(held.len()));
        held.extend_from_slice(last);
        self.held = held;
    }

    /// Ends the stream and checks the trailer.
    ///
    /// # Errors
    /// [`SnapshotError::Empty`], `Truncated`, `NoTrailer` or `TrailerMismatch`.
    pub fn finish(self) -> Result<Trailer, SnapshotError> {
        let size = self.size;
        if size == 0 {
            return Err(SnapshotError::Empty);
        }
        let Ok(trailer) = <[u8; LEN]>::try_from(self.held.as_slice()) else {
            return Err(SnapshotError::Truncated {
                size,
                expected: None,
            });
        };
        // Pages are whole sectors: etcd's own tools detect a trailer in the same way.
        match size % 512 {
            Trailer::LEN => {}
            0 => return Err(SnapshotError::NoTrailer { size }),
            _ => {
                return Err(SnapshotError::Truncated {
                    size,
                    expected: None,
                });
            }
        }
        let expected = Digest::from_bytes(trailer);
        let got = Digest::from_bytes(self.hasher.clone().finalize().into());
        if expected != got {
            let bytes = size.saturating_sub(Trailer::LEN);
            return Err(SnapshotError::TrailerMismatch {
                expected,
                got,
                bytes,
            });
        }
        let whole = self.hasher.chain_update(trailer).finalize();
        Ok(Trailer {
            sha256_plain: got,
            sha256_whole: Digest::from_bytes(whole.into()),
            size,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], lengths: &[usize]) -> Result<Trailer, SnapshotError> {
        let mut check = TrailerCheck::new();
        let mut rest = bytes;
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*length).clamp(1, rest.len()));
            check.push(now);
            rest = later;
        }
        check.finish()
    }

    proptest! {
        #[test]
        fn a_trailer_is_found_however_it_comes(
            sectors in 1..8_usize,
            byte in any::<u8>(),
            lengths in prop::collection::vec(1..700_usize, 1..5),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut bytes = vec![byte; sectors * 512];
            let plain = Digest::of(&bytes);
            bytes.extend(plain.as_bytes());
            let whole = Digest::of(&bytes);
            let size = bytes.len().try_into().unwrap();
            let found = check(&bytes, &lengths);
            prop_assert_eq!(found, Ok(Trailer { sha256_plain: plain, sha256_whole: whole, size }));

            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
            let refused = matches!(check(&bytes, &lengths), Err(SnapshotError::TrailerMismatch { .. }));
            prop_assert!(refused);

            bytes.truncate(at);
            prop_assert!(check(&bytes, &lengths).is_err());
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(check(&[], &[1]), Err(SnapshotError::Empty));
        let cut = |size| SnapshotError::Truncated {
            size,
            expected: None,
        };
        assert_eq!(check(&[0; 31], &[7]), Err(cut(31)));
        assert_eq!(check(&[0; 1000], &[7]), Err(cut(1000)));
        assert_eq!(
            check(&[0; 1024], &[7]),
            Err(SnapshotError::NoTrailer { size: 1024 })
        );
    }
}
