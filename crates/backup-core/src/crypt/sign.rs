//! Signatures of manifests: minisign keys, signing, and a reader's trust policy.

use std::fmt;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::identity::{Identities, x25519_from_bytes};
use super::recipient::Recipient;

/// Error for a signing key that cannot be read or used; never repeats its text.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file is not a minisign secret key without password.
    #[error(
        "{name} is not an unprotected minisign secret key; make one with `backupd keygen` or \
         `minisign -G -W`"
    )]
    Unreadable {
        /// The file's name.
        name: String,
    },
    /// The library failed, for lack of randomness or memory.
    #[error("cannot make or use a signing key")]
    Failed(#[source] minisign::PError),
}

/// Length of a secret key: algorithms, salt and limits; number, key and checksum.
const SECRET_BYTES: usize = 6 + 32 + 8 + 8 + 8 + 64 + 32;

/// Returns the bytes of a key made with `minisign -G -W`: not encrypted, with zeros where other keys have a
/// checksum, which the library rejects.
fn without_checksum(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let line = text.lines().nth(1)?.trim();
    let bytes = Zeroizing::new(STANDARD.decode(line).ok()?);
    let made_so =
        bytes.len() == SECRET_BYTES && bytes.starts_with(b"Ed\0\0B2") && bytes.ends_with(&[0; 32]);
    made_so.then_some(bytes)
}

/// Daemon's secret signing key. Its debug output shows only the public half.
pub struct SigningKey {
    secret: minisign::SecretKey,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl SigningKey {
    /// Creates a new key.
    ///
    /// # Errors
    /// When the machine cannot supply randomness.
    pub fn generate() -> Result<Self, SigningError> {
        let pair =
            minisign::KeyPair::generate_unencrypted_keypair().map_err(SigningError::Failed)?;
        Ok(Self {
            secret: pair.sk,
            public: PublicKey(pair.pk),
        })
    }

    /// Reads the text of a minisign secret key file; `name` is used in errors only.
    ///
    /// # Errors
    /// When it is another kind of file, or protected by a password.
    pub fn parse(name: &str, text: &SecretString) -> Result<Self, SigningError> {
        let unreadable = |_| SigningError::Unreadable {
            name: name.to_owned(),
        };
        let text = text.expose_secret();
        let secret = match without_checksum(text) {
            Some(bytes) => minisign::SecretKey::from_bytes(&bytes),
            None => minisign::SecretKeyBox::from_string(text)
                .and_then(minisign::SecretKeyBox::into_unencrypted_secret_key),
        };
        let secret = secret.map_err(unreadable)?;
        let public = minisign::PublicKey::from_secret_key(&secret).map_err(unreadable)?;
        // Some keys have no checksum. A key is damaged if its public half does not verify what it signs.
        minisign::sign(Some(&public), &secret, Cursor::new(b""), None, None).map_err(unreadable)?;
        Ok(Self {
            secret,
            public: PublicKey(public),
        })
    }

    /// Returns the text of a minisign secret key file, to be written with mode 0600.
    ///
    /// # Errors
    /// When the library fails.
    pub fn to_text(&self) -> Result<SecretString, SigningError> {
        let text = self
            .secret
            .to_box(Some(
                "butler-backup signing key: keep it with the daemon, mode 0600",
            ))
            .map_err(SigningError::Failed)?;
        Ok(SecretString::from(text.into_string()))
    }

    /// Returns its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns a detached signature file for `message`; `comment` is signed too.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign(&self, message: &[u8], comment: &str) -> Result<String, SigningError> {
        minisign::sign(
            Some(&self.public.0),
            &self.secret,
            Cursor::new(message),
            Some(comment),
            Some("signature by butler-backup, check with minisign -V"),
        )
        .map(minisign::SignatureBox::into_string)
        .map_err(SigningError::Failed)
    }

