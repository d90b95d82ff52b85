//! Detector of secrets, by the name of a field or by its text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Endings of names that suggest a secret, in lowercase and without punctuation.
const SECRET_NAMES: [&str; 25] = [
    "accesskey",
    "apikey",
    "authkey",
    "clientkeydata",
    "connectionstring",
    "credentials",
    "dsn",
    "encryptionkey",
    "joinkey",
    "keydata",
    "kubeconfig",
    "passphrase",
    "passwd",
    "password",
    "passwordhash",
    "privatekey",
    "pwd",
    "secret",
    "secretkey",
    "sharedkey",
    "signingkey",
    "talosconfig",
    "token",
    "tokenhash",
    "userdata",
];
/// Parts of texts that are secret or contain a secret.
const SECRET_TEXTS: [&str; 6] = [
    "PRIVATE KEY-----",
    "AGE-SECRET-KEY-",
    "client-key-data",
    "kind: Secret\n",
    "\"kind\":\"Secret\"",
    "\"kind\": \"Secret\"",
];
/// Length of the shortest text that is decoded.
const SHORTEST_ENCODED: usize = 24;

/// Whether a field of this name contains a secret, if its value is a text.
pub(super) fn speaks_of_secret(name: &str) -> bool {
    let letters: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.iter().any(|end| letters.ends_with(end))
}

/// Whether a text is a secret, or contains one.
pub(super) fn looks_secret(text: &str) -> bool {
    is_secret_text(text) || decoded(text).is_some_and(|text| is_secret_text(&text))
}

fn is_secret_text(text: &str) -> bool {
    SECRET_TEXTS.iter().any(|part| text.contains(part))
        || is_web_token(text)
        || ["Basic ", "Bearer "]
            .iter()
            .any(|word| text.starts_with(word))
        || has_password_in_address(text)
        || says_secret(text)
}

fn is_web_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.matches('.').count() == 2 && !text.contains(' ')
}

fn has_password_in_address(text: &str) -> bool {
    text.match_indices("://").any(|(at, sign)| {
        let rest = text
            .get(at.saturating_add(sign.len())..)
            .unwrap_or_default();
        let host = rest.split(['/', '?', '#', ' ', '\n', '"']).next();
        let user = host
            .and_then(|host| host.rsplit_once('@'))
            .map(|(user, _)| user);
        user.is_some_and(|user| user.split_once(':').is_some_and(|(_, p)| !p.is_empty()))
    })
}

/// Whether the text contains `NAME: VALUE` or `NAME=VALUE` with a name that suggests a secret, as values of
/// Helm charts, JSON and command lines do.
fn says_secret(text: &str) -> bool {
    fn bare(text: &str) -> &str {
        text.trim_matches(['"', '\'', '\\', '-'])
    }
    let parts = text.split(['\n', ',', '{', '}', ';', '&', ' ', '\t']);
    let mut parts = parts.filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let Some((name, value)) = part.split_once([':', '=']) else {
            continue;
        };
        let value = bare(value);
        // A value after a space is the next part.
        let next = parts.peek().map(|next| bare(next)).unwrap_or_default();
        if speaks_of_secret(bare(name)) && !(value.is_empty() && next.is_empty()) {
            return true;
        }
    }
    false
}

fn decoded(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if text.len() < SHORTEST_ENCODED {
        return None;
    }
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}
