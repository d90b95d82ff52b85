//! What of an object may stand in Git: what people asked for, and nothing that may be secret.
//!
//! A field that may be secret is taken out whole, never masked: a restore lays Git over the restore
//! point, field by field, and a field that Git does not have comes from there. Three things decide:
//! the list of values that are known to be secret ([`SENSITIVE`]), names of fields that speak of
//! secrets, and texts that look like one. Too much taken out costs nothing; too little would stay in
//! Git's history for good.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::archive::{ResourceName, SENSITIVE};

/// Sealed for everyone but the controller; that is why they may be in Git.
const SEALED_SECRETS: &str = "sealedsecrets.bitnami.com";
/// What the API server keeps for itself.
const SERVERS: [&str; 2] = ["metadata", "status"];
/// Of an object's metadata, what people write.
const PEOPLES: [&str; 2] = ["labels", "annotations"];
/// How a name ends that speaks of a secret, without its signs and in small letters.
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
/// What stands in texts that are secret, or hold something that is.
const SECRET_TEXTS: [&str; 6] = [
    "PRIVATE KEY-----",
    "AGE-SECRET-KEY-",
    "client-key-data",
    "kind: Secret\n",
    "\"kind\":\"Secret\"",
    "\"kind\": \"Secret\"",
];
/// Text that is shorter is too short to be an encoded one.
const SHORTEST_ENCODED: usize = 24;

/// An object as it may stand in Git.
#[derive(Debug, PartialEq)]
pub(super) struct Plain {
    pub(super) value: Value,
    /// The fields that were taken out, as they are written in a sentence.
    pub(super) left_out: Vec<String>,
}

/// Takes out of an object what is the server's, and what may be secret; `None` for what is no object.
pub(super) fn plain(resource: &ResourceName, object: Value) -> Option<Plain> {
    let Value::Object(mut object) = object else {
        return None;
    };
    let metadata = people_wrote(object.get("metadata")?.as_object()?);
    object.retain(|name, _| !SERVERS.contains(&name.as_str()));
    object.insert("metadata".to_owned(), Value::Object(metadata));
    let mut value = Value::Object(object);
    let mut left_out = Vec::new();
    let own = SENSITIVE
        .iter()
        .filter(|s| s.resource.is_empty() || s.resource == resource.as_str());
    for sensitive in own {
        cut(&mut value, sensitive.path, "", &mut left_out);
    }
    if resource.group() == "apiextensions.k8s.io" {
        // A schema speaks of passwords, and has none.
        return Some(Plain { value, left_out });
    }
    let sealed = (resource.as_str() == SEALED_SECRETS)
        .then(|| take(&mut value, "encryptedData"))
        .flatten();
    if sealed.is_some() {
        // In the clear, and the controller puts it into the Secret.
        cut(&mut value, &["spec", "template", "data"], "", &mut left_out);
    }
    sift(&mut value, "", &mut left_out);
    if let (Some(sealed), Some(spec)) =
        (sealed, value.get_mut("spec").and_then(Value::as_object_mut))
    {
        spec.insert("encryptedData".to_owned(), sealed);
    }
    Some(Plain { value, left_out })
}

fn take(value: &mut Value, field: &str) -> Option<Value> {
    value.get_mut("spec")?.as_object_mut()?.remove(field)
}

/// Name, namespace, labels and annotations, the last two without what tools note there.
fn people_wrote(metadata: &Map<String, Value>) -> Map<String, Value> {
    let mut own = Map::new();
    for name in ["name", "namespace"] {
        if let Some(text) = metadata.get(name).filter(|v| v.is_string()) {
            own.insert(name.to_owned(), text.clone());
        }
    }
    for name in PEOPLES {
        let Some(held) = metadata.get(name).and_then(Value::as_object) else {
            continue;
        };
        let mut held = held.clone();
        held.retain(|key, _| !key.contains("last-applied") && !key.ends_with("/applied"));
        if !held.is_empty() {
            own.insert(name.to_owned(), Value::Object(held));
        }
    }
    own
}

fn below(at: &str, step: &str) -> String {
    if at.is_empty() {
        step.to_owned()
    } else {
        format!("{at}.{step}")
    }
}

