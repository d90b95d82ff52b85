//! What a CustomResourceDefinition tells of its kind.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::scope::is_butlers_group;
use super::{Discovered, Kind};
use crate::archive::ResourceName;
use crate::format::export::LeftOut;
use crate::format::manifest::{Finding, Severity};

/// What matters of a CustomResourceDefinition.
#[derive(Debug, Deserialize)]
pub(super) struct Crd {
    metadata: CrdMeta,
    spec: CrdSpec,
    #[serde(default)]
    status: CrdStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CrdMeta {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct CrdSpec {
    group: String,
    names: CrdNames,
    scope: String,
    versions: Vec<CrdVersion>,
    #[serde(default)]
    conversion: Option<Conversion>,
}

#[derive(Debug, Deserialize)]
struct Conversion {
    strategy: String,
}

#[derive(Debug, Deserialize)]
struct CrdNames {
    plural: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct CrdVersion {
    name: String,
    served: bool,
    storage: bool,
    #[serde(default)]
    subresources: Option<CrdSubresources>,
}

#[derive(Debug, Deserialize)]
struct CrdSubresources {
    /// An empty map where it is; its content means nothing.
    #[serde(default)]
    status: Option<serde_json::Value>,
}

impl CrdVersion {
    fn has_status(&self) -> bool {
        let parts = self.subresources.as_ref();
        parts.is_some_and(|parts| parts.status.is_some())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CrdStatus {
    stored_versions: Vec<String>,
}

/// Adds the kind that a definition makes, or corrects it; says what is odd about it.
pub(super) fn defined(crd: &Crd, found: &mut Discovered, kinds: &mut BTreeMap<ResourceName, Kind>) {
    let name = ResourceName::new(&crd.spec.names.plural, &crd.spec.group);
    let stored = crd.spec.versions.iter().find(|v| v.storage);
    let served = |v: &&CrdVersion| v.served;
    let Some(first) = crd.spec.versions.iter().find(served) else {
        found.left_out.push(LeftOut {
            resource: name.to_string(),
            reason: "its definition serves no version".to_owned(),
        });
        found.findings.push(Finding {
            severity: Severity::Error,
            object: name.to_string(),
            cause: "its definition serves no version, so its objects cannot be read".to_owned(),
            remedy: "set `served: true` for a version in the CustomResourceDefinition; until then \
                     they are only in the etcd snapshot"
                .to_owned(),
        });
        return;
    };
    let known = |v: &&String| crd.spec.versions.iter().any(|k| k.name == **v);
    let lost: Vec<&str> = crd
        .status
        .stored_versions
        .iter()
        .filter(|v| !known(v))
        .map(String::as_str)
        .collect();
    if !lost.is_empty() {
        found.findings.push(Finding {
            severity: Severity::Warning,
            object: name.to_string(),
            cause: format!(
                "objects were once stored as {}, which the definition has no more",
                lost.join(", ")
            ),
            remedy: "see that all of them were converted: every one that was read is in the \
                     restore point"
                .to_owned(),
        });
    }
    if is_butlers_group(&crd.spec.group) && found.crd_chart.is_none() {
        let chart = crd.metadata.labels.get("helm.sh/chart");
        let chart = chart.or_else(|| crd.metadata.annotations.get("helm.sh/chart"));
        found.crd_chart = chart.cloned();
    }
    tracing::trace!(definition = crd.metadata.name, "found");
    let preferred = stored.filter(|v| v.served).unwrap_or(first);
    let others = crd.spec.versions.iter().filter(served);
    let others = others.filter(|v| v.name != preferred.name);
    let kind = kinds.entry(name.clone()).or_insert_with(|| Kind {
        resource: name,
        kind: crd.spec.names.kind.clone(),
        version: preferred.name.clone(),
        namespaced: crd.spec.scope == "Namespaced",
        custom: true,
        aggregated: false,
        can_list: true,
        // The list of kinds follows its definition a moment later: whoever writes objects in between
        // would lose their status.
        has_status: preferred.has_status(),
        also_served: others.map(|v| v.name.clone()).collect(),
        stored_version: None,
        converted: false,
    });
    kind.custom = true;
    kind.aggregated = false;
    let conversion = crd.spec.conversion.as_ref();
    let same = |v: &String| *v == kind.version;
    kind.converted = conversion.is_some_and(|c| c.strategy == "Webhook")
        && !crd.status.stored_versions.iter().all(same);
    kind.stored_version = stored.map(|v| v.name.clone());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_that_only_its_definition_tells_has_its_status_and_versions() {
        let version = |name: &str, storage: bool, parts: serde_json::Value| json!({ "name": name, "served": true, "storage": storage, "subresources": parts });
        let crd = |parts: serde_json::Value| {
            let crd = json!({
                "metadata": { "name": "teams.butler.butlerlabs.dev" },
                "spec": {
                    "group": "butler.butlerlabs.dev", "scope": "Cluster",
                    "names": { "plural": "teams", "kind": "Team" },
                    "versions": [
                        version("v1alpha1", false, json!(null)),
                        version("v1", true, parts),
                    ],
                },
            });
            let crd: Crd = serde_json::from_value(crd).unwrap();
            let mut kinds = BTreeMap::new();
            defined(&crd, &mut Discovered::default(), &mut kinds);
            kinds.into_values().next().unwrap()
        };
        let kind = crd(json!({ "status": {} }));
        assert!(kind.has_status);
        assert_eq!(
            (kind.version.as_str(), kind.also_served.as_slice()),
            ("v1", &["v1alpha1".to_owned()][..])
        );
        assert!(!crd(json!({ "scale": {} })).has_status);
        assert!(!crd(json!(null)).has_status);
    }
}
