//! Selection of the objects that are restored: by namespace, kind, label, or all objects of one tenant.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::RecoverError;
use super::crds::DEFINITIONS;
use super::plan::{Options, Step};
use super::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use backup_core::format::export::TenantFacts;

/// Selection of objects.
#[derive(Debug, Clone)]
pub struct Selection {
    options: Options,
    tenant: Option<TenantFacts>,
}

#[derive(Deserialize)]
struct SelectionFields {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
}

/// Fields in which objects name their tenant.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    cluster_ref: Option<TenantRef>,
    tenant_cluster_ref: Option<TenantRef>,
}

#[derive(Deserialize)]
struct TenantRef {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

/// Keeps the objects that one of `steps` writes.
pub fn of_steps(spool: &mut ObjectSpool, steps: &[Step]) {
    spool.retain(|entry| {
        steps.contains(if entry.path.resource.as_str() == DEFINITIONS {
            &Step::Crds
        } else {
            &Step::Resources
        })
    });
}

impl Selection {
    /// Builds the selection from `options` and the known tenants.
    ///
    /// # Errors
    /// When no tenant has that name, or several have it.
    pub fn new(options: &Options, tenants: &[TenantFacts]) -> Result<Self, RecoverError> {
        let wanted = options.tenant.as_deref();
        let tenant = wanted.map(|wanted| {
            let is = |t: &&TenantFacts| {
                t.name == wanted || format!("{}/{}", t.namespace, t.name) == wanted
            };
            let found: Vec<&TenantFacts> = tenants.iter().filter(is).collect();
            match found.as_slice() {
                [one] => Ok((*one).clone()),
                _ => Err(RecoverError::NoTenant {
                    wanted: wanted.to_owned(),
                    known: tenants
                        .iter()
                        .map(|t| format!("{}/{}", t.namespace, t.name))
                        .collect(),
                }),
            }
        });
        Ok(Self {
            options: options.clone(),
            tenant: tenant.transpose()?,
        })
    }

    /// Whether the object is selected.
    #[must_use]
    pub fn keeps(&self, path: &ObjectPath, json: &[u8]) -> bool {
        match serde_json::from_slice::<SelectionFields>(json) {
            Ok(head) => self.keeps_head(path, &head),
            // Invalid JSON is reported where the object is spooled.
            Err(_) => self.by_name(path, "") && self.by_namespace(path),
        }
    }

    /// Makes the same check as [`Selection::keeps`] for a parsed object. A value that is not an object is not
    /// selected.
    pub(super) fn keeps_value(&self, path: &ObjectPath, object: &Value) -> bool {
        SelectionFields::deserialize(object).is_ok_and(|head| self.keeps_head(path, &head))
    }

    fn keeps_head(&self, path: &ObjectPath, head: &SelectionFields) -> bool {
        let labels = head.metadata.labels.clone().unwrap_or_default();
        self.by_name(path, &head.kind)
            && self.by_namespace(path)
            && self
                .options
                .labels
                .iter()
                .all(|(k, v)| labels.get(k) == Some(v))
            && self
                .tenant
                .as_ref()
                .is_none_or(|t| belongs(t, path, head, &labels))
    }

    fn by_name(&self, path: &ObjectPath, kind: &str) -> bool {
        let named = |names: &std::collections::BTreeSet<String>| {
            names
                .iter()
                .any(|n| n == "*" || path.resource.answers_to(n, kind))
        };
        let included = &self.options.include_resources;
        (included.is_empty() || named(included)) && !named(&self.options.exclude_resources)
    }

