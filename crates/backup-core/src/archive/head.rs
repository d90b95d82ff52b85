//! Properties of an object for a listing, read without keeping its values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Properties of an object for a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectProperties {
    /// UID of the object.
    pub uid: Option<String>,
    /// Time of creation.
    pub created: Option<Timestamp>,
    /// Tool that made the object and can make it again: `flux`, `helm` or `argo`.
    pub managed_by: Option<&'static str>,
}

/// Parts of an object that [`ObjectProperties`] is made of. Only the names of annotations are read: a value may
/// repeat a whole Secret.
#[derive(Deserialize)]
pub(super) struct HeadFields<'j> {
    #[serde(borrow)]
    metadata: HeadMetadata<'j>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata<'j> {
    uid: Option<String>,
    creation_timestamp: Option<Timestamp>,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'j, str>, Cow<'j, str>>>,
    #[serde(borrow, default)]
    annotations: Option<BTreeMap<Cow<'j, str>, IgnoredAny>>,
}

impl HeadFields<'_> {
    pub(super) fn head(self) -> ObjectProperties {
        ObjectProperties {
            managed_by: self.metadata.managed_by(),
            uid: self.metadata.uid,
            created: self.metadata.creation_timestamp,
        }
    }
}

impl HeadMetadata<'_> {
    /// Flux is checked first: objects that it installs with Helm have the marks of both, and Flux restores
    /// them.
    fn managed_by(&self) -> Option<&'static str> {
        let label = |name: &str| self.labels.as_ref()?.get(name);
        let annotation = |name: &str| Some(self.annotations.as_ref()?.contains_key(name));
        if label("kustomize.toolkit.fluxcd.io/name").is_some()
            || label("helm.toolkit.fluxcd.io/name").is_some()
        {
            return Some("flux");
        }
        if label("argocd.argoproj.io/instance").is_some()
            || annotation("argocd.argoproj.io/tracking-id") == Some(true)
        {
            return Some("argo");
        }
        let by = label("app.kubernetes.io/managed-by");
        if by.is_some_and(|by| by == "Helm")
            || annotation("meta.helm.sh/release-name") == Some(true)
        {
            return Some("helm");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(metadata: &serde_json::Value) -> ObjectProperties {
        let text = serde_json::json!({ "metadata": metadata }).to_string();
        serde_json::from_str::<HeadFields>(&text).unwrap().head()
    }

    #[test]
    fn who_made_an_object_is_told_by_its_marks() {
        let flux = "kustomize.toolkit.fluxcd.io/name";
        for (metadata, by) in [
            (serde_json::json!({}), None),
            (
                serde_json::json!({ "labels": null, "annotations": {} }),
                None,
            ),
            (
                serde_json::json!({ "labels": { flux: "apps" } }),
                Some("flux"),
            ),
            (
                serde_json::json!({ "labels": {
                    "helm.toolkit.fluxcd.io/name": "steward",
                    "app.kubernetes.io/managed-by": "Helm",
                } }),
                Some("flux"),
            ),
            (
                serde_json::json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } }),
                Some("helm"),
            ),
            (
                serde_json::json!({ "annotations": { "meta.helm.sh/release-name": "x" } }),
                Some("helm"),
            ),
            (
                serde_json::json!({ "annotations": { "argocd.argoproj.io/tracking-id": "x" } }),
                Some("argo"),
            ),
            (
                serde_json::json!({ "labels": { "app.kubernetes.io/managed-by": "butler" } }),
                None,
            ),
        ] {
            assert_eq!(head(&metadata).managed_by, by, "{metadata}");
        }
    }

    #[test]
    fn uid_and_time_are_read_where_they_are() {
        let found = head(&serde_json::json!({
            "uid": "8d8d", "creationTimestamp": "2026-11-01T00:00:00Z",
        }));
        assert_eq!(found.uid.as_deref(), Some("8d8d"));
        assert_eq!(found.created, Some("2026-11-01T00:00:00Z".parse().unwrap()));
        assert_eq!(head(&serde_json::json!({})), ObjectProperties::default());
    }
}
