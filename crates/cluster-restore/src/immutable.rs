//! Fields that a server does not allow to change, and the command that helps.

use serde_json::Value;

use crate::spool::Entry;
use cluster_client::kube::WriteError;

/// Beginning of such an outcome; a retry does not help.
const IMMUTABLE_PREFIX: &str = "it cannot be changed in place";
/// Words that servers use: the API server for its own kinds, and people in rules for custom ones.
const IMMUTABLE_WORDS: [&str; 12] = [
    "immutable",
    "cannot change",
    "can not change",
    "may not change",
    "may not be changed",
    "cannot be changed",
    "can not be changed",
    "may not be updated",
    "cannot be updated",
    "cannot be modified",
    "not be modified",
    "are forbidden",
];

/// Reports whether the reason of an outcome says that a retry cannot help.
pub(super) fn is_final(why: Option<&str>) -> bool {
    why.is_some_and(|why| why.starts_with(IMMUTABLE_PREFIX))
}

/// Reports whether the server refuses a change because a field cannot be changed. A webhook's
/// message does not count: the webhook may be parked when the object is written.
pub(super) fn is_fixed(error: &WriteError) -> bool {
    let WriteError::Refused {
        reason, message, ..
    } = error
    else {
        return false;
    };
    let message = message.to_ascii_lowercase();
    matches!(reason.as_str(), "Invalid" | "Forbidden")
        && !message.contains("admission webhook")
        && IMMUTABLE_WORDS.iter().any(|said| message.contains(said))
}

/// Returns why the object stays unchanged, and what a person can do. `live` is the cluster's
/// object.
pub(super) fn sentence(entry: &Entry, live: &Value, wanted: &Value, error: &WriteError) -> String {
    let field = field(entry, live, wanted, error);
    let what = if field.is_empty() {
        String::new()
    } else {
        format!(" ({field})")
    };
    format!("{IMMUTABLE_PREFIX}{what}: {}", remedy(entry, live))
}

/// Returns what cannot be changed, without a value.
fn field(entry: &Entry, live: &Value, wanted: &Value, error: &WriteError) -> String {
    if entry.path.resource.as_str() == "secrets" {
        // The server's message may quote it.
        let differs = live.get("type") != wanted.get("type");
        let told = if differs {
            "its type is different"
        } else {
            "the cluster's is marked as immutable"
        };
        return told.to_owned();
    }
    let WriteError::Refused { message, .. } = error else {
        return String::new();
    };
    // `Kind.group "name" is invalid: field: Invalid value: …: why`, or a list of these in brackets.
    let (_, said) = message.split_once("is invalid: ").unwrap_or(("", message));
    let said = said.trim_start_matches('[');
    let (field, rest) = said.split_once(": ").unwrap_or((said, ""));
    let is_field = !field.is_empty() && !field.contains(' ') && !rest.is_empty();
    if is_field {
        field.to_owned()
    } else {
        said.chars().take(200).collect()
    }
}

/// Returns the remedy. It never suggests a command that deletes anything else.
fn remedy(entry: &Entry, live: &Value) -> String {
    let resource = &entry.path.resource;
    let name = &entry.path.name;
    let namespace = entry.path.namespace.as_ref();
    let namespace = namespace.map_or_else(String::new, |n| format!(" -n {n}"));
    let leave = format!("leave it as it is with `--exclude-resources {resource}`");
    let finalizers = live
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    let delete = |more: &str| format!("`kubectl delete {resource} {name}{namespace}{more}`");
    let then = "then plan again";
    match (resource.group(), resource.plural()) {
        ("", "persistentvolumeclaims" | "persistentvolumes") => {
            format!("deleting it could take its data along, so {leave}")
        }
        ("", "services") => format!(
            "if it may get another address, {}, {then}; otherwise {leave}",
            delete("")
        ),
        ("apps", _) => format!(
            "{}, which keeps its Pods running, {then}",
            delete(" --cascade=orphan")
        ),
        ("batch", "jobs") => format!(
            "{}, {then}; it runs once more when it is created again; if you do not want that, \
             {leave}",
            delete("")
        ),
        (
            ""
            | "node.k8s.io"
            | "networking.k8s.io"
            | "rbac.authorization.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io",
            _,
        ) if finalizers.is_none_or(Vec::is_empty) => format!("{}, {then}", delete("")),
        _ => {
            format!(
                "deleting it could also delete what it represents, so {leave}, or change it by \
                 hand"
            )
        }
    }
}

