//! List of the secret values in objects, and masking that shows objects without them.

use serde_json::Value;

use super::ResourceName;

/// Values that are shown only on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensitiveValue {
    /// Kind, as plural and group; empty for every kind.
    pub resource: &'static str,
    /// Path to the values; `*` stands for every key or item. Everything below is secret.
    pub path: &'static [&'static str],
    /// Reason why the values are secret.
    pub why: &'static str,
}

/// Step that stands for every key of a map, and every item of a list.
const EACH: &str = "*";
/// Text that is shown instead of a secret value.
const MASKED: &str = "***";
/// Text that is shown instead of a secret value that differs from the compared one.
const MASKED_CHANGED: &str = "*** (changed)";

macro_rules! sensitive {
    ($($resource:literal $($step:literal)+ => $why:literal;)*) => {
        /// All values that are shown only on request.
        pub const SENSITIVE: &[SensitiveValue] = &[
            $(SensitiveValue { resource: $resource, path: &[$($step),+], why: $why },)*
        ];
    };
}

sensitive! {
    "" "metadata" "annotations" "kubectl.kubernetes.io/last-applied-configuration"
        => "repeats the whole object as it was applied, the values of a Secret too";
    "secrets" "data" => "is what Secrets are for";
    "secrets" "stringData" => "is what Secrets are for";
    "clusterbootstraps.butler.butlerlabs.dev" "status" "kubeconfig"
        => "opens the cluster as its administrator";
    "clusterbootstraps.butler.butlerlabs.dev" "status" "talosconfig"
        => "opens the machines as their administrator";
    "machinerequests.butler.butlerlabs.dev" "spec" "userData"
        => "may be a machine configuration, which holds the cluster's secrets";
    "users.butler.butlerlabs.dev" "status" "inviteTokenHash"
        => "lets somebody guess the invitation";
    "datastores.steward.butlerlabs.dev" "spec" "basicAuth" "*" "content"
        => "is a user or a password";
    "datastores.steward.butlerlabs.dev" "spec" "tlsConfig" "*" "*" "content"
        => "may be a private key";
    "virtualmachines.kubevirt.io" "spec" "template" "spec" "volumes" "*" "cloudInitNoCloud"
        => "may be a machine configuration, which holds the cluster's secrets";
    "virtualmachines.kubevirt.io" "spec" "template" "spec" "volumes" "*" "cloudInitConfigDrive"
        => "may be a machine configuration, which holds the cluster's secrets";
    "virtualmachineinstances.kubevirt.io" "spec" "volumes" "*" "cloudInitNoCloud"
        => "may be a machine configuration, which holds the cluster's secrets";
    "virtualmachineinstances.kubevirt.io" "spec" "volumes" "*" "cloudInitConfigDrive"
        => "may be a machine configuration, which holds the cluster's secrets";
    "kubeadmconfigs.bootstrap.cluster.x-k8s.io" "spec" "files" "*" "content"
        => "may hold keys and passwords of the machine";
    "kubeadmconfigs.bootstrap.cluster.x-k8s.io" "spec" "joinConfiguration" "discovery"
        "bootstrapToken" "token" => "lets a machine join";
    "kubeadmconfigs.bootstrap.cluster.x-k8s.io" "spec" "users" "*" "passwd"
        => "is the hash of a password";
    "kubeadmconfigtemplates.bootstrap.cluster.x-k8s.io" "spec" "template" "spec" "files" "*"
        "content" => "may hold keys and passwords of the machine";
    "kubeadmconfigtemplates.bootstrap.cluster.x-k8s.io" "spec" "template" "spec" "users" "*"
        "passwd" => "is the hash of a password";
    "talosconfigs.bootstrap.cluster.x-k8s.io" "spec" "data"
        => "is a machine configuration, which holds the cluster's secrets";
    "talosconfigs.bootstrap.cluster.x-k8s.io" "status" "talosConfig"
        => "opens the machines as their administrator";
}

/// Masks the secret values of an object of kind `resource`; returns their number.
pub fn mask(resource: &ResourceName, object: &mut Value) -> usize {
    mask_from(resource, object, None)
}

/// Does the same as [`mask`], and marks values that differ from those of `before` without showing them.
pub fn mask_beside(resource: &ResourceName, object: &mut Value, before: &Value) -> usize {
    mask_from(resource, object, Some(before))
}

