//! References of objects to Secrets and ConfigMaps, found by fields and names, not by kind.
//!
//! There are two searches. The wide one decides what is taken: each string below a field that concerns
//! secrets or settings is remembered, and a Secret or ConfigMap with that name is taken. The narrow one
//! decides what is reported: only a field with an unambiguous form counts as a reference to a missing
//! object.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Map, Value};

mod field_names;

use field_names::{FieldMeaning, FieldMeanings, flat};

/// Maximum number of remembered unambiguous references, some 100 bytes each. Above that every Secret is
/// taken.
const MAX_REFERENCES: usize = 200_000;
/// Maximum number of strings that may be names, 9 to 18 bytes each. Above that every Secret is taken.
const MAX_NAMES: usize = 1_000_000;
/// Deepest nesting that is read; no controller writes JSON that is deeper.
const MAX_DEPTH: usize = 64;

/// Maximum number of namespaces that one name may refer to.
const MAX_AROUND: usize = 8;

/// Namespaces in which operators look up references of kinds without a namespace, if the objects do not
/// name one.
const DEFAULT_NAMESPACES: [(&str, &str); 9] = [
    ("butler.butlerlabs.dev", "butler-system"),
    ("steward.butlerlabs.dev", "steward-system"),
    ("cert-manager.io", "cert-manager"),
    ("trust.cert-manager.io", "cert-manager"),
    ("cilium.io", "kube-system"),
    ("kyverno.io", "kyverno"),
    ("longhorn.io", "longhorn-system"),
    ("operator.tigera.io", "tigera-operator"),
    ("pkg.crossplane.io", "crossplane-system"),
];

/// Kind that is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ReferenceTarget {
    Secret,
    ConfigMap,
}

/// Reference to an object; without a namespace the object may be in any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectReference {
    pub(super) target: ReferenceTarget,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// Object that may refer to others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Referrer<'a> {
    /// Kind of the object, as `plural.group`.
    pub(super) resource: &'a str,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
}

/// Origin of a reference.
#[derive(Debug, Clone)]
struct ReferenceOrigin {
    resource: String,
    /// First object that has the reference.
    object: String,
    /// Whether the target was seen, or is optional.
    present: bool,
}

/// Reference to a missing object.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MissingReference<'a> {
    /// Kind that has the reference.
    pub(super) resource: &'a str,
    pub(super) target: ReferenceTarget,
    /// Namespace in which it is missing; if not named, the one in which the operator would look.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    /// First object that has the reference.
    pub(super) object: &'a str,
}

/// All references that were found.
#[derive(Debug, Default)]
pub(super) struct References {
    known: HashMap<ObjectReference, ReferenceOrigin>,
    /// Possible names, each as a hash of target, namespace and name.
    names: HashSet<u64>,
    hasher: RandomState,
    words: FieldMeanings,
    /// Whether there were too many to remember.
    overflowed: bool,
}

/// Position of the walk in an object.
#[derive(Clone, Copy)]
struct WalkPosition<'a> {
    by: Referrer<'a>,
    /// Namespace of names that have none of their own.
    own: Option<&'a str>,
    /// Namespaces in fields beside it or further up.
    around: &'a [&'a str],
    /// Whether a field on the path concerns secrets or settings.
    speaks: bool,
    /// Kind that the last such field meant.
    of: Option<ReferenceTarget>,
    /// Whether unambiguous references are recorded: metadata contains none that must resolve.
    shapes: bool,
    depth: usize,
}

impl References {
    /// Records the references of `object`.
    pub(super) fn collect(&mut self, by: Referrer<'_>, object: &Value) {
        // A TenantCluster's status refers to Secrets of the namespace that was created for it.
        let tenant = object.pointer("/status/tenantNamespace");
        let tenant = tenant.and_then(Value::as_str);
        let Value::Object(fields) = object else {
            return;
        };
        for (key, value) in fields {
            let spot = WalkPosition {
                by,
                own: tenant.filter(|_| key == "status").or(by.namespace),
                around: &[],
                speaks: false,
                of: None,
                shapes: true,
                depth: MAX_DEPTH,
            };
            if key == "metadata" {
                for key in ["annotations", "labels", "ownerReferences"] {
                    if let Some(value) = value.get(key) {
                        let shapes = false;
                        self.walk(WalkPosition { shapes, ..spot }, key, value);
                    }
                }
            } else {
                self.walk(spot, key, value);
            }
        }
    }

    /// Reports whether a reference to the object exists, and records that the object exists.
    pub(super) fn mark_present(
        &mut self,
        target: ReferenceTarget,
        namespace: &str,
        name: &str,
    ) -> bool {
        let mut present = self.overflowed;
        for namespace in [Some(namespace), None] {
            present |= self.names.contains(&self.hash(target, namespace, name));
            let reference = ObjectReference {
                target,
                namespace: namespace.map(ToOwned::to_owned),
                name: name.to_owned(),
            };
            if let Some(known) = self.known.get_mut(&reference) {
                known.present = true;
                present = true;
            }
        }
        present
    }