/// Takes out all that lies at the end of `path`; true if that is `value` itself.
fn cut(value: &mut Value, path: &[&str], at: &str, left_out: &mut Vec<String>) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return !value.is_null();
    };
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                if *step != "*" && key != step {
                    return true;
                }
                let at = below(at, key);
                let goes = cut(value, rest, &at, left_out);
                if goes {
                    left_out.push(at);
                }
                !goes
            });
            false
        }
        // A list with a hole would be another list.
        Value::Array(items) if *step == "*" => {
            let mut inner = Vec::new();
            let at = format!("{at}[]");
            items.iter_mut().any(|item| {
                let before = inner.len();
                cut(item, rest, &at, &mut inner) || inner.len() > before
            })
        }
        Value::Null => false,
        // Of another shape than the kind has: better out than in.
        _ => true,
    }
}

/// Takes out what speaks of a secret or looks like one.
fn sift(value: &mut Value, at: &str, left_out: &mut Vec<String>) {
    let Value::Object(map) = value else {
        return;
    };
    let is_secret = map.get("kind").and_then(Value::as_str) == Some("Secret");
    let named = ["name", "key"].into_iter().any(|field| {
        let name = map.get(field).and_then(Value::as_str);
        name.is_some_and(speaks_of_secret)
    });
    map.retain(|key, value| {
        let at = below(at, key);
        let goes = match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(_) => speaks_of_secret(key) || named && key == "value",
            Value::String(text) => {
                !text.is_empty() && (speaks_of_secret(key) || named && key == "value")
                    || looks_secret(text)
            }
            Value::Array(items) => speaks_of_secret(key) && plain_items(items) || holds(items),
            Value::Object(_) => {
                let goes = is_secret && matches!(key.as_str(), "data" | "stringData");
                if !goes {
                    sift(value, &at, left_out);
                }
                goes
            }
        };
        if goes {
            left_out.push(at);
        }
        !goes
    });
}

fn plain_items(items: &[Value]) -> bool {
    items
        .iter()
        .any(|item| item.is_string() || item.is_number())
}

/// Whether something in a list would have to be taken out: then the list is, for one with a hole is
/// another one.
fn holds(items: &[Value]) -> bool {
    items.iter().any(|item| match item {
        Value::String(text) => looks_secret(text),
        Value::Array(items) => holds(items),
        Value::Object(_) => {
            let (mut copy, mut left_out) = (item.clone(), Vec::new());
            sift(&mut copy, "", &mut left_out);
            !left_out.is_empty()
        }
        _ => false,
    })
}

/// Whether a field of this name holds a secret, if it holds a text.
fn speaks_of_secret(name: &str) -> bool {
    let letters: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.iter().any(|end| letters.ends_with(end))
}

