//! What must stand still while objects are written: controllers, webhooks that need them, GitOps.
//!
//! Nothing is deleted. A Deployment goes to no replicas, a webhook to a selector that meets nothing,
//! and each carries how it was, so that it can be put back by hand too.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::pause::{self, Marker};
use crate::archive::{ObjectPath, ResourceName};
use crate::source::kube::target::KubeTarget;
use crate::source::kube::{KubeError, WriteError};

/// How many replicas a Deployment had.
pub const REPLICAS: &str = "backup.butlerlabs.dev/replicas";
/// The label that no object has: what a parked webhook waits for.
pub const PARKED: &str = "backup.butlerlabs.dev/parked";
/// Pods end within their grace time, 30 s unless they say otherwise.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);
const DEPLOYMENTS: &str = "deployments.apps";

/// Whose part of the platform something is; the order is that of going on again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// sealed-secrets: its keys are there, and it makes Secrets.
    SealedSecrets,
    /// Steward, which runs tenants' control planes.
    Steward,
    /// Cluster API and its providers.
    ClusterApi,
    /// Butler's own controllers.
    Butler,
    /// Flux.
    Flux,
}

impl Role {
    /// All, in the order of going on again.
    pub const ALL: [Self; 5] = [
        Self::SealedSecrets,
        Self::Steward,
        Self::ClusterApi,
        Self::Butler,
        Self::Flux,
    ];
}

/// Something that is stopped, and how it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum Parked {
    /// A controller.
    #[serde(rename_all = "camelCase")]
    Deployment {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// How many replicas it had.
        replicas: u64,
        /// Whose it is.
        role: Role,
    },
    /// A webhook configuration that would refuse writes while its server is stopped.
    #[serde(rename_all = "camelCase")]
    Webhooks {
        /// `validatingwebhookconfigurations` or `mutatingwebhookconfigurations`.
        plural: String,
        /// Its name.
        name: String,
        /// For each webhook its object selector, by its name.
        selectors: Vec<(String, Option<Value>)>,
        /// Whose it is.
        role: Role,
    },
    /// An object of Flux or a Cluster that works on others.
    #[serde(rename_all = "camelCase")]
    Object {
        /// Its path in the archive.
        path: String,
        /// The field below `spec`: `suspend` or `paused`.
        field: String,
        /// What it was.
        before: Option<Value>,
        /// Whose it is.
        role: Role,
    },
}

impl Parked {
    /// What it is, for people and as its name in a journal.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Deployment {
                namespace, name, ..
            } => format!("deployment {namespace}/{name}"),
            Self::Webhooks { plural, name, .. } => format!("{plural} {name}"),
            Self::Object { path, field, .. } => format!("{path} spec.{field}"),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Deployment { role, .. }
            | Self::Webhooks { role, .. }
            | Self::Object { role, .. } => *role,
        }
    }

    /// The command that puts it back by hand.
    #[must_use]
    pub fn by_hand(&self) -> String {
        match self {
            Self::Deployment {
                namespace,
                name,
                replicas,
                ..
            } => format!("kubectl -n {namespace} scale deployment {name} --replicas={replicas}"),
            Self::Webhooks { plural, name, .. } => format!(
                "kubectl edit {plural} {name}, and take the objectSelector with `{PARKED}` out"
            ),
            Self::Object {
                path,
                field,
                before,
                ..
            } => {
                let before = before.as_ref().map_or("null".to_owned(), Value::to_string);
                let path: Option<ObjectPath> = path.parse().ok();
                let (resource, namespace, name) = path.map_or_else(Default::default, |p| {
                    let namespace = p.namespace.map(|n| format!(" -n {n}"));
                    (
                        p.resource.to_string(),
                        namespace.unwrap_or_default(),
                        p.name,
                    )
                });
                format!(
                    "kubectl patch {resource} {name}{namespace} --type merge -p \
                     '{{\"spec\":{{\"{field}\":{before}}}}}'"
                )
            }
        }
    }
}