    fn by_namespace(&self, path: &ObjectPath) -> bool {
        let included = &self.options.include_namespaces;
        let namespace = match path.resource.as_str() {
            "namespaces" => Some(&path.name),
            _ => path.namespace.as_ref(),
        };
        match namespace {
            Some(namespace) => {
                (included.is_empty() || included.contains(namespace))
                    && !self.options.exclude_namespaces.contains(namespace)
            }
            // Definitions are a separate step.
            None => included.is_empty() || path.resource.group() == "apiextensions.k8s.io",
        }
    }
}

/// Whether an object belongs to the tenant.
fn belongs(
    tenant: &TenantFacts,
    path: &ObjectPath,
    head: &SelectionFields,
    labels: &BTreeMap<String, String>,
) -> bool {
    let inner = tenant.tenant_namespace.as_deref();
    if path.resource.group() == "apiextensions.k8s.io" {
        return true;
    }
    if path.resource.as_str() == "namespaces" {
        return Some(path.name.as_str()) == inner || path.name == tenant.namespace;
    }
    if path.namespace.is_some() && path.namespace.as_deref() == inner {
        return true;
    }
    if path.resource.as_str() == "tenantclusters.butler.butlerlabs.dev" {
        return path.namespace.as_ref() == Some(&tenant.namespace) && path.name == tenant.name;
    }
    let names = |named: &TenantRef| {
        let namespace = named.namespace.as_ref().or(path.namespace.as_ref());
        named.name == tenant.name && namespace == Some(&tenant.namespace)
    };
    let referred = [&head.spec.cluster_ref, &head.spec.tenant_cluster_ref];
    if referred.into_iter().flatten().any(names) {
        return true;
    }
    labels.get("butler.butlerlabs.dev/tenant") == Some(&tenant.name)
        && labels
            .get("butler.butlerlabs.dev/source-namespace")
            .is_none_or(|n| *n == tenant.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keeps(
        options: &Options,
        resource: &str,
        namespace: &str,
        name: &str,
        spec: &serde_json::Value,
    ) -> bool {
        let tenant = TenantFacts {
            namespace: "butler-tenants".to_owned(),
            name: "alpha".to_owned(),
            tenant_namespace: Some("alpha-1a2b3c4d".to_owned()),
            ..TenantFacts::default()
        };
        let select = Selection::new(options, &[tenant]).unwrap();
        let path = ObjectPath {
            resource: resource.into(),
            namespace: Some(namespace.to_owned()).filter(|n| !n.is_empty()),
            name: name.to_owned(),
        };
        let json = json!({ "kind": "Thing", "metadata": { "labels": { "a": "b" } }, "spec": spec });
        select.keeps(&path, json.to_string().as_bytes())
    }

    #[test]
    fn one_tenant_is_all_that_belongs_to_it() {
        let options = Options {
            tenant: Some("alpha".to_owned()),
            ..Options::default()
        };
        let none = json!({});
        let keeps = |resource: &str, namespace: &str, name: &str, spec: &serde_json::Value| {
            keeps(&options, resource, namespace, name, spec)
        };
        assert!(keeps("secrets", "alpha-1a2b3c4d", "alpha-ca", &none));
        assert!(keeps("namespaces", "", "alpha-1a2b3c4d", &none));
        assert!(keeps(
            "tenantclusters.butler.butlerlabs.dev",
            "butler-tenants",
            "alpha",
            &none
        ));
        let by_ref =
            json!({ "tenantClusterRef": { "name": "alpha", "namespace": "butler-tenants" } });
        assert!(keeps(
            "ipallocations.butler.butlerlabs.dev",
            "butler-system",
            "a",
            &by_ref
        ));
        let by_ref = json!({ "clusterRef": { "name": "alpha" } });
        assert!(keeps(
            "tenantaddons.butler.butlerlabs.dev",
            "butler-tenants",
            "a",
            &by_ref
        ));
        assert!(!keeps(
            "tenantaddons.butler.butlerlabs.dev",
            "other",
            "a",
            &by_ref
        ));
        assert!(!keeps(
            "tenantclusters.butler.butlerlabs.dev",
            "butler-tenants",
            "beta",
            &none
        ));
        assert!(!keeps("secrets", "butler-system", "a", &none));
        assert!(
            Selection::new(
                &Options {
                    tenant: Some("gamma".to_owned()),
                    ..Options::default()
                },
                &[]
            )
            .is_err()
        );
    }

    #[test]
    fn names_and_labels_choose() {
        let none = json!({});
        let kinds = Options {
            include_resources: ["thing".to_owned()].into(),
            ..Options::default()
        };
        assert!(keeps(&kinds, "things.x", "a", "b", &none));
        let kinds = Options {
            exclude_resources: ["things".to_owned()].into(),
            ..Options::default()
        };
        assert!(!keeps(&kinds, "things.x", "a", "b", &none));
        let spaces = Options {
            include_namespaces: ["a".to_owned()].into(),
            ..Options::default()
        };
        assert!(keeps(&spaces, "things.x", "a", "b", &none));
        assert!(keeps(&spaces, "namespaces", "", "a", &none));
        assert!(!keeps(&spaces, "things.x", "c", "b", &none));
        assert!(!keeps(&spaces, "things.x", "", "b", &none));
        let labels = Options {
            labels: [("a".to_owned(), "c".to_owned())].into(),
            ..Options::default()
        };
        assert!(!keeps(&labels, "things.x", "a", "b", &none));
    }
}