    /// Returns the references to missing objects, in the order of the kinds that have them.
    pub(super) fn missing(&self) -> Vec<MissingReference<'_>> {
        let missing = self.known.iter().filter(|(_, known)| !known.present);
        let mut missing: Vec<_> = missing
            .map(|(reference, by)| MissingReference {
                resource: &by.resource,
                target: reference.target,
                namespace: reference
                    .namespace
                    .as_deref()
                    .or(default_namespace(&by.resource)),
                name: &reference.name,
                object: &by.object,
            })
            .collect();
        missing.sort();
        missing
    }

    fn hash(&self, target: ReferenceTarget, namespace: Option<&str>, name: &str) -> u64 {
        self.hasher.hash_one((target, namespace, name))
    }

    fn walk(&mut self, spot: WalkPosition<'_>, key: &str, value: &Value) {
        let Some(depth) = spot.depth.checked_sub(1) else {
            return;
        };
        let word = self.words.word(key);
        let spot = WalkPosition {
            speaks: spot.speaks || word.speaks,
            of: word.of.or(spot.of),
            depth,
            ..spot
        };
        match value {
            Value::String(text) if spot.speaks => self.text(spot, word, text),
            Value::Object(fields) => self.object(spot, word, fields),
            Value::Array(values) => {
                for value in values {
                    self.walk(spot, key, value);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, spot: WalkPosition<'_>, word: FieldMeaning, fields: &Map<String, Value>) {
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let kind = match text("kind") {
            Some("Secret") => Some(ReferenceTarget::Secret),
            Some("ConfigMap") => Some(ReferenceTarget::ConfigMap),
            _ => None,
        };
        let selected = word.selects.filter(|_| text("key").is_some());
        let target = word.refers.or(selected).or(kind);
        if let (Some(target), Some(name)) = (target, text("name")) {
            let namespace = text("namespace").filter(|n| !n.is_empty()).or(spot.own);
            let optional = fields.get("optional") == Some(&Value::Bool(true));
            self.note(spot, target, namespace, name, optional);
        }
        let beside = self.namespaces(fields);
        let others = beside.iter().map(|(_, namespace)| *namespace);
        let around = others.chain(spot.around.iter().copied());
        let around: Vec<&str> = around.take(MAX_AROUND).collect();
        let spot = WalkPosition {
            around: &around,
            of: kind.or(spot.of),
            speaks: spot.speaks || kind.is_some(),
            ..spot
        };
        // A name beside another `kind` is not the name of a Secret.
        let other = kind.is_none() && text("kind").is_some();
        for (key, value) in fields.iter().filter(|(key, _)| !(other && *key == "name")) {
            // An explicit namespace wins: `namespace` beside `name`, and the like.
            let own = beside
                .iter()
                .find(|(of, _)| value.is_string() && *of == stem(key));
            let own = own.map(|(_, namespace)| *namespace).or(spot.own);
            self.walk(WalkPosition { own, ..spot }, key, value);
        }
    }

    /// Returns the namespaces in the fields, each with the prefix of its field: empty for `namespace` itself.
    fn namespaces<'a>(&mut self, fields: &'a Map<String, Value>) -> Vec<(String, &'a str)> {
        let mut found = Vec::new();
        for (key, value) in fields {
            let namespace = value.as_str().filter(|n| !n.is_empty());
            if let Some(namespace) = namespace.filter(|_| found.len() < MAX_AROUND)
                && self.words.word(key).namespace
            {
                let of = flat(key).strip_suffix("namespace").map(ToOwned::to_owned);
                found.push((of.unwrap_or_default(), namespace));
            }
        }
        found
    }

    /// Handles a string below a field that concerns secrets.
    fn text(&mut self, spot: WalkPosition<'_>, word: FieldMeaning, text: &str) {
        if let Some(target) = word.names {
            self.note(spot, target, spot.own, text, false);
        }
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) => (Some(namespace), name),
            Some(_) => return,
            None => (None, text),
        };
        if !is_name(name) {
            return;
        }
        match namespace {
            Some(namespace) => self.name(spot.of, Some(namespace), name),
            None => {
                self.name(spot.of, spot.own, name);
                for namespace in spot.around {
                    self.name(spot.of, Some(namespace), name);
                }
            }
        }
    }

    /// Remembers a possible name.
    fn name(&mut self, of: Option<ReferenceTarget>, namespace: Option<&str>, name: &str) {
        for target in [ReferenceTarget::Secret, ReferenceTarget::ConfigMap] {
            if of.is_some_and(|of| of != target) || self.overflowed {
                continue;
            }
            let hash = self.hash(target, namespace, name);
            self.names.insert(hash);
            self.overflowed = self.names.len() >= MAX_NAMES;
        }
    }

    /// Remembers an unambiguous reference.
    fn note(
        &mut self,
        spot: WalkPosition<'_>,
        target: ReferenceTarget,
        namespace: Option<&str>,
        name: &str,
        optional: bool,
    ) {
        if !spot.shapes || !is_name(name) {
            return;
        }
        if self.known.len() >= MAX_REFERENCES {
            self.overflowed = true;
            return;
        }
        let reference = ObjectReference {
            target,
            namespace: namespace.map(ToOwned::to_owned),
            name: name.to_owned(),
        };
        let known = self
            .known
            .entry(reference)
            .or_insert_with(|| ReferenceOrigin {
                resource: spot.by.resource.to_owned(),
                object: spot.by.object(),
                present: true,
            });
        known.present &= optional;
    }
}

impl Referrer<'_> {
    fn object(&self) -> String {
        match self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// Returns the prefix of the field `key`, without `name`: empty for `name` itself.
fn stem(key: &str) -> String {
    let flat = flat(key);
    match flat.strip_suffix("name") {
        Some(stem) => stem.to_owned(),
        None => flat,
    }
}

/// Reports whether a Secret or ConfigMap can have this name.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    (1..=253).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Returns the namespace in which the operator of a kind without a namespace looks for its Secrets.
fn default_namespace(resource: &str) -> Option<&'static str> {
    let group = resource.split_once('.').map(|(_, group)| group)?;
    let of = |(ours, _): &&(&str, &str)| {
        group
            .strip_suffix(ours)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    DEFAULT_NAMESPACES
        .iter()
        .find(of)
        .map(|(_, namespace)| *namespace)
}

#[cfg(test)]
mod tests;
