//! Objects that every cluster creates for itself and that people may change: its namespaces, the default
//! service accounts, the roles of the API server. A restore adds people's changes to the cluster's own
//! objects and removes nothing from them.

use serde_json::{Map, Value};

use super::spool::Entry;

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Label of the roles and bindings that the API server creates.
const BOOTSTRAPPED: &str = "/metadata/labels/kubernetes.io~1bootstrapping";
/// Annotation that says whether the API server restores the missing parts of such a role.
const AUTOUPDATE: &str = "/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate";
/// Managers that write such roles automatically.
const SERVERS: [&str; 3] = [
    "kube-apiserver",
    "kube-controller-manager",
    "clusterrole-aggregation-controller",
];
/// Parts of a rule.
const PARTS: [&str; 5] = [
    "apiGroups",
    "nonResourceURLs",
    "resourceNames",
    "resources",
    "verbs",
];

/// Function that reports whether a list contains a value.
type ContainsFn = fn(&[Value], &Value) -> bool;

/// Returns why an object is left out: it is the cluster's own and nobody changed it. `None` for other
/// objects.
pub(super) fn reason(entry: &Entry, object: &Value) -> Option<&'static str> {
    match entry.path.resource.as_str() {
        "namespaces" if is_own(entry, object) && is_plain(object, &["spec", "status"]) => {
            Some("every cluster has its own")
        }
        "serviceaccounts" if is_own(entry, object) && is_plain_account(object) => {
            Some("every namespace has its own")
        }
        _ if is_bootstrapped(entry, object) && is_written_by_servers(object) => {
            Some("every cluster has its own")
        }
        _ => None,
    }
}

/// Whether the cluster creates the object for itself.
pub(super) fn is_own(entry: &Entry, object: &Value) -> bool {
    let name = entry.path.name.as_str();
    match entry.path.resource.as_str() {
        "namespaces" => NAMESPACES.contains(&name),
        "serviceaccounts" => name == "default",
        _ => is_bootstrapped(entry, object),
    }
}

fn is_bootstrapped(entry: &Entry, object: &Value) -> bool {
    let rbac = entry.path.resource.group() == "rbac.authorization.k8s.io";
    rbac && object.pointer(BOOTSTRAPPED).is_some() && is_built_in_role(&entry.path.name)
}

/// Whether the API server creates a role or binding with this name. The label alone proves nothing: whoever
/// copies a role copies the label, too.
fn is_built_in_role(name: &str) -> bool {
    const ROLES: [&str; 5] = [
        "admin",
        "cluster-admin",
        "edit",
        "extension-apiserver-authentication-reader",
        "view",
    ];
    name.starts_with("system:") || ROLES.contains(&name)
}

/// Whether only servers of the control plane wrote the object. An object without managers, as in a file that
/// a person wrote, may be anybody's.
fn is_written_by_servers(object: &Value) -> bool {
    let Some(managers) = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .filter(|managers| !managers.is_empty())
    else {
        return false;
    };
    let mut names = managers.iter().map(|m| m.get("manager")?.as_str());
    names.all(|name| name.is_some_and(|name| SERVERS.contains(&name)))
}

/// Whether the object has only the labels, annotations and fields that its cluster gives it.
fn is_plain(object: &Value, given: &[&str]) -> bool {
    let metadata = object.get("metadata").and_then(Value::as_object);
    let labels = metadata.and_then(|m| m.get("labels")?.as_object());
    let named = |name: &String| name != "kubernetes.io/metadata.name";
    let unlabelled = labels.is_none_or(|labels| !labels.keys().any(named));
    let is_empty = |name: &str| {
        let held = metadata.and_then(|m| m.get(name));
        held.is_none_or(|held| {
            held.as_object().is_none_or(Map::is_empty) && held.as_array().is_none_or(Vec::is_empty)
        })
    };
    let known = |name: &String| {
        ["apiVersion", "kind", "metadata"].contains(&name.as_str())
            || given.contains(&name.as_str())
    };
    let bare = object.as_object().is_none_or(|o| o.keys().all(known));
    unlabelled && is_empty("annotations") && is_empty("finalizers") && bare
}

fn is_plain_account(object: &Value) -> bool {
    let account = object.pointer("/metadata/name").and_then(Value::as_str);
    let account = account.unwrap_or_default();
    let secrets = object.get("secrets").and_then(Value::as_array);
    let mut names = secrets.into_iter().flatten().map(name_of);
    let generated = names.all(|name| name.is_some_and(|name| is_generated(account, name)));
    generated && is_plain(object, &["secrets"])
}

/// Returns the name in a reference.
pub(super) fn name_of(reference: &Value) -> Option<&str> {
    reference.get("name")?.as_str()
}

