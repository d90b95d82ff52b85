//! What objects refer to: Secrets and ConfigMaps, found by the shape of fields, not by kind.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// References that are remembered, some 100 bytes each. Above that every Secret is taken.
const MAX_REFERENCES: usize = 200_000;
/// Objects are not nested deeper than this; JSON that is comes from nobody's controller.
const MAX_DEPTH: usize = 64;

/// What is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    Secret,
    ConfigMap,
}

/// A reference; without a namespace it may be meant in any of Butler's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Reference {
    pub(super) target: Target,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// Who refers to something.
#[derive(Debug, Clone)]
struct Referrer {
    /// The first object that does.
    object: String,
    /// Whether what is referred to was seen, or need not exist.
    met: bool,
}

/// All references that were found.
#[derive(Debug, Default)]
pub(super) struct References {
    known: HashMap<Reference, Referrer>,
    /// There were too many to remember.
    pub(super) overflowed: bool,
}

impl References {
    /// Notes what `object` refers to; `namespace` is its own.
    pub(super) fn collect(&mut self, referrer: &str, namespace: Option<&str>, object: &Value) {
        // A TenantCluster's status means Secrets of the namespace that was made for it.
        let tenant = object.pointer("/status/tenantNamespace");
        let tenant = tenant.and_then(Value::as_str);
        if let Value::Object(fields) = object {
            for (key, value) in fields.iter().filter(|(key, _)| *key != "metadata") {
                let namespace = tenant.filter(|_| key == "status").or(namespace);
                self.walk(referrer, namespace, key, value, MAX_DEPTH);
            }
        }
    }

    /// Whether something refers to it; notes that it is there.
    pub(super) fn meet(&mut self, target: Target, namespace: &str, name: &str) -> bool {
        let mut met = self.overflowed;
        for namespace in [Some(namespace.to_owned()), None] {
            let reference = Reference {
                target,
                namespace,
                name: name.to_owned(),
            };
            if let Some(referrer) = self.known.get_mut(&reference) {
                referrer.met = true;
                met = true;
            }
        }
        met
    }

    /// References to nothing: what was meant, and the first object that does.
    pub(super) fn unmet(&self) -> Vec<(&Reference, &str)> {
        let unmet = self.known.iter().filter(|(_, r)| !r.met);
        let mut unmet: Vec<_> = unmet.map(|(r, by)| (r, by.object.as_str())).collect();
        unmet.sort();
        unmet
    }

