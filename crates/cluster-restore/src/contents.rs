//! Digests of what a restore writes. A plan with them is bound to its contents without revealing
//! them.
//!
//! Values may be Secrets with few bits, which could be guessed from a plain digest. So the digests
//! are keyed: HMAC-SHA-256 with a key that only readers of the restore point have.

use hkdf::Hkdf;
use serde_json::Value;
use sha2::Sha256;
use zeroize::Zeroizing;

use backup_core::digest::Digest;

/// Key of the digests. Without a key no digests are computed.
#[derive(Clone, Default)]
pub struct ContentKey(Option<Zeroizing<[u8; 32]>>);

impl ContentKey {
    /// Returns the key; `None` means that the restore point could not be opened.
    #[must_use]
    pub fn new(key: Option<Zeroizing<[u8; 32]>>) -> Self {
        Self(key)
    }

    /// Returns the digest of what is written: a body or a patch, and a status.
    pub(super) fn digest(&self, written: &Value, status: Option<&Value>) -> Option<Digest> {
        let key = self.0.as_ref()?;
        let text = serde_json::to_vec(&(written, status)).map(Zeroizing::new);
        let (digest, _) = Hkdf::<Sha256>::extract(Some(key.as_slice()), &text.ok()?);
        Some(Digest::from_bytes(digest.into()))
    }
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentKey")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_is_of_the_contents_and_of_the_key() {
        let key = |byte| ContentKey::new(Some(Zeroizing::new([byte; 32])));
        let (one, other) = (json!({ "a": 1 }), json!({ "a": 2 }));
        let digest = key(1).digest(&one, None).unwrap();
        assert_eq!(key(1).digest(&one, None), Some(digest));
        assert_ne!(key(2).digest(&one, None), Some(digest));
        assert_ne!(key(1).digest(&other, None), Some(digest));
        assert_ne!(key(1).digest(&one, Some(&other)), Some(digest));
        assert_eq!(ContentKey::default().digest(&one, None), None);
    }
}