    /// Derives 32 secret bytes for one `purpose` from this key.
    fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let material = Zeroizing::new(self.secret.to_bytes());
        let mut out = Zeroizing::new([0; 32]);
        // HKDF-SHA256 can always produce 32 bytes.
        let filled = Hkdf::<Sha256>::new(None, &material).expand(purpose, out.as_mut());
        debug_assert!(filled.is_ok());
        out
    }

    /// Returns the identity that opens dedup indexes and nothing else, and its public half.
    #[must_use]
    pub fn index_identity(&self) -> Option<(Identities, Recipient)> {
        let bytes = self.derive(b"butler-backup v1 index identity");
        let identity = x25519_from_bytes(&bytes)?;
        let recipient = Recipient::from_x25519(&identity.to_public());
        let mut identities = Identities::none();
        identities.push_x25519(identity);
        Some((identities, recipient))
    }

    /// Returns the key of the chunk ids. Without it nobody can compute a chunk's id from its bytes.
    #[must_use]
    pub fn chunk_id_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"butler-backup v1 chunk ids")
    }
}

/// Minisign public key.
#[derive(Clone)]
pub struct PublicKey(minisign::PublicKey);

/// Error for text that is not a minisign public key.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a minisign public key: want the line that begins with RW of a `.pub` file"
)]
pub struct TrustError {
    text: String,
}

impl PublicKey {
    /// Parses the base64 line, or the whole text of a `.pub` file.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let line = text
            .lines()
            .map(str::trim)
            .rfind(|l| !l.is_empty())
            .unwrap_or_default();
        minisign::PublicKey::from_base64(line)
            .map(Self)
            .map_err(|_| TrustError {
                text: line.chars().take(80).collect(),
            })
    }

    /// Returns the text of a `.pub` file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "untrusted comment: butler-backup public key: give it to restore-cli as --trust\n{self}\n"
        )
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bytes() == other.0.to_bytes()
    }
}

/// Trust policy of a reader.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Any signature or none; only by explicit request.
    Anyone,
    /// Signatures by these keys only.
    Keys(Vec<PublicKey>),
}

/// Result of a check of a manifest's signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Signed by a trusted key.
    Trusted,
    /// No check was requested.
    NotChecked,
    /// The manifest has no signature.
    Unsigned,
    /// The manifest has signatures, none of them by a trusted key.
    Untrusted,
    /// A trusted key signed different bytes: the manifest was changed.
    Forged,
}

impl Verdict {
    /// Reports whether a manifest counts: it is signed by a trusted key, or no check was requested.
    #[must_use]
    pub fn is_believed(self) -> bool {
        matches!(self, Self::Trusted | Self::NotChecked)
    }
}

/// Text that fits after "the manifest is".
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trusted => "signed by a trusted key",
            Self::NotChecked => "not checked for a signature",
            Self::Unsigned => "not signed",
            Self::Untrusted => "signed by a key that is not trusted",
            Self::Forged => "changed after it was signed",
        })
    }
}

impl Trust {
    /// Checks `message` against the texts of its signature files.
    #[must_use]
    pub fn judge(&self, message: &[u8], signatures: &[String]) -> Verdict {
        let Self::Keys(keys) = self else {
            return Verdict::NotChecked;
        };
        if signatures.is_empty() {
            return Verdict::Unsigned;
        }
        let mut verdict = Verdict::Untrusted;
        for signature in signatures.iter().filter_map(|s| parse_signature(s)) {
            for key in keys.iter().filter(|k| k.0.keynum() == signature.keynum()) {
                match minisign::verify(&key.0, &signature, Cursor::new(message), true, false, false)
                {
                    Ok(()) => return Verdict::Trusted,
                    Err(_) => verdict = Verdict::Forged,
                }
            }
        }
        verdict
    }
}