/// Why something could not be stopped or put back.
#[derive(Debug, thiserror::Error)]
pub enum QuiesceError {
    /// It could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: String,
        /// Why not.
        source: KubeError,
    },
    /// It could not be written.
    #[error("cannot write {what}")]
    Write {
        /// What.
        what: String,
        /// Why not.
        source: WriteError,
    },
    /// It goes on running.
    #[error(
        "{what} still has {left} running pods after {} s; see why they do not end, then go on with \
         `restore-cli resume`",
        .limit.as_secs()
    )]
    StillRuns {
        /// What.
        what: String,
        /// How many pods.
        left: u64,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// Whose controller a Deployment is; `None` if it may go on.
fn role_of(namespace: &str, name: &str, labels: Option<&Value>) -> Option<Role> {
    let label = labels
        .and_then(|l| l.get("app.kubernetes.io/name"))
        .and_then(Value::as_str);
    if label == Some("sealed-secrets") || name.starts_with("sealed-secrets") {
        return Some(Role::SealedSecrets);
    }
    let butlers = [
        "butler-controller",
        "butler-console",
        "butler-server",
        "butler-provider",
    ];
    if namespace == "butler-system" && butlers.iter().any(|b| name.starts_with(b)) {
        return Some(Role::Butler);
    }
    if namespace == "steward-system" {
        let capi = name.starts_with("capi-");
        // The etcd of a DataStore is no controller, and a StatefulSet.
        return Some(if capi {
            Role::ClusterApi
        } else {
            Role::Steward
        });
    }
    let manager = name.ends_with("-controller-manager");
    if namespace.starts_with("cap") && namespace.ends_with("-system") && manager {
        return Some(Role::ClusterApi);
    }
    (namespace == "flux-system" && name.ends_with("-controller")).then_some(Role::Flux)
}

/// Finds what has to be stopped before objects of `groups` are written. Changes nothing.
///
/// # Errors
/// When it cannot be read.
pub async fn find(
    target: &KubeTarget,
    groups: &BTreeSet<String>,
    webhooks: bool,
) -> Result<Vec<Parked>, QuiesceError> {
    let mut found = Vec::new();
    let mut roles: Vec<(String, Role)> = Vec::new();
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
            found.push(Parked::Deployment {
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
                found.push(Parked::Webhooks {
                    plural: plural.to_owned(),
                    name: path.name,
                    selectors: selectors.collect(),
                    // Whoever is not stopped answers as soon as it is asked again.
                    role: role.unwrap_or(Role::SealedSecrets),
                });
            })
            .await?;
        }
    }
    for kind in target.kinds() {
        let resource = kind.resource;
        let Some(Marker::Field(field)) = pause::marker(&resource) else {
            continue;
        };
        let role = match resource.group() {
            "cluster.x-k8s.io" => Role::ClusterApi,
            "butler.butlerlabs.dev" => Role::Butler,
            _ => Role::Flux,
        };
        each(target, resource.as_str(), |path, object| {
            if pause::is_paused(Marker::Field(field), &object) {
                return;
            }
            found.push(Parked::Object {
                path: path.to_string(),
                field: field.to_owned(),
                before: object.get("spec").and_then(|s| s.get(field)).cloned(),
                role,
            });
        })
        .await?;
    }
    // Who makes others run goes first: Flux would scale up again what is scaled down.
    found.sort_by_key(|parked| std::cmp::Reverse(parked.role()));
    Ok(found)
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

/// The namespace of the server behind a webhook that could refuse writes to `groups`.
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

/// Stops it. Doing it twice is doing it once.
///
/// # Errors
/// When it cannot be stopped.
pub(super) async fn park(target: &KubeTarget, parked: &Parked) -> Result<(), QuiesceError> {
    match parked {
        Parked::Deployment {
            namespace,
            name,
            replicas,
            ..
        } => {
            let path = deployment(namespace, name);
            let patch = json!({
                "metadata": { "annotations": { REPLICAS: replicas.to_string() } },
                "spec": { "replicas": 0 },
            });
            write(target, &path, &patch, parked).await?;
            stopped(target, &path, parked).await
        }
        Parked::Webhooks { plural, name, .. } => {
            let nothing = json!({ "matchLabels": { PARKED: "yes" } });
            selectors(target, plural, name, parked, |_| Some(nothing.clone())).await
        }
        Parked::Object { path, field, .. } => {
            let patch = json!({ "spec": { field: true } });
            of_path(target, path, &patch, parked).await
        }
    }
}

/// Lets it go on as it was. Doing it twice is doing it once; what is gone needs nothing.
///
/// # Errors
/// When it cannot be written.
pub(super) async fn unpark(target: &KubeTarget, parked: &Parked) -> Result<(), QuiesceError> {
    match parked {
        Parked::Deployment {
            namespace,
            name,
            replicas,
            ..
        } => {
            let path = deployment(namespace, name);
            let patch = json!({
                "metadata": { "annotations": { REPLICAS: null } },
                "spec": { "replicas": replicas },
            });
            write(target, &path, &patch, parked).await
        }
        Parked::Webhooks {
            plural,
            name,
            selectors: before,
            ..
        } => {
            let before = |name: &str| {
                let found = before.iter().find(|(n, _)| n == name);
                found.and_then(|(_, selector)| selector.clone())
            };
            selectors(target, plural, name, parked, before).await
        }
        Parked::Object {
            path,
            field,
            before,
            ..
        } => {
            let patch = json!({ "spec": { field: before } });
            of_path(target, path, &patch, parked).await
        }
    }
}

