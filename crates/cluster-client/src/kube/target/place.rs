//! Conversion between objects and their paths in the API.

use serde_json::Value;

use crate::kube::kind::Kind;
use backup_core::archive::{ObjectPath, ResourceName};

/// Returns the kind in the version that `api_version` names, if it is served.
pub(super) fn in_version(kind: &Kind, api_version: Option<&str>) -> Kind {
    let mut kind = kind.clone();
    let version = api_version.and_then(|v| v.rsplit('/').next());
    if let Some(version) = version.filter(|v| kind.also_served.iter().any(|s| s == v)) {
        version.clone_into(&mut kind.version);
    }
    kind
}

pub(super) fn list_in(kind: &Kind, namespace: &str) -> String {
    let list = kind.path();
    let plural = kind.resource.plural();
    let root = list.strip_suffix(plural).unwrap_or(&list);
    format!("{root}namespaces/{}/{plural}", encoded(namespace))
}

/// Returns the path of one object, or of a part of it such as `/status`.
pub(in super::super) fn place(kind: &Kind, path: &ObjectPath, part: &str) -> String {
    let list = match &path.namespace {
        Some(namespace) => list_in(kind, namespace),
        None => kind.path(),
    };
    format!("{list}/{}{part}", encoded(&path.name))
}

/// Returns the query parameter that lists only the object of that name.
pub(super) fn named(name: &str) -> String {
    format!("fieldSelector=metadata.name%3D{}", encoded(name))
}

/// Encodes a name as a part of a path: RBAC names contain colons and more.
fn encoded(name: &str) -> String {
    let text: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    text.replace('+', "%20")
}

/// Returns the archive path of an object from a list.
pub(super) fn path_of(resource: &ResourceName, object: &Value) -> Option<ObjectPath> {
    let text = |pointer: &str| Some(object.pointer(pointer)?.as_str()?.to_owned());
    Some(ObjectPath {
        resource: resource.clone(),
        namespace: text("/metadata/namespace").filter(|n| !n.is_empty()),
        name: text("/metadata/name")?,
    })
}
