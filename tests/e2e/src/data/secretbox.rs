//! Encryption at rest as Talos sets it up, with the lab's own key, so that an API server of the lab reads the
//! Secrets that the lab wrote.

use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305};
use rand::Rng;

/// Key of the lab. It is public, so it protects nothing.
pub const KEY: [u8; 32] = *b"the lab's key protects nothing..";

/// Name that Talos gives its key.
pub const KEY_NAME: &str = "key2";

/// Encrypts `plain` as the API server stores it: prefix, nonce, box.
pub(super) fn seal(plain: &[u8], random: &mut impl Rng) -> Vec<u8> {
    let mut nonce = Nonce::default();
    random.fill_bytes(&mut nonce);
    // Fails only for more bytes than a memory has.
    let sealed = XSalsa20Poly1305::new(&KEY.into())
        .encrypt(&nonce, plain)
        .unwrap_or_default();
    let prefix = format!("k8s:enc:secretbox:v1:{KEY_NAME}:");
    [prefix.as_bytes(), &nonce, &sealed].concat()
}
