//! Finder of everything that would act on objects while they are written; it changes nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{DEPLOYMENTS, PARKED, ParkedItem, PlatformRole, QuiesceError};
use crate::pause::{self, PauseMarker};
use crate::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::Finding;
use cluster_client::kube::KubeError;
use cluster_client::kube::target::KubeTarget;

/// Returns the part of the platform that a Deployment belongs to; `None` if it may keep running.
fn role_of(namespace: &str, name: &str, labels: Option<&Value>) -> Option<PlatformRole> {
    let label = labels
        .and_then(|l| l.get("app.kubernetes.io/name"))
        .and_then(Value::as_str);
    if label == Some("sealed-secrets") || name.starts_with("sealed-secrets") {
        return Some(PlatformRole::SealedSecrets);
    }
    let butlers = [
        "butler-controller",
        "butler-console",
        "butler-server",
        "butler-provider",
    ];
    if namespace == "butler-system" && butlers.iter().any(|b| name.starts_with(b)) {
        return Some(PlatformRole::Butler);
    }
    if namespace == "steward-system" {
        let capi = name.starts_with("capi-");
        // The etcd of a DataStore is a StatefulSet and not a controller.
        return Some(if capi {
            PlatformRole::ClusterApi
        } else {
            PlatformRole::Steward
        });
    }
    let manager = name.ends_with("-controller-manager");
    if namespace.starts_with("cap") && namespace.ends_with("-system") && manager {
        return Some(PlatformRole::ClusterApi);
    }
    (namespace == "flux-system" && name.ends_with("-controller")).then_some(PlatformRole::Flux)
}

/// Result of the search for what must stop.
#[derive(Debug, Default)]
pub struct ParkList {
    /// Controllers, webhooks and objects to stop, in the order of stopping.
    pub parked: Vec<ParkedItem>,
    /// Objects and kinds that cannot be read, so they are not stopped.
    pub findings: Vec<Finding>,
}

/// Finds what must stop before the objects of `spool` are written. Changes nothing.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn find(
    target: &KubeTarget,
    spool: &ObjectSpool,
    webhooks: bool,
) -> Result<ParkList, QuiesceError> {
    let groups = spool.entries().iter();
    let groups = groups.map(|e| e.path.resource.group().to_owned());
    let groups = &groups.collect::<BTreeSet<String>>();
    let mut findings = Vec::new();
    let mut found = Vec::new();
    let mut roles: Vec<(String, PlatformRole)> = Vec::new();
    each(target, DEPLOYMENTS, |path, object| {
        let namespace = path.namespace.clone().unwrap_or_default();
        let labels = object.pointer("/metadata/labels");
        let Some(role) = role_of(&namespace, &path.name, labels) else {
            return;
        };
        roles.push((namespace.clone(), role));
        let kept = object.pointer("/metadata/annotations/backup.butlerlabs.dev~1replicas");
        let kept = kept.and_then(|v| v.as_str()?.parse().ok());
        let now = object.pointer("/spec/replicas").and_then(Value::as_u64);
        let replicas = kept.or(now).unwrap_or(1);
        if replicas > 0 {
            found.push(ParkedItem::Deployment {
                namespace,
                name: path.name,
                replicas,
                role,
            });
        }
    })
    .await?;
    if webhooks {
        for plural in [
            "validatingwebhookconfigurations",
            "mutatingwebhookconfigurations",
        ] {
            let resource = format!("{plural}.admissionregistration.k8s.io");
            each(target, &resource, |path, object| {
                let hooks = object.get("webhooks").and_then(Value::as_array);
                let hooks: Vec<&Value> = hooks.into_iter().flatten().collect();
                let Some(namespace) = hooks.iter().find_map(|hook| stops(hook, groups)) else {
                    return;
                };
                let role = roles.iter().find(|(n, _)| *n == namespace).map(|(_, r)| *r);
                let selectors = hooks.iter().filter_map(|hook| {
                    let name = hook.get("name")?.as_str()?.to_owned();
                    Some((
                        name,
                        hook.get("objectSelector")
                            .filter(|s| !is_parked(s))
                            .cloned(),
                    ))
                });
                found.push(ParkedItem::Webhooks {
                    plural: plural.to_owned(),
                    name: path.name,
                    selectors: selectors.collect(),
                    // A server that is not stopped answers as soon as its webhook is active again.
                    role: role.unwrap_or(PlatformRole::SealedSecrets),
                });
            })
            .await?;
        }
    }
    for kind in target.kinds() {
        let resource = kind.resource;
        let Some(PauseMarker::Field(field)) = pause::marker(&resource) else {
            continue;
        };
        let role = match resource.group() {
            "cluster.x-k8s.io" => PlatformRole::ClusterApi,
            "butler.butlerlabs.dev" => PlatformRole::Butler,
            _ => PlatformRole::Flux,
        };
        let names = spool.entries().iter().map(|e| &e.path);
        let names = names.filter(|path| path.resource == resource).cloned();
        let take = |path: ObjectPath, object: Value| {
            if pause::is_paused(PauseMarker::Field(field), &object) {
                return;
            }
            found.push(ParkedItem::Object {
                path: path.to_string(),
                field: field.to_owned(),
                before: object.get("spec").and_then(|s| s.get(field)).cloned(),
                role,
            });
        };
        let mut tell = |object: String, why: &KubeError| {
            findings.push(Finding::warning(
                object,
                format!("it cannot be read, so it is not stopped: {}", why.line()),
                "stop it by hand, or its controller",
            ));
        };
        let broken = |path: ObjectPath, why: KubeError| tell(path.to_string(), &why);
        let read = target
            .each_or_named((&resource, None), names, take, broken)
            .await;
        let listed = read.map_err(|source| QuiesceError::Read {
            what: resource.to_string(),
            source,
        })?;
        if let Some(why) = listed {
            tell(
                format!("{resource} that the restore point does not have"),
                &why,
            );
        }
    }
    // Controllers that start others stop first: Flux would scale up again what is scaled down.
    found.sort_by_key(|parked| std::cmp::Reverse(parked.role()));
    Ok(ParkList {
        parked: found,
        findings,
    })
}

