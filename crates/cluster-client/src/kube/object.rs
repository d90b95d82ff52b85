//! Object of a list: its head, and its JSON as it goes into the archive.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::KubeError;
use super::kind::Kind;
use backup_core::archive::ObjectPath;

/// Fields that are read from every object.
#[derive(Debug, Deserialize)]
struct RawHead<'a> {
    kind: Option<serde::de::IgnoredAny>,
    metadata: Meta,
    #[serde(borrow, default, rename = "type")]
    kind_of_secret: Option<&'a RawValue>,
}

/// Metadata in use here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, serde::de::IgnoredAny>,
    pub(super) deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl Meta {
    pub(super) fn has_annotation(&self, key: &str) -> bool {
        self.annotations.contains_key(key)
    }
}

/// Object from a list. May be a Secret: its debug output contains only the path.
pub(super) struct Object {
    pub(super) path: ObjectPath,
    pub(super) meta: Meta,
    /// Field `type` of a Secret.
    pub(super) secret_type: Option<String>,
    /// JSON as the server returned it; kind and version are added in front if the list left them out.
    pub(super) json: Bytes,
}

impl Object {
    pub(super) fn read(kind: &Kind, item: Bytes) -> Result<Self, KubeError> {
        let path = kind.path();
        let head: RawHead<'_> = super::request::parse(&path, "object", &item)?;
        let RawHead {
            kind: named,
            metadata: meta,
            kind_of_secret,
        } = head;
        // API servers ensure this; those of extensions may not.
        let parts = std::iter::once(&meta.name).chain(&meta.namespace);
        if !parts.into_iter().all(|part| is_one_part(part)) {
            return Err(KubeError::Malformed {
                path,
                wanted: "object with a name that can be part of a path",
                at: "metadata".to_owned(),
            });
        }
        let secret_type = kind_of_secret.and_then(|t| serde_json::from_str(t.get()).ok());
        let json = match named {
            Some(_) => item,
            None => with_kind(kind, &item),
        };
        let path = ObjectPath {
            resource: kind.resource.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };
        Ok(Self {
            path,
            meta,
            secret_type,
            json,
        })
    }

    /// Reads the answer to a GET of a single object. Built-in kinds have kind and version at its start,
    /// which a list leaves out: the object is converted to the form that a list gives.
    pub(super) fn read_alone(kind: &Kind, answer: &Bytes) -> Result<Self, KubeError> {
        let end = answer.iter().rposition(|b| !b.is_ascii_whitespace());
        let item = answer.slice(..end.map_or(0, |end| end.saturating_add(1)));
        let named = serde_json::json!(kind.kind);
        let version = serde_json::json!(kind.api_version());
        let named = format!("{{\"kind\":{named},\"apiVersion\":{version},");
        let item = match item.strip_prefix(named.as_bytes()) {
            Some(rest) => with_kind(kind, &[b"{", rest].concat()),
            None => item,
        };
        Self::read(kind, item)
    }

    /// Returns the tool that can create it again, by the labels and annotations that the tool leaves.
    pub(super) fn managed_by(&self) -> Option<&'static str> {
        let Meta {
            labels,
            annotations,
            ..
        } = &self.meta;
        let flux = [
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/name",
        ];
        if flux.iter().any(|l| labels.contains_key(*l)) {
            return Some("flux");
        }
        if labels.contains_key("argocd.argoproj.io/instance")
            || annotations.contains_key("argocd.argoproj.io/tracking-id")
        {
            return Some("argo");
        }
        let helm = labels
            .get("app.kubernetes.io/managed-by")
            .map(String::as_str)
            == Some("Helm")
            || annotations.contains_key("meta.helm.sh/release-name");
        helm.then_some("helm")
    }
}

/// Reports whether a name stays a single part of a path.
fn is_one_part(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/')
}

