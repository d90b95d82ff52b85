//! Canaries: words that stand in Secrets and must stand nowhere else.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use serde_json::Value;

/// Random digits of a canary, enough that none occurs by chance.
const DIGITS: usize = 10;
/// Length of encoded key material that makes a canary.
const ENCODED: usize = 48;

/// All canaries of a cluster.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<Vec<String>>);

impl Canaries {
    /// Makes a new word for a Secret's value.
    pub(super) fn word(&self, of: &str) -> String {
        let random = hex::encode(rand::rng().random::<[u8; DIGITS]>());
        let word = format!("canary-{of}-{random}");
        self.add(word.clone());
        word
    }

    /// Makes random hexadecimal digits for a value that has no room for more.
    pub(super) fn digits<const N: usize>(&self) -> String {
        let word = hex::encode(rand::rng().random::<[u8; N]>());
        self.add(word.clone());
        word
    }

    /// Keeps a canary that was made elsewhere.
    pub(super) fn add(&self, word: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(word);
    }

    /// Finds secret parts in a value of a Secret, and keeps them; returns false if there are none.
    pub(super) fn found_in(&self, value: &str) -> bool {
        let words = secret_parts(value);
        let known = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().any(|word| value.contains(word.as_str()))
        };
        let found = known || !words.is_empty();
        words.into_iter().for_each(|word| self.add(word));
        found
    }

    /// Returns all canaries, for a test to search for.
    ///
    /// # Errors
    /// There are none: then the test would search for nothing.
    pub(super) fn into_all(self) -> Result<Vec<String>> {
        let mut all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_unstable();
        all.dedup();
        ensure!(!all.is_empty(), "no Secret has a canary");
        Ok(all)
    }
}

/// Returns key material: the second line of a private key, and the encoded keys of a kubeconfig.
fn secret_parts(value: &str) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some((_, body)) = value.split_once("PRIVATE KEY-----\n") {
        // The first line is mostly the same for all keys of a kind.
        parts.extend(body.lines().nth(1).map(str::to_owned));
    }
    let kubeconfig: Option<Value> = serde_json::from_str(value).ok();
    let encoded = kubeconfig.as_ref().and_then(|config| {
        let key = config.pointer("/users/0/user/client-key-data")?;
        key.as_str()
    });
    if let Some(encoded) = encoded {
        let middle = encoded.len() / 2;
        parts.extend(encoded.get(middle..middle + ENCODED).map(str::to_owned));
        let key = STANDARD.decode(encoded).unwrap_or_default();
        parts.extend(secret_parts(&String::from_utf8_lossy(&key)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;

    #[test]
    fn key_material_is_found_wherever_it_stands() {
        let pair = Authority::new("ca").unwrap().client("admin", None).unwrap();
        let line = pair.key.lines().nth(2).unwrap().to_owned();
        let canaries = Canaries::default();
        assert!(!canaries.found_in(&pair.certificate));
        assert!(canaries.found_in(&pair.key));
        let encoded = STANDARD.encode(&pair.key);
        let kubeconfig = serde_json::json!({
            "users": [{ "name": "admin", "user": { "client-key-data": &encoded } }],
        });
        assert!(canaries.found_in(&kubeconfig.to_string()));
        let all = canaries.into_all().unwrap();
        assert_eq!(all.len(), 2);
        assert!(all.contains(&line));
        assert!(all.iter().any(|word| encoded.contains(word.as_str())));
    }

    #[test]
    fn a_word_is_known_in_a_value_that_holds_it() {
        let canaries = Canaries::default();
        let word = canaries.word("smtp");
        assert!(canaries.found_in(&format!("user:{word}@host")));
        assert!(!canaries.found_in("user:secret@host"));
        assert_eq!(canaries.into_all().unwrap(), [word]);
    }
}