async fn each(
    target: &KubeTarget,
    resource: &str,
    take: impl FnMut(ObjectPath, Value),
) -> Result<(), QuiesceError> {
    let read = target.each(&resource.into(), take).await;
    read.map_err(|source| QuiesceError::Read {
        what: resource.to_owned(),
        source,
    })
}

/// Returns the namespace of the server behind a webhook that could refuse writes to `groups`.
fn stops(hook: &Value, groups: &BTreeSet<String>) -> Option<String> {
    if hook.get("failurePolicy").and_then(Value::as_str) == Some("Ignore") {
        return None;
    }
    let namespace = hook.pointer("/clientConfig/service/namespace")?.as_str()?;
    let rules = hook.get("rules").and_then(Value::as_array)?;
    let meets = rules.iter().any(|rule| {
        let named = rule.get("apiGroups").and_then(Value::as_array);
        named
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|g| g == "*" || groups.contains(g))
    });
    meets.then(|| namespace.to_owned())
}

fn is_parked(selector: &Value) -> bool {
    selector
        .pointer("/matchLabels")
        .is_some_and(|labels| labels.get(PARKED).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn controllers_are_known_by_place_and_name() {
        let role = |namespace, name| role_of(namespace, name, None);
        assert_eq!(
            role("butler-system", "butler-controller"),
            Some(PlatformRole::Butler)
        );
        assert_eq!(
            role("butler-system", "butler-provider-harvester"),
            Some(PlatformRole::Butler)
        );
        assert_eq!(
            role("steward-system", "steward"),
            Some(PlatformRole::Steward)
        );
        let capi = "capi-steward-controller-manager";
        assert_eq!(role("steward-system", capi), Some(PlatformRole::ClusterApi));
        assert_eq!(
            role("capk-system", "capk-controller-manager"),
            Some(PlatformRole::ClusterApi)
        );
        assert_eq!(
            role("flux-system", "helm-controller"),
            Some(PlatformRole::Flux)
        );
        assert_eq!(
            role("flux-system", "sealed-secrets-controller"),
            Some(PlatformRole::SealedSecrets)
        );
        assert_eq!(role("kube-system", "coredns"), None);
        assert_eq!(role("cert-manager", "cert-manager"), None);
    }

    #[test]
    fn only_webhooks_that_could_refuse_are_parked() {
        let groups = BTreeSet::from(["steward.butlerlabs.dev".to_owned()]);
        let hook = |policy: &str, group: &str| {
            json!({
                "name": "a", "failurePolicy": policy,
                "clientConfig": { "service": { "namespace": "steward-system", "name": "s" } },
                "rules": [{ "apiGroups": [group], "resources": ["*"] }],
            })
        };
        let meets = |hook: &Value| stops(hook, &groups);
        let namespace = Some("steward-system".to_owned());
        assert_eq!(meets(&hook("Fail", "steward.butlerlabs.dev")), namespace);
        assert_eq!(meets(&hook("Fail", "*")), namespace);
        assert_eq!(meets(&hook("Ignore", "*")), None);
        assert_eq!(meets(&hook("Fail", "apps")), None);
    }
}
