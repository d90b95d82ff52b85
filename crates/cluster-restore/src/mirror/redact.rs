//! Filter that keeps of an object what may be in Git: the fields that people wrote, and nothing that may be
//! secret.
//!
//! A field that may be secret is removed whole, never masked: a restore merges Git into the restore point,
//! field by field, and takes a field that Git lacks from the restore point. Three rules decide: the list of
//! values that are known to be secret ([`SENSITIVE`]), names of fields that suggest a secret, and texts that
//! look like one. Removing too much costs nothing; removing too little would stay in Git's history for good.

use serde_json::{Map, Value};

use super::secrets::{looks_secret, speaks_of_secret};
use backup_core::archive::{ResourceName, SENSITIVE};

/// Kind of objects that are sealed for everyone but the controller, so they may be in Git.
const SEALED_SECRETS: &str = "sealedsecrets.bitnami.com";
/// Fields that the API server maintains.
const SERVERS: [&str; 2] = ["metadata", "status"];
/// Fields of an object's metadata that people write.
const PEOPLES: [&str; 2] = ["labels", "annotations"];
/// Object as it may be in Git.
#[derive(Debug, PartialEq)]
pub(super) struct RedactedObject {
    pub(super) value: Value,
    /// Removed fields, as they are written in a sentence.
    pub(super) left_out: Vec<String>,
}

/// Removes the API server's fields and everything that may be secret; returns `None` for a value that is not
/// an object.
pub(super) fn redact(resource: &ResourceName, object: Value) -> Option<RedactedObject> {
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
        // A schema mentions passwords and contains none.
        return Some(RedactedObject { value, left_out });
    }
    let sealed = (resource.as_str() == SEALED_SECRETS)
        .then(|| take(&mut value, "encryptedData"))
        .flatten();
    if sealed.is_some() {
        // The template is in the clear, and the controller puts it into the Secret.
        cut(&mut value, &["spec", "template", "data"], "", &mut left_out);
    }
    sift(&mut value, "", &mut left_out);
    if let (Some(sealed), Some(spec)) =
        (sealed, value.get_mut("spec").and_then(Value::as_object_mut))
    {
        spec.insert("encryptedData".to_owned(), sealed);
    }
    Some(RedactedObject { value, left_out })
}

fn take(value: &mut Value, field: &str) -> Option<Value> {
    value.get_mut("spec")?.as_object_mut()?.remove(field)
}

/// Returns name, namespace, labels and annotations, the last two without the notes of tools.
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

/// Removes everything at the end of `path`; returns true if that is `value` itself.
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
        // The shape differs from the kind's: removal is safer.
        _ => true,
    }
}

/// Removes fields whose name or text suggests a secret.
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

/// Whether an item of a list would have to be removed: then the whole list is removed, because a list with a
/// hole is another list.
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

#[cfg(test)]
#[path = "redact/tests.rs"]
mod tests;