/// Returns why an object that the API server cannot address stays unchanged.
pub(super) fn unnamed(entry: &Entry) -> String {
    let resource = &entry.path.resource;
    format!(
        "{IMMUTABLE_PREFIX}: {UNNAMED}, so leave it as it is with `--exclude-resources {resource}`, or delete \
         all of them with `kubectl delete --raw`, then plan again"
    )
}

/// Reason why the API server cannot address objects of such a kind.
pub(super) const UNNAMED: &str =
    "the API server takes the path of one object of a kind called `namespaces` for a namespace";

/// Returns why the definition `name` stays unchanged, and what a person can do.
pub(super) fn definition(name: &str, what: &str) -> String {
    format!(
        "{IMMUTABLE_PREFIX}: {what}; if `kubectl get {name} -A` shows nothing that is needed, `kubectl delete crd {name}`, which \
         deletes all its objects, then plan again; otherwise install the version of its chart that \
         the archive is of on a cluster of its own"
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use backup_core::archive::ObjectPath;

    fn refused(reason: &str, message: &str) -> WriteError {
        WriteError::Refused {
            request: "PATCH".to_owned(),
            status: StatusCode::UNPROCESSABLE_ENTITY,
            reason: reason.to_owned(),
            message: message.to_owned(),
            retry_after: None,
        }
    }

    fn message_for(resource: &str, live: &Value, wanted: &Value, message: &str) -> String {
        let entry = Entry::placed(ObjectPath {
            resource: resource.into(),
            namespace: Some("a".to_owned()),
            name: "b".to_owned(),
        });
        let error = refused("Invalid", message);
        assert!(is_fixed(&error), "{message}");
        let why = sentence(&entry, live, wanted, &error);
        assert!(is_final(Some(&why)), "{why}");
        why
    }

    #[test]
    fn each_kind_has_a_way_on_that_takes_nothing_along() {
        let none = json!({});
        insta::assert_snapshot!([
            message_for(
                "rolebindings.rbac.authorization.k8s.io", &none, &none,
                "RoleBinding.rbac.authorization.k8s.io \"b\" is invalid: roleRef: Invalid value: \
                 {\"kind\":\"ClusterRole\"}: cannot change roleRef",
            ),
            message_for(
                "secrets", &json!({ "type": "Opaque" }), &json!({ "type": "kubernetes.io/tls" }),
                "Secret \"b\" is invalid: type: Invalid value: \"CANARY\": field is immutable",
            ),
            message_for(
                "deployments.apps", &none, &none,
                "Deployment.apps \"b\" is invalid: spec.selector: Invalid value: {}: field is immutable",
            ),
            message_for(
                "persistentvolumeclaims", &none, &none,
                "PersistentVolumeClaim \"b\" is invalid: spec: Forbidden: spec is immutable after creation",
            ),
            message_for(
                "gadgets.example.org", &none, &none,
                "Gadget.example.org \"b\" is invalid: [spec.size: Invalid value: 3: Value is immutable, x]",
            ),
        ].join("\n"), @r"
        it cannot be changed in place (roleRef): `kubectl delete rolebindings.rbac.authorization.k8s.io b -n a`, then plan again
        it cannot be changed in place (its type is different): `kubectl delete secrets b -n a`, then plan again
        it cannot be changed in place (spec.selector): `kubectl delete deployments.apps b -n a --cascade=orphan`, which keeps its Pods running, then plan again
        it cannot be changed in place (spec): deleting it could take its data along, so leave it as it is with `--exclude-resources persistentvolumeclaims`
        it cannot be changed in place (spec.size): deleting it could also delete what it represents, so leave it as it is with `--exclude-resources gadgets.example.org`, or change it by hand
        ");
    }

    #[test]
    fn only_what_cannot_be_changed_is_said_to_be_so() {
        for (reason, message) in [
            ("Invalid", "A \"b\" is invalid: spec.n: Required value"),
            (
                "Conflict",
                "the object has been modified; field is immutable",
            ),
            (
                "Forbidden",
                "admission webhook \"a\" denied the request: spec is immutable",
            ),
            ("Forbidden", "User \"u\" cannot patch resource \"secrets\""),
        ] {
            assert!(!is_fixed(&refused(reason, message)), "{message}");
        }
        assert!(!is_final(Some("the API server refuses it: x")));
        assert!(!is_final(None));
    }
}