/// Whether a Deployment has as many ready pods as it wants.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn is_ready(target: &KubeTarget, parked: &Parked) -> Result<bool, QuiesceError> {
    let Parked::Deployment {
        namespace,
        name,
        replicas,
        ..
    } = parked
    else {
        return Ok(true);
    };
    let object = read(target, &deployment(namespace, name), parked).await?;
    let ready = object.and_then(|o| o.pointer("/status/readyReplicas")?.as_u64());
    Ok(ready.unwrap_or(0) >= *replicas)
}

async fn stopped(
    target: &KubeTarget,
    path: &ObjectPath,
    parked: &Parked,
) -> Result<(), QuiesceError> {
    let began = Instant::now();
    loop {
        let object = read(target, path, parked).await?;
        let left = object.and_then(|o| o.pointer("/status/replicas")?.as_u64());
        match left.unwrap_or(0) {
            0 => return Ok(()),
            left if began.elapsed() >= STOPPED_WITHIN => {
                return Err(QuiesceError::StillRuns {
                    what: parked.place(),
                    left,
                    limit: STOPPED_WITHIN,
                });
            }
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

fn deployment(namespace: &str, name: &str) -> ObjectPath {
    ObjectPath {
        resource: DEPLOYMENTS.into(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

async fn read(
    target: &KubeTarget,
    path: &ObjectPath,
    parked: &Parked,
) -> Result<Option<Value>, QuiesceError> {
    let read = target.get(path, None).await;
    read.map_err(|source| QuiesceError::Read {
        what: parked.place(),
        source,
    })
}

async fn write(
    target: &KubeTarget,
    path: &ObjectPath,
    patch: &Value,
    parked: &Parked,
) -> Result<(), QuiesceError> {
    match target.patch(path, patch, false).await {
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(source) => Err(QuiesceError::Write {
            what: parked.place(),
            source,
        }),
    }
}

async fn of_path(
    target: &KubeTarget,
    path: &str,
    patch: &Value,
    parked: &Parked,
) -> Result<(), QuiesceError> {
    match path.parse::<ObjectPath>() {
        Ok(path) => write(target, &path, patch, parked).await,
        Err(_) => Ok(()),
    }
}

/// Gives each webhook of a configuration the selector that `wanted` has for its name.
async fn selectors(
    target: &KubeTarget,
    plural: &str,
    name: &str,
    parked: &Parked,
    wanted: impl Fn(&str) -> Option<Value>,
) -> Result<(), QuiesceError> {
    /// Whoever injects authorities may write at the same time.
    const TRIES: u32 = 5;
    let path = ObjectPath {
        resource: ResourceName::new(plural, "admissionregistration.k8s.io"),
        namespace: None,
        name: name.to_owned(),
    };
    for tries in 1..=TRIES {
        let Some(object) = read(target, &path, parked).await? else {
            return Ok(());
        };
        let mut hooks = object.get("webhooks").cloned().unwrap_or(Value::Null);
        for hook in hooks.as_array_mut().into_iter().flatten() {
            let name = hook.get("name").and_then(Value::as_str).unwrap_or_default();
            let selector = wanted(name);
            if let Some(hook) = hook.as_object_mut() {
                match selector {
                    Some(selector) => drop(hook.insert("objectSelector".to_owned(), selector)),
                    None => drop(hook.remove("objectSelector")),
                }
            }
        }
        let version = object.pointer("/metadata/resourceVersion");
        let patch = json!({ "metadata": { "resourceVersion": version }, "webhooks": hooks });
        match target.patch(&path, &patch, false).await {
            Ok(_) => return Ok(()),
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) if e.is_conflict() && tries < TRIES => {}
            Err(source) => {
                return Err(QuiesceError::Write {
                    what: parked.place(),
                    source,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_known_by_place_and_name() {
        let role = |namespace, name| role_of(namespace, name, None);
        assert_eq!(
            role("butler-system", "butler-controller"),
            Some(Role::Butler)
        );
        assert_eq!(
            role("butler-system", "butler-provider-harvester"),
            Some(Role::Butler)
        );
        assert_eq!(role("steward-system", "steward"), Some(Role::Steward));
        let capi = "capi-steward-controller-manager";
        assert_eq!(role("steward-system", capi), Some(Role::ClusterApi));
        assert_eq!(
            role("capk-system", "capk-controller-manager"),
            Some(Role::ClusterApi)
        );
        assert_eq!(role("flux-system", "helm-controller"), Some(Role::Flux));
        assert_eq!(
            role("flux-system", "sealed-secrets-controller"),
            Some(Role::SealedSecrets)
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
