//! Proof that the sealing keys of a restore point open its SealedSecrets.
//!
//! One item of each SealedSecret is decrypted in memory and discarded at once. Without this check, a
//! backup whose keys open nothing looks like any other until the day it is needed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use backup_core::digest::Digest;
use backup_core::format::export::SealingKey;
use backup_core::format::manifest::Finding;

mod open;
mod trial;

pub use open::UnsealOutcome;
pub use trial::SealingKeyTrial;

/// Label of sealing keys; its value is their state.
const LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// Value of the label for a key that must not seal any more.
const COMPROMISED: &str = "compromised";
/// Longest base64 of a PEM text. An RSA key of 8192 bits takes 9 KiB; longer texts would only cost time.
const MAX_FIELD: usize = 32 << 10;
/// Maximum number of keys of one controller: ten years of one key a month, and as many again.
const MAX_KEYS: usize = 256;

/// Sealing keys of a cluster. The debug output contains no key.
#[derive(Default)]
pub struct Keyring {
    /// Keys, oldest first.
    keys: Vec<KeyringEntry>,
}

/// Key with its public facts.
struct KeyringEntry {
    facts: SealingKey,
    key: RsaPrivateKey,
}

impl KeyringEntry {
    fn compromised(&self) -> bool {
        self.facts.state.as_deref() == Some(COMPROMISED)
    }
}

/// Reason why the controller could not use a Secret as a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyProblem {
    /// The text is not a Secret. It is not quoted: it may be the key.
    #[error("a sealing key's Secret is not readable JSON, at line {line} column {column}")]
    NoSecret {
        /// Line of the error.
        line: usize,
        /// Column of the error.
        column: usize,
    },
    /// A field is missing or has a wrong value.
    #[error("sealing key {secret}: {field} {problem}")]
    Field {
        /// Name of the Secret, as `NAMESPACE/NAME`.
        secret: String,
        /// Name of the field.
        field: &'static str,
        /// Problem of the field.
        problem: &'static str,
    },
    /// The key belongs to another certificate.
    #[error("sealing key {secret}: tls.key does not belong to the certificate in tls.crt")]
    OtherCertificate {
        /// Name of the Secret, as `NAMESPACE/NAME`.
        secret: String,
    },
    /// There are more keys than any controller has.
    #[error("sealing key {secret} is one too many: at most {MAX_KEYS} are tried")]
    TooMany {
        /// Name of the Secret, as `NAMESPACE/NAME`.
        secret: String,
    },
}

impl KeyProblem {
    /// Returns the finding for a restore point. The key is stored regardless, as it is in the cluster.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let object = match self {
            Self::NoSecret { .. } => "sealed-secrets".to_owned(),
            Self::Field { secret, .. }
            | Self::OtherCertificate { secret }
            | Self::TooMany { secret } => format!("secrets {secret}"),
        };
        let remedy = match self {
            Self::TooMany { .. } => {
                "seal again what old keys sealed, then remove the keys that no SealedSecret needs"
            }
            _ => {
                "put the right key there or remove the Secret: the sealed-secrets controller does \
                 not start with a key that it cannot read"
            }
        };
        Finding::warning(object, self.to_string(), remedy)
    }
}

#[derive(Deserialize)]
struct KeySecret {
    #[serde(default)]
    metadata: KeySecretMeta,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    data: Option<KeySecretData>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeySecretMeta {
    namespace: String,
    name: String,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeySecretData {
    #[serde(rename = "tls.crt")]
    certificate: Option<String>,
    #[serde(rename = "tls.key", deserialize_with = "hidden")]
    key: Option<Zeroizing<String>>,
}

/// Deserializes a text that is wiped when it is dropped.
fn hidden<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Zeroizing::new))
}

impl Keyring {
    /// Creates an empty keyring.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key of a Secret, given as the API server's JSON.
    ///
    /// # Errors
    /// When the controller could not use it; the keyring is then unchanged.
    pub fn add(&mut self, secret_json: &[u8]) -> Result<(), KeyProblem> {
        let secret: KeySecret =
            serde_json::from_slice(secret_json).map_err(|e| KeyProblem::NoSecret {
                line: e.line(),
                column: e.column(),
            })?;
        let name = format!("{}/{}", secret.metadata.namespace, secret.metadata.name);
        let bad = |field, problem| KeyProblem::Field {
            secret: name.clone(),
            field,
            problem,
        };
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyProblem::TooMany { secret: name });
        }
        if secret.kind != "kubernetes.io/tls" {
            return Err(bad("type", "is not kubernetes.io/tls"));
        }
        let data = secret.data.unwrap_or_default();
        let certificate = data
            .certificate
            .ok_or_else(|| bad("tls.crt", "is missing"))?;
        let key = data.key.ok_or_else(|| bad("tls.key", "is missing"))?;
        let certificate = pem_of(&certificate).map_err(|why| bad("tls.crt", why))?;
        let key = pem_of(&key).map_err(|why| bad("tls.key", why))?;

        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| bad("tls.crt", "does not hold a certificate in PEM"))?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|_| bad("tls.crt", "is not a readable X.509 certificate"))?;
        let Ok(PublicKey::RSA(public)) = parsed.public_key().parsed() else {
            return Err(bad("tls.crt", "is not of an RSA key"));
        };
        let key = RsaPrivateKey::from_pkcs1_pem(&key)
            .or_else(|_| RsaPrivateKey::from_pkcs8_pem(&key))
            .map_err(|_| bad("tls.key", "is not an RSA key in PEM, PKCS#1 or PKCS#8"))?;
        let same = |ours: rsa::BigUint, theirs: &[u8]| ours == rsa::BigUint::from_bytes_be(theirs);
        if !same(key.n().clone(), public.modulus) || !same(key.e().clone(), public.exponent) {
            return Err(KeyProblem::OtherCertificate { secret: name });
        }
        let not_before = Timestamp::from_second(parsed.validity().not_before.timestamp()).ok();
        let labels = secret.metadata.labels.unwrap_or_default();
        let facts = SealingKey {
            secret: name,
            state: labels.get(LABEL).filter(|s| !s.is_empty()).cloned(),
            not_before,
            certificate_sha256: Some(Digest::of(&der)),
        };
        let order = |held: &KeyringEntry| (held.facts.not_before, held.facts.secret.clone());
        let held = KeyringEntry { facts, key };
        let at = self.keys.partition_point(|k| order(k) <= order(&held));
        self.keys.insert(at, held);
        Ok(())
    }

    /// Returns the public facts of the keys, oldest first.
    #[must_use]
    pub fn facts(&self) -> Vec<SealingKey> {
        self.keys.iter().map(|held| held.facts.clone()).collect()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

/// Decodes a PEM text from base64.
fn pem_of(field: &str) -> Result<Zeroizing<String>, &'static str> {
    if field.len() > MAX_FIELD {
        return Err("is longer than any key or certificate");
    }
    let bytes = STANDARD.decode(field).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| "is not base64")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not PEM")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests;