/// Parses the text of a signature file; `None` if the signature is incomplete. The library accepts a fourth
/// line of any length, and panics when it checks a short one.
fn parse_signature(text: &str) -> Option<minisign::SignatureBox> {
    const SIGNATURE: usize = 64;
    let comment_signature = STANDARD.decode(text.lines().nth(3)?.trim()).ok()?;
    if comment_signature.len() != SIGNATURE {
        return None;
    }
    minisign::SignatureBox::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_keys_vouch_and_only_for_what_they_signed() {
        let key = SigningKey::generate().unwrap();
        let other = SigningKey::generate().unwrap();
        let read = SigningKey::parse("k", &key.to_text().unwrap()).unwrap();
        assert_eq!(read.public(), key.public());
        assert_eq!(
            PublicKey::parse(&key.public().to_text()).unwrap(),
            *key.public()
        );
        let signature = read.sign(b"manifest", "restore point x").unwrap();
        let trust = Trust::Keys(vec![key.public().clone()]);
        let judge = |t: &Trust, m: &[u8]| t.judge(m, std::slice::from_ref(&signature));
        assert_eq!(judge(&trust, b"manifest"), Verdict::Trusted);
        assert_eq!(judge(&trust, b"manifesT"), Verdict::Forged);
        assert_eq!(trust.judge(b"manifest", &[]), Verdict::Unsigned);
        assert_eq!(
            judge(&Trust::Keys(vec![other.public().clone()]), b"manifest"),
            Verdict::Untrusted
        );
        assert_eq!(judge(&Trust::Anyone, b"manifest"), Verdict::NotChecked);
    }

    /// Key written by `minisign -G -W`; used nowhere else.
    const WITHOUT_PASSWORD: &str = "untrusted comment: minisign encrypted secret key\n\
        RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEpCMw80h\
        tGbeNDjEJPVQTb1dQMXh/PoCdIfsVUkjXHvxE0tQDyEDXZMt2uCT/PC9zKL6dP7RLvBFpGvcIOunJ7Uc\
        aN9C3iIkAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

    #[test]
    fn a_key_that_minisign_made_without_password_is_read() {
        let key = SigningKey::parse("k", &WITHOUT_PASSWORD.into()).unwrap();
        let public = "RWQSkIzDzSG0ZpMt2uCT/PC9zKL6dP7RLvBFpGvcIOunJ7UcaN9C3iIk";
        assert_eq!(key.public().to_string(), public);
        let signature = key.sign(b"manifest", "restore point x").unwrap();
        let trust = Trust::Keys(vec![PublicKey::parse(public).unwrap()]);
        assert_eq!(trust.judge(b"manifest", &[signature]), Verdict::Trusted);
        // Windows line endings; and a damaged key, whose public half does not match.
        let other = WITHOUT_PASSWORD.replace('\n', "\r\n");
        let again = SigningKey::parse("k", &other.into()).unwrap();
        assert_eq!(again.public(), key.public());
        let torn = WITHOUT_PASSWORD.replace("EpCMw80htGbeNDjE", "EpCMw80htGbeNDjF");
        assert!(SigningKey::parse("k", &torn.into()).is_err());
    }

    #[test]
    fn a_signature_cut_short_anywhere_vouches_for_nothing() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(b"manifest", "restore point x").unwrap();
        let trust = Trust::Keys(vec![key.public().clone()]);
        for length in 0..signature.trim_end().len() {
            let cut = signature[..length].to_owned();
            let verdict = trust.judge(b"manifest", &[cut]);
            assert_ne!(verdict, Verdict::Trusted, "{length}");
        }
    }

    #[test]
    fn derived_keys_are_stable_and_differ_by_purpose() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::parse("k", &key.to_text().unwrap()).unwrap();
        assert_eq!(*key.chunk_id_key(), *again.chunk_id_key());
        assert_eq!(
            key.index_identity().unwrap().1,
            again.index_identity().unwrap().1
        );
        assert!(!format!("{key:?}").contains(key.to_text().unwrap().expose_secret()));
    }
}