fn mask_from(resource: &ResourceName, object: &mut Value, before: Option<&Value>) -> usize {
    SENSITIVE
        .iter()
        .filter(|s| s.resource.is_empty() || s.resource == resource.as_str())
        .map(|s| follow(object, before, s.path))
        .sum()
}

fn follow(value: &mut Value, before: Option<&Value>, path: &[&str]) -> usize {
    let Some((step, rest)) = path.split_first() else {
        return cover(value, before);
    };
    match value {
        Value::Object(map) => map
            .iter_mut()
            .filter(|(key, _)| *step == EACH || key == step)
            .map(|(key, value)| follow(value, before.and_then(|b| b.get(key)), rest))
            .sum(),
        Value::Array(items) if *step == EACH => items
            .iter_mut()
            .enumerate()
            .map(|(at, item)| follow(item, before.and_then(|b| b.get(at)), rest))
            .sum(),
        // The shape differs from that of the kind: hide the value rather than show it.
        other => cover(other, before),
    }
}

/// Masks everything below `value`, but keeps the names of keys.
fn cover(value: &mut Value, before: Option<&Value>) -> usize {
    match value {
        Value::Null => 0,
        Value::Object(map) => map
            .iter_mut()
            .map(|(key, value)| cover(value, before.and_then(|b| b.get(key))))
            .sum(),
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .map(|(at, item)| cover(item, before.and_then(|b| b.get(at))))
            .sum(),
        secret => {
            let changed = before.is_some_and(|before| before != secret);
            let shown = if changed { MASKED_CHANGED } else { MASKED };
            *secret = Value::String(shown.to_owned());
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns an object with a canary at the end of `path`, below one more key.
    fn planted(path: &[&str], secret: &Value) -> Value {
        path.iter()
            .rev()
            .fold(json!({ "key": secret }), |value, step| {
                if *step == EACH {
                    json!([value])
                } else {
                    json!({ *step: value })
                }
            })
    }

    #[test]
    fn every_value_of_the_list_is_masked_and_its_keys_stay() {
        for sensitive in SENSITIVE {
            let resource = ResourceName::from(sensitive.resource);
            for secret in [json!("canary"), json!(["canary"]), json!({ "a": 4_711 })] {
                let mut object = planted(sensitive.path, &secret);
                assert_eq!(mask(&resource, &mut object), 1, "{sensitive:?}");
                let shown = object.to_string();
                assert!(
                    !shown.contains("canary") && !shown.contains("4711"),
                    "{shown}"
                );
                assert!(shown.contains("key"), "{shown}");
            }
        }
    }

    #[test]
    fn other_kinds_and_other_fields_are_shown() {
        let object = json!({ "data": { "a": "shown" }, "spec": { "userData": "shown" } });
        let mut config_map = object.clone();
        assert_eq!(mask(&"configmaps".into(), &mut config_map), 0);
        assert_eq!(config_map, object);
        let mut user = json!({ "spec": { "email": "a@b" }, "status": { "inviteTokenHash": "h" } });
        assert_eq!(mask(&"users.butler.butlerlabs.dev".into(), &mut user), 1);
        assert_eq!(user["spec"]["email"], "a@b");
    }

    #[test]
    fn a_change_is_told_and_the_value_is_not() {
        let before = json!({ "data": { "a": "one", "b": "two", "d": "x" } });
        let mut after = json!({ "data": { "a": "one", "b": "three", "c": "four" } });
        mask_beside(&"secrets".into(), &mut after, &before);
        let shown = json!({ "data": { "a": "***", "b": "*** (changed)", "c": "***" } });
        assert_eq!(after, shown);
    }

    #[test]
    fn what_has_another_shape_is_hidden() {
        let mut odd = json!({ "data": "canary", "stringData": ["canary"], "metadata": null });
        mask(&"secrets".into(), &mut odd);
        assert!(!odd.to_string().contains("canary"), "{odd}");
        let mut odd = json!({ "spec": { "basicAuth": ["canary"], "tlsConfig": "canary" } });
        mask(&"datastores.steward.butlerlabs.dev".into(), &mut odd);
        assert!(!odd.to_string().contains("canary"), "{odd}");
    }
}