/// Whether a text is a secret, or has one in it.
fn looks_secret(text: &str) -> bool {
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

/// Whether it says `NAME: VALUE` or `NAME=VALUE` with a name that speaks of a secret, as values of
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(resource: &str, spec: &Value) -> (Value, Vec<String>) {
        let object = json!({
            "apiVersion": "example.org/v1", "kind": "A",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
                "managedFields": [{}], "finalizers": ["x"], "ownerReferences": [{}],
                "labels": { "l": "1" },
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "canary" },
            },
            "spec": spec, "status": { "canary": true },
        });
        let plain = plain(&ResourceName::from(resource), object).unwrap();
        assert!(
            !plain.value.to_string().contains("canary"),
            "{}",
            plain.value
        );
        let metadata = json!({ "name": "a", "namespace": "n", "labels": { "l": "1" } });
        assert_eq!(plain.value["metadata"], metadata);
        (plain.value["spec"].clone(), plain.left_out)
    }

    #[test]
    fn what_may_be_secret_is_left_out_and_the_rest_stays() {
        let private = "-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----\n";
        let kept = json!({ "passwordSecretRef": { "name": "n" }, "n": [1, "two"], "args": ["-v"] });
        for secret in [
            json!({ "password": "canary" }),
            json!({ "admin-password": 4_711, "x": { "clientSecret": "canary" } }),
            json!({ "passwords": { "password": ["canary"] } }),
            json!({ "caBundle": private }),
            json!({ "caBundle": STANDARD.encode(private) }),
            json!({ "values": "replicas: 1\ndb:\n  password: canary\n" }),
            json!({ "values": "{\"db\":{\"password\": \"canary\"}}" }),
            json!({ "command": ["--verbose", "--token=canary"] }),
            json!({ "command": [["sh", "-c", "run --password canary password='canary'"]] }),
            json!({ "env": [{ "name": "A", "value": "b" }, { "name": "DB_PASSWORD", "value": "canary" }] }),
            json!({ "url": "postgres://user:canary@db:5432/x" }),
            json!({ "auth": "Bearer canary" }),
            json!({ "auth": "eyJhbGciOi.canary.x" }),
            json!({ "manifest": { "apiVersion": "v1", "kind": "Secret", "data": { "a": "canary" } } }),
            json!({ "raw": "apiVersion: v1\nkind: Secret\ndata:\n  a: canary\n" }),
        ] {
            let mut spec = secret.clone();
            spec["kept"] = kept.clone();
            let (spec, left_out) = of("things.example.org", &spec);
            assert!(!spec.to_string().contains("4711"), "{spec}");
            assert!(!left_out.is_empty(), "{secret}");
            assert_eq!(spec["kept"], kept, "{secret}");
        }
    }

    #[test]
    fn what_is_known_to_be_secret_is_left_out() {
        let (spec, left_out) = of(
            "machinerequests.butler.butlerlabs.dev",
            &json!({ "userData": "#!canary", "cpu": 4 }),
        );
        assert_eq!(
            (spec, left_out),
            (json!({ "cpu": 4 }), vec!["spec.userData".to_owned()])
        );
        let (spec, _) = of(
            "datastores.steward.butlerlabs.dev",
            &json!({
                "driver": "etcd",
                "basicAuth": { "username": { "content": "canary" } },
                "tlsConfig": { "clientCertificate": {
                    "certificate": { "content": "canary" },
                    "privateKey": { "secretReference": { "name": "n", "keyPath": "tls.key" } },
                } },
            }),
        );
        let key = json!({ "secretReference": { "name": "n", "keyPath": "tls.key" } });
        assert_eq!(spec["tlsConfig"]["clientCertificate"]["privateKey"], key);
        let (spec, _) = of(
            "kubeadmconfigs.bootstrap.cluster.x-k8s.io",
            &json!({ "files": [{ "path": "/a", "content": "canary" }], "verbosity": 1 }),
        );
        assert_eq!(spec, json!({ "verbosity": 1 }));
    }

    #[test]
    fn sealed_is_sealed_and_a_schema_is_a_schema() {
        let sealed = json!({
            "encryptedData": { "password": "AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq" },
            "template": { "type": "Opaque", "data": { "user": "canary" } },
        });
        let (spec, left_out) = of(SEALED_SECRETS, &sealed);
        let kept = json!({
            "encryptedData": { "password": "AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq" },
            "template": { "type": "Opaque" },
        });
        assert_eq!(
            (spec, left_out.as_slice()),
            (kept, &["spec.template.data".to_owned()][..])
        );
        let schema = json!({ "properties": { "password": { "type": "string", "default": "x" } } });
        let (spec, left_out) = of("customresourcedefinitions.apiextensions.k8s.io", &schema);
        assert_eq!((spec, left_out.len()), (schema, 0));
    }

    #[test]
    fn names_of_secrets_and_ordinary_texts_stay() {
        let ordinary = json!({
            "secretName": "tls", "credentialsRef": { "name": "c", "key": "kubeconfig-file" },
            "automountServiceAccountToken": false, "url": "https://user@git.example.org/a:b",
            "text": "It has a token, and a password; see there", "image": "a/b:v1@sha256:00",
            "sshPublicKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"], "empty": { "password": "" },
        });
        let (spec, left_out) = of("things.example.org", &ordinary);
        assert_eq!((spec, left_out), (ordinary, Vec::<String>::new()));
    }
}
