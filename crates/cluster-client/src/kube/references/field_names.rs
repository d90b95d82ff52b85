//! Meaning of field names for the strings below them.

use std::collections::HashMap;

use super::ReferenceTarget;

/// Word parts that indicate Secrets and settings anywhere in a name.
const PARTS: [&str; 9] = [
    "secret",
    "credential",
    "password",
    "token",
    "cert",
    "tls",
    "auth",
    "config",
    "values",
];
/// Short words, which count only as whole words: `replicas` does not contain `ca` in this sense. An
/// operator that creates a Secret names it as its target or destination.
const WORDS: [&str; 4] = ["ca", "cas", "target", "destination"];
/// Words, or ends of words, as in `apikey`.
const ENDS: [&str; 4] = ["key", "keys", "ref", "refs"];
/// Maximum number of remembered field names: the schemas of a large cluster have some ten thousand.
const MAX_KNOWN: usize = 50_000;

/// Meaning of a field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FieldMeaning {
    /// Whether a string below it may be the name of a Secret or ConfigMap.
    pub(super) speaks: bool,
    /// Which of the two, if the name shows it.
    pub(super) of: Option<ReferenceTarget>,
    /// Kind that an object with `name` in it certainly refers to.
    pub(super) refers: Option<ReferenceTarget>,
    /// The same, if there is a `key` beside the `name`, as in `contentFrom.secret` of kubeadm's files.
    pub(super) selects: Option<ReferenceTarget>,
    /// Kind whose name a string in it certainly is.
    pub(super) names: Option<ReferenceTarget>,
    /// Whether a string in it is a namespace.
    pub(super) namespace: bool,
}

/// Field names seen so far: a few thousand, which recur.
#[derive(Debug, Default)]
pub(super) struct FieldMeanings(HashMap<Box<str>, FieldMeaning>);

impl FieldMeanings {
    /// Returns the meaning of the field `key`.
    pub(super) fn word(&mut self, key: &str) -> FieldMeaning {
        if let Some(word) = self.0.get(key) {
            return *word;
        }
        let word = FieldMeaning::of(key);
        if self.0.len() < MAX_KNOWN {
            self.0.insert(key.into(), word);
        }
        word
    }
}

impl FieldMeaning {
    fn of(key: &str) -> Self {
        let flat = flat(key);
        let of = match (flat.contains("secret"), flat.contains("configmap")) {
            (true, false) => Some(ReferenceTarget::Secret),
            (false, true) => Some(ReferenceTarget::ConfigMap),
            _ => None,
        };
        Self {
            speaks: PARTS.iter().any(|part| flat.contains(part))
                || words(key).any(|w| is_short(&w)),
            of,
            refers: refers(&flat),
            selects: of.filter(|_| matches!(&*flat, "secret" | "configmap")),
            names: names(&flat),
            namespace: flat.ends_with("namespace"),
        }
    }
}

/// Returns a name in lower case without word separators.
pub(super) fn flat(key: &str) -> String {
    let letters = key.chars().filter(|c| !matches!(c, '-' | '_'));
    letters.collect::<String>().to_ascii_lowercase()
}

fn is_short(word: &str) -> bool {
    WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end))
}

/// Returns the words of a name such as `tlsCABundle`, `ca-bundle` or `ca_bundle`, in lower case.
fn words(key: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = key.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let behind = at.checked_add(1).and_then(|at| letters.get(at));
        let is = |letter: Option<&char>, what: fn(&char) -> bool| letter.is_some_and(what);
        let begins = letter.is_ascii_uppercase()
            && (!is(before, char::is_ascii_uppercase) || is(behind, char::is_ascii_lowercase));
        if begins || !letter.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_ascii_alphanumeric()) {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// Recognizes a field that contains a reference as an object with `name`, by the end of its name.
fn refers(flat: &str) -> Option<ReferenceTarget> {
    const SECRET: [&str; 6] = [
        "secretref",
        "credentialsref",
        "credentialref",
        "secretreference",
        "secretkeyref",
        "imagepullsecrets",
    ];
    const CONFIG_MAP: [&str; 3] = ["configmapref", "configmapreference", "configmapkeyref"];
    if SECRET.iter().any(|end| flat.ends_with(end)) {
        Some(ReferenceTarget::Secret)
    } else if CONFIG_MAP.iter().any(|end| flat.ends_with(end)) {
        Some(ReferenceTarget::ConfigMap)
    } else {
        None
    }
}

/// Recognizes a field that contains a name.
fn names(flat: &str) -> Option<ReferenceTarget> {
    if flat.ends_with("secretname") {
        Some(ReferenceTarget::Secret)
    } else if flat.ends_with("configmapname") {
        Some(ReferenceTarget::ConfigMap)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_speaks_of_secrets_by_its_words() {
        for key in [
            "credentialName",
            "certificateRefs",
            "basicAuth",
            "tlsCABundle",
            "ca",
            "caBundle",
            "CAFile",
            "additionalScrapeConfigs",
            "apikey",
            "accessKeyId",
            "sshKeys",
            "valuesFrom",
            "provisioner-secret-name",
            "parentRef",
            "target",
        ] {
            assert!(FieldMeaning::of(key).speaks, "{key}");
        }
        for key in [
            "replicas",
            "name",
            "location",
            "category",
            "username",
            "scale",
            "keyboard",
            "refreshInterval",
        ] {
            assert!(!FieldMeaning::of(key).speaks, "{key}");
        }
    }

    #[test]
    fn a_field_may_say_which_of_the_two_it_means() {
        let of = |key: &str| FieldMeaning::of(key).of;
        assert_eq!(of("superuserSecret"), Some(ReferenceTarget::Secret));
        assert_eq!(of("configMap"), Some(ReferenceTarget::ConfigMap));
        assert_eq!(of("secretOrConfigMap"), None);
        assert_eq!(of("valuesFrom"), None);
    }
}