/// Whether the cluster generated a Secret with this name for the account: the name ends in five random
/// characters.
pub(super) fn is_generated(account: &str, secret: &str) -> bool {
    let Some(rest) = secret.strip_prefix(account) else {
        return false;
    };
    let chance = ["-token-", "-dockercfg-"]
        .iter()
        .find_map(|kind| rest.strip_prefix(kind));
    chance.is_some_and(|c| c.len() == 5 && c.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Adds the rules and subjects of `live` to `wanted`, a role that the API server creates, so that none is
/// removed. Does nothing if the role's annotation turns off automatic updates.
pub(super) fn add_own(entry: &Entry, live: &Value, wanted: &mut Value) {
    let updated = wanted.pointer(AUTOUPDATE).and_then(Value::as_str) != Some("false");
    if !is_bootstrapped(entry, wanted) || !updated {
        return;
    }
    let lists: [(&str, ContainsFn); 2] = [("rules", has_rule), ("subjects", has_subject)];
    for (field, holds) in lists {
        let list = |object: &Value| {
            let held = object.get(field).and_then(Value::as_array);
            held.cloned().unwrap_or_default()
        };
        let (mut all, captured) = (list(live), list(wanted));
        let lacking: Vec<Value> = captured.into_iter().filter(|w| !holds(&all, w)).collect();
        all.extend(lacking);
        if !all.is_empty()
            && let Some(fields) = wanted.as_object_mut()
        {
            fields.insert(field.to_owned(), Value::Array(all));
        }
    }
}

fn has_subject(live: &[Value], subject: &Value) -> bool {
    live.contains(subject)
}

/// Whether `live` grants each single right of `rule`.
fn has_rule(live: &[Value], rule: &Value) -> bool {
    let parts = PARTS.map(|part| texts(rule, part));
    let count: usize = parts.iter().map(|p| p.len().max(1)).product();
    // No real rule has so many combinations; a larger one is compared as a whole.
    const MAX_RULES: usize = 10_000;
    if count > MAX_RULES {
        return live.contains(rule);
    }
    (0..count).all(|at| {
        let mut left = at;
        let single = parts.clone().map(|part| {
            let many = part.len().max(1);
            let chosen = part.get(left % many).copied();
            left /= many;
            chosen
        });
        live.iter().any(|rule| allows(rule, &single))
    })
}

/// Whether `rule` grants a single right, given as one value for each part.
fn allows(rule: &Value, single: &[Option<&str>; 5]) -> bool {
    PARTS.iter().zip(single).all(|(part, wanted)| {
        let held = texts(rule, part);
        match wanted {
            // A rule without resource names covers all names.
            None => held.is_empty(),
            Some(_) if *part == "resourceNames" && held.is_empty() => true,
            Some(wanted) => held.contains(wanted) || held.contains(&"*"),
        }
    })
}

fn texts<'a>(rule: &'a Value, part: &str) -> Vec<&'a str> {
    let held = rule.get(part).and_then(Value::as_array);
    let texts = held.into_iter().flatten();
    texts.filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use backup_core::archive::ObjectPath;

    fn entry(resource: &str, name: &str) -> Entry {
        Entry::placed(ObjectPath {
            resource: resource.into(),
            namespace: None,
            name: name.to_owned(),
        })
    }

    fn role(manager: &str, autoupdate: &str, rules: &Value) -> Value {
        json!({
            "metadata": {
                "name": "system:discovery", "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
                "annotations": { "rbac.authorization.kubernetes.io/autoupdate": autoupdate },
                "managedFields": [{ "manager": "kube-apiserver" }, { "manager": manager }],
            },
            "rules": rules,
        })
    }

    #[test]
    fn what_people_changed_is_no_longer_the_clusters_alone() {
        let left = |resource: &str, name: &str, object: &Value| {
            reason(&entry(resource, name), object).is_some()
        };
        let roles = "clusterroles.rbac.authorization.k8s.io";
        let rules = json!([]);
        assert!(left(
            roles,
            "system:a",
            &role("kube-apiserver", "true", &rules)
        ));
        assert!(!left(
            roles,
            "system:a",
            &role("kubectl-edit", "true", &rules)
        ));
        // A copied label does not make an object the API server's.
        let labels = json!({ "metadata": { "labels": { "kubernetes.io/bootstrapping": "x" } } });
        assert!(!left("configmaps", "a", &labels));

        let plain = json!({ "metadata": { "name": "default", "labels": {
            "kubernetes.io/metadata.name": "default",
        } }, "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" } });
        assert!(left("namespaces", "default", &plain));
        assert!(!left("namespaces", "mine", &plain));
        let mut guarded = plain;
        guarded["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("baseline");
        assert!(!left("namespaces", "default", &guarded));

        let account = |more: Value| {
            let mut account = json!({ "metadata": { "name": "default", "namespace": "a" } });
            crate::overlay(&mut account, &more);
            left("serviceaccounts", "default", &account)
        };
        assert!(account(json!({})));
        assert!(account(
            json!({ "secrets": [{ "name": "default-token-x7k2p" }] })
        ));
        assert!(!account(json!({ "secrets": [{ "name": "registry" }] })));
        assert!(!account(json!({ "automountServiceAccountToken": false })));
        assert!(!account(
            json!({ "imagePullSecrets": [{ "name": "registry" }] })
        ));
        assert!(!account(
            json!({ "metadata": { "annotations": { "a": "b" } } })
        ));
    }

    #[test]
    fn rules_are_added_and_none_is_taken_away() {
        let entry = entry("clusterroles.rbac.authorization.k8s.io", "system:a");
        let get = json!({ "apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get"] });
        let newer = json!({ "apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"] });
        let live = json!({ "rules": [get, newer] });
        let covered =
            json!({ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["watch"] });
        let one = json!({ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get"] });
        let extra = json!({ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"] });
        let captured = json!([covered, one, extra]);
        let mut wanted = role("kubectl", "true", &captured);
        add_own(&entry, &live, &mut wanted);
        assert_eq!(wanted["rules"], json!([get, newer, extra]));
        // Somebody took the role over: it stays as they have it.
        let mut wanted = role("kubectl", "false", &captured);
        add_own(&entry, &live, &mut wanted);
        assert_eq!(wanted["rules"], captured);
        let urls = json!({ "nonResourceURLs": ["/healthz"], "verbs": ["get"] });
        assert!(has_rule(std::slice::from_ref(&urls), &urls));
        assert!(!has_rule(&[get], &urls));
        let named = json!({ "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"] });
        let all = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
        assert!(has_rule(std::slice::from_ref(&all), &named));
        assert!(!has_rule(&[named], &all));
    }
}
