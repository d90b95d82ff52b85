//! Trial decryption of one item of a SealedSecret; reports only whether it opened.

use std::collections::BTreeMap;

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::Oaep;
use rsa::sha2::Sha256;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Keyring, KeyringEntry};

/// Annotations that widen the scope, if they are exactly `true`. The controller reads those of the
/// SealedSecret itself; those of its template are only copied to the Secret that it creates.
const CLUSTER_WIDE: &str = "sealedsecrets.bitnami.com/cluster-wide";
const NAMESPACE_WIDE: &str = "sealedsecrets.bitnami.com/namespace-wide";
/// Largest SealedSecret; the API server accepts no object above 3 MiB.
const MAX_JSON: usize = 4 << 20;

/// Result of opening a SealedSecret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnsealOutcome {
    /// A key opens it.
    Opened {
        /// Name of the key's Secret, as `NAMESPACE/NAME`.
        key: String,
        /// Whether only a key that is marked as compromised opens it. The controller does not read
        /// those when it starts.
        compromised: bool,
    },
    /// No key opens it.
    NotOpened {
        /// Reason for the failure.
        why: String,
    },
    /// Nothing in it is encrypted.
    Empty,
}

/// SealedSecret, reduced to the fields needed to open it.
#[derive(Deserialize)]
struct SealedSecret {
    #[serde(default)]
    metadata: SealedSecretMeta,
    #[serde(default)]
    spec: SealedSecretSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SealedSecretMeta {
    namespace: String,
    name: String,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SealedSecretSpec {
    encrypted_data: Option<BTreeMap<String, String>>,
    /// Whole Secret in one value, as in the first releases.
    data: Option<String>,
}

impl SealedSecret {
    fn label(&self) -> String {
        let SealedSecretMeta {
            namespace, name, ..
        } = &self.metadata;
        let wide = |key| {
            let annotations = self.metadata.annotations.as_ref();
            annotations.and_then(|a| a.get(key)).map(String::as_str) == Some("true")
        };
        if wide(CLUSTER_WIDE) {
            String::new()
        } else if wide(NAMESPACE_WIDE) {
            namespace.clone()
        } else {
            format!("{namespace}/{name}")
        }
    }

    /// Returns one item and its name; the shortest, since all were sealed in the same way.
    fn item(&self) -> Option<(&str, &str)> {
        let items = self.spec.encrypted_data.iter().flatten();
        let items = items.map(|(name, text)| (name.as_str(), text.as_str()));
        let legacy = self.spec.data.as_deref().map(|text| ("data", text));
        items.min_by_key(|(_, text)| text.len()).or(legacy)
    }
}

impl Keyring {
    /// Tries the keys on the SealedSecret, given as the API server's JSON. Takes milliseconds of computing
    /// for each key.
    #[must_use]
    pub fn prove(&self, sealed_secret_json: &[u8]) -> UnsealOutcome {
        let not = |why: String| UnsealOutcome::NotOpened { why };
        if sealed_secret_json.len() > MAX_JSON {
            return not("it is larger than an API server accepts".to_owned());
        }
        let sealed: SealedSecret = match serde_json::from_slice(sealed_secret_json) {
            Ok(sealed) => sealed,
            Err(e) => {
                let (line, column) = (e.line(), e.column());
                return not(format!(
                    "it is not a SealedSecret, at line {line} column {column}"
                ));
            }
        };
        let Some((name, text)) = sealed.item() else {
            return UnsealOutcome::Empty;
        };
        let Ok(bytes) = STANDARD.decode(text) else {
            return not(format!("its item {name} is not base64"));
        };
        let Some((wrapped, encrypted)) = parts(&bytes) else {
            return not(format!("its item {name} is cut off"));
        };
        if self.keys.is_empty() {
            return not("there is no sealing key".to_owned());
        }
        let label = sealed.label();
        // The newest key seals, so it opens most; compromised keys are tried last.
        let (compromised, sound): (Vec<&KeyringEntry>, Vec<&KeyringEntry>) =
            self.keys.iter().rev().partition(|held| held.compromised());
        let mut damaged = None;
        for held in sound.into_iter().chain(compromised) {
            match opens(held, &label, wrapped, encrypted) {
                KeyOutcome::Yes => {
                    return UnsealOutcome::Opened {
                        key: held.facts.secret.clone(),
                        compromised: held.compromised(),
                    };
                }
                KeyOutcome::Damaged => damaged = Some(held.facts.secret.as_str()),
                KeyOutcome::No => {}
            }
        }
        match damaged {
            Some(key) => not(format!("its item {name} is of key {key} and is damaged")),
            None => not(format!(
                "keys tried: {}, and none opens its item {name} under the label {label:?}",
                self.keys.len()
            )),
        }
    }
}

enum KeyOutcome {
    Yes,
    No,
    /// The key fits, but the data encrypted with it is damaged.
    Damaged,
}

/// Splits into the wrapped session key, after its length in two bytes, and the data encrypted with it.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// Decrypts, and wipes the result.
fn opens(held: &KeyringEntry, label: &str, wrapped: &[u8], encrypted: &[u8]) -> KeyOutcome {
    let padding = Oaep::new_with_label::<Sha256, _>(label);
    let Ok(session) = held.key.decrypt(padding, wrapped).map(Zeroizing::new) else {
        return KeyOutcome::No;
    };
    let Ok(cipher) = Aes256Gcm::new_from_slice(&session) else {
        return KeyOutcome::Damaged;
    };
    // A session key is used once, so the nonce is zero.
    match cipher
        .decrypt(&Nonce::default(), encrypted)
        .map(Zeroizing::new)
    {
        Ok(_clear) => KeyOutcome::Yes,
        Err(_) => KeyOutcome::Damaged,
    }
}