/// Puts `apiVersion` and `kind` in front of an item that has none.
fn with_kind(kind: &Kind, item: &[u8]) -> Bytes {
    let head = serde_json::json!({ "apiVersion": kind.api_version(), "kind": kind.kind });
    let head = head.to_string();
    let head = head.strip_suffix('}').unwrap_or(&head);
    let rest = item.strip_prefix(b"{").unwrap_or(item);
    let mut json = BytesMut::with_capacity(head.len().saturating_add(item.len()));
    json.put_slice(head.as_bytes());
    if !rest.starts_with(b"}") {
        json.put_u8(b',');
    }
    json.put_slice(rest);
    json.freeze()
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({})", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_core::archive::ResourceName;

    fn kind() -> Kind {
        Kind {
            resource: ResourceName::from("secrets"),
            kind: "Secret".to_owned(),
            version: "v1".to_owned(),
            namespaced: true,
            custom: false,
            aggregated: false,
            can_list: true,
            has_status: false,
            also_served: Vec::new(),
            stored_version: None,
            converted: false,
        }
    }

    #[test]
    fn kind_and_version_are_put_in_front_where_they_lack() {
        let item = r#"{"metadata":{"name":"a","namespace":"b","uid":"u"},"type":"Opaque"}"#;
        let object = Object::read(&kind(), Bytes::from(item)).unwrap();
        assert_eq!(
            object.json,
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b","uid":"u"},"type":"Opaque"}"#
        );
        assert_eq!(object.secret_type.as_deref(), Some("Opaque"));
        assert_eq!(
            object.path.to_string(),
            "resources/secrets/namespaces/b/a.json"
        );
        let whole = object.json.clone();
        assert_eq!(Object::read(&kind(), whole.clone()).unwrap().json, whole);
        assert_eq!(
            with_kind(&kind(), b"{}"),
            r#"{"apiVersion":"v1","kind":"Secret"}"#
        );
    }

    #[test]
    fn an_object_that_was_asked_for_alone_is_as_a_list_has_it() {
        let rest = r#""metadata":{"name":"a","namespace":"b"},"type":"Opaque"}"#;
        let listed = Object::read(&kind(), Bytes::from(format!("{{{rest}"))).unwrap();
        let alone = format!("{{\"kind\":\"Secret\",\"apiVersion\":\"v1\",{rest}\n");
        let alone = Object::read_alone(&kind(), &Bytes::from(alone)).unwrap();
        assert_eq!(alone.json, listed.json);
        // Custom resources have their fields in the same order in both answers.
        let sorted = format!("{{\"apiVersion\":\"v1\",\"kind\":\"Secret\",{rest}");
        let alone = Object::read_alone(&kind(), &Bytes::from(format!("{sorted}\n"))).unwrap();
        assert_eq!(alone.json, sorted);
    }

    #[test]
    fn who_made_it_is_told_by_marks() {
        let by = |labels: &str, annotations: &str| {
            let item = format!(
                r#"{{"metadata":{{"name":"a","labels":{labels},"annotations":{annotations}}},"type":{{}}}}"#
            );
            let object = Object::read(&kind(), Bytes::from(item)).unwrap();
            assert_eq!(object.secret_type, None);
            object.managed_by()
        };
        assert_eq!(
            by(r#"{"helm.toolkit.fluxcd.io/name":"x"}"#, "{}"),
            Some("flux")
        );
        assert_eq!(
            by("{}", r#"{"meta.helm.sh/release-name":"x"}"#),
            Some("helm")
        );
        assert_eq!(
            by(r#"{"argocd.argoproj.io/instance":"x"}"#, "{}"),
            Some("argo")
        );
        assert_eq!(
            by(r#"{"app.kubernetes.io/managed-by":"butler"}"#, "{}"),
            None
        );
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_name() {
        for name in ["", ".", "..", "../x", "a/b"] {
            let item = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
            assert!(Object::read(&kind(), Bytes::from(item)).is_err(), "{name}");
            let item = format!(r#"{{"metadata":{{"name":"a","namespace":"{name}"}}}}"#);
            assert!(Object::read(&kind(), Bytes::from(item)).is_err(), "{name}");
        }
        for name in ["system:node", "a b", "...", "A\\nb", "a\\u0000b", "A\\\\b"] {
            let item = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
            assert!(Object::read(&kind(), Bytes::from(item)).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_error_does_not_show_the_object() {
        let item = Bytes::from_static(br#"{"metadata":{"name":7},"data":{"p":"hunter2"}}"#);
        let error = Object::read(&kind(), item).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}
