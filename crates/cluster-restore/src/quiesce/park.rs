//! Operations that stop controllers, webhooks and objects, and that put them back as they were.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{DEPLOYMENTS, PARKED, ParkedItem, QuiesceError, REPLICAS};
use backup_core::archive::{ObjectPath, ResourceName};
use cluster_client::kube::target::KubeTarget;

/// Time limit for pods to end: their grace period is 30 s by default.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);

/// Stops it. Stopping it twice has the effect of stopping it once.
///
/// # Errors
/// When it cannot be stopped.
pub(crate) async fn park(target: &KubeTarget, parked: &ParkedItem) -> Result<(), QuiesceError> {
    put(target, parked, ParkState::Stopped).await?;
    match parked {
        ParkedItem::Deployment {
            namespace, name, ..
        } => stopped(target, &deployment(namespace, name), parked).await,
        ParkedItem::Webhooks { .. } | ParkedItem::Object { .. } => Ok(()),
    }
}

/// Puts it back as it was. Doing so twice has the effect of doing it once; a missing object is not an error.
///
/// # Errors
/// When it cannot be written.
pub(crate) async fn unpark(target: &KubeTarget, parked: &ParkedItem) -> Result<(), QuiesceError> {
    put(target, parked, ParkState::Original).await
}

/// Wanted state of something that is parked.
#[derive(Debug, Clone, Copy)]
enum ParkState {
    Stopped,
    Original,
}

impl ParkState {
    /// Returns the value to write for this state.
    fn of<T>(self, stopped: T, before: T) -> T {
        match self {
            Self::Stopped => stopped,
            Self::Original => before,
        }
    }
}

async fn put(
    target: &KubeTarget,
    parked: &ParkedItem,
    state: ParkState,
) -> Result<(), QuiesceError> {
    match parked {
        ParkedItem::Deployment {
            namespace,
            name,
            replicas,
            ..
        } => {
            let note = state.of(Some(replicas.to_string()), None);
            let patch = json!({
                "metadata": { "annotations": { REPLICAS: note } },
                "spec": { "replicas": state.of(0, *replicas) },
            });
            let path = deployment(namespace, name);
            match write(target, &path, &patch, parked).await {
                // Its annotations have reached the size limit; the journal has the earlier state.
                Err(QuiesceError::Write { source, .. }) if source.is("Invalid") => {
                    let bare = json!({ "spec": patch.get("spec") });
                    write(target, &path, &bare, parked).await
                }
                written => written,
            }
        }
        ParkedItem::Webhooks {
            plural,
            name,
            selectors: before,
            ..
        } => {
            let nothing = json!({ "matchLabels": { PARKED: "yes" } });
            let wanted = |name: &str| {
                let found = before.iter().find(|(n, _)| n == name);
                let before = found.and_then(|(_, selector)| selector.clone());
                state.of(Some(nothing.clone()), before)
            };
            selectors(target, plural, name, parked, wanted).await
        }
        ParkedItem::Object {
            path,
            field,
            before,
            ..
        } => {
            let patch = json!({ "spec": { field: state.of(Some(json!(true)), before.clone()) } });
            of_path(target, path, &patch, parked).await
        }
    }
}

/// Whether a Deployment has as many ready pods as it had replicas.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn is_ready(
    target: &KubeTarget,
    parked: &ParkedItem,
) -> Result<bool, QuiesceError> {
    let ParkedItem::Deployment {
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
    parked: &ParkedItem,
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
    parked: &ParkedItem,
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
    parked: &ParkedItem,
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
    parked: &ParkedItem,
) -> Result<(), QuiesceError> {
    match path.parse::<ObjectPath>() {
        Ok(path) => write(target, &path, patch, parked).await,
        Err(_) => Ok(()),
    }
}

/// Gives each webhook of a configuration the selector that `wanted` returns for its name.
async fn selectors(
    target: &KubeTarget,
    plural: &str,
    name: &str,
    parked: &ParkedItem,
    wanted: impl Fn(&str) -> Option<Value>,
) -> Result<(), QuiesceError> {
    /// Attempts at one write: an injector of certificate authorities may write at the same time.
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