    fn walk(&mut self, by: &str, namespace: Option<&str>, key: &str, value: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match value {
            Value::String(name) => {
                if let Some(target) = named_by(key) {
                    self.note(by, target, namespace, name, false);
                }
            }
            Value::Object(fields) => {
                if let Some(target) = referred_by(key).or_else(|| kind_of(fields)) {
                    self.object(by, target, namespace, fields);
                }
                for (key, value) in fields {
                    self.walk(by, namespace, key, value, depth);
                }
            }
            Value::Array(values) => {
                for value in values {
                    self.walk(by, namespace, key, value, depth);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, by: &str, target: Target, own: Option<&str>, fields: &Map<String, Value>) {
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let Some(name) = text("name") else {
            return;
        };
        let namespace = text("namespace").filter(|n| !n.is_empty()).or(own);
        let optional = fields.get("optional") == Some(&Value::Bool(true));
        self.note(by, target, namespace, name, optional);
    }

    fn note(
        &mut self,
        by: &str,
        target: Target,
        namespace: Option<&str>,
        name: &str,
        optional: bool,
    ) {
        if name.is_empty() || name.len() > 253 {
            return;
        }
        if self.known.len() >= MAX_REFERENCES {
            self.overflowed = true;
            return;
        }
        let reference = Reference {
            target,
            namespace: namespace.map(ToOwned::to_owned),
            name: name.to_owned(),
        };
        let referrer = self.known.entry(reference).or_insert_with(|| Referrer {
            object: by.to_owned(),
            met: true,
        });
        referrer.met &= optional;
    }
}

/// A field that holds a reference as an object with `name`, by the end of its name.
fn referred_by(key: &str) -> Option<Target> {
    const SECRET: [&str; 6] = [
        "secretref",
        "credentialsref",
        "credentialref",
        "secretreference",
        "secretkeyref",
        "imagepullsecrets",
    ];
    const CONFIG_MAP: [&str; 3] = ["configmapref", "configmapreference", "configmapkeyref"];
    let key = key.to_ascii_lowercase();
    if SECRET.iter().any(|end| key.ends_with(end)) {
        Some(Target::Secret)
    } else if CONFIG_MAP.iter().any(|end| key.ends_with(end)) {
        Some(Target::ConfigMap)
    } else {
        None
    }
}

/// A field that holds a name.
fn named_by(key: &str) -> Option<Target> {
    let key = key.to_ascii_lowercase();
    if key.ends_with("secretname") {
        Some(Target::Secret)
    } else if key.ends_with("configmapname") {
        Some(Target::ConfigMap)
    } else {
        None
    }
}

/// An object reference that says what it refers to.
fn kind_of(fields: &Map<String, Value>) -> Option<Target> {
    match fields.get("kind").and_then(Value::as_str) {
        Some("Secret") => Some(Target::Secret),
        Some("ConfigMap") => Some(Target::ConfigMap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unmet(object: &Value) -> Vec<String> {
        let mut references = References::default();
        references.collect("x", Some("own"), object);
        let unmet = references.unmet();
        let text = |r: &Reference| {
            let namespace = r.namespace.as_deref().unwrap_or("?");
            format!("{:?} {namespace}/{}", r.target, r.name)
        };
        unmet.into_iter().map(|(r, _)| text(r)).collect()
    }

    #[test]
    fn references_are_found_by_shape() {
        let object = json!({
            "metadata": { "name": "no", "annotations": { "secretName": "not-this" } },
            "spec": {
                "credentialsRef": { "name": "harvester", "namespace": "butler-system", "key": "k" },
                "gitProvider": { "secretRef": { "name": "git" } },
                "tls": [{ "secretName": "tls" }],
                "tlsConfig": { "certificateAuthority": {
                    "certificate": { "secretReference": { "name": "ca", "namespace": "steward-system" } },
                } },
                "env": [
                    { "valueFrom": { "secretKeyRef": { "name": "maybe", "optional": true } } },
                    { "valueFrom": { "configMapKeyRef": { "name": "settings" } } },
                ],
                "valuesFrom": [{ "kind": "ConfigMap", "name": "values" }],
                "imagePullSecrets": [{ "name": "pull" }],
            },
            "status": { "passwordSecretRef": { "name": "butler-user-a-password" } },
        });
        assert_eq!(
            unmet(&object),
            [
                "Secret butler-system/harvester",
                "Secret own/butler-user-a-password",
                "Secret own/git",
                "Secret own/pull",
                "Secret own/tls",
                "Secret steward-system/ca",
                "ConfigMap own/settings",
                "ConfigMap own/values",
            ]
        );
    }

    #[test]
    fn the_status_of_a_tenant_means_its_own_namespace() {
        let tenant = json!({
            "spec": { "infrastructure": { "secretRef": { "name": "a" } } },
            "status": { "tenantNamespace": "one-1a2b", "kubeconfigSecretRef": { "name": "k" } },
        });
        assert_eq!(unmet(&tenant), ["Secret one-1a2b/k", "Secret own/a"]);
    }

    #[test]
    fn what_is_there_is_no_reference_to_nothing() {
        let mut references = References::default();
        let user = json!({ "status": { "passwordSecretRef": { "name": "a" } } });
        references.collect("users/a", None, &user);
        assert!(!references.meet(Target::Secret, "x", "b"));
        assert!(!references.meet(Target::ConfigMap, "x", "a"));
        assert!(references.meet(Target::Secret, "x", "a"));
        assert!(references.unmet().is_empty());
    }
}
