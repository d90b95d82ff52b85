//! Lease in the target cluster that allows one restore at a time.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::RecoverError;
use backup_core::archive::ObjectPath;
use cluster_client::kube::target::KubeTarget;

/// Age at which a Lease that was not renewed counts as abandoned.
const STALE: SignedDuration = SignedDuration::from_mins(15);

fn place() -> ObjectPath {
    ObjectPath {
        resource: "leases.coordination.k8s.io".into(),
        namespace: Some("kube-system".to_owned()),
        name: "butler-restore".to_owned(),
    }
}

/// Acquires the Lease for `restore`, or renews it.
///
/// # Errors
/// When another restore holds it, or the cluster cannot be queried.
pub(super) async fn hold(
    target: &KubeTarget,
    restore: &str,
    now: Timestamp,
) -> Result<(), RecoverError> {
    let path = place();
    // If two restores try at the same moment, the API server refuses one of them.
    for _ in 0..3 {
        let live = target.get(&path, None).await?;
        let spec = json!({
            "holderIdentity": restore,
            "renewTime": format!("{now:.6}"),
            "leaseDurationSeconds": STALE.as_secs(),
        });
        let written = match live {
            None => {
                let body = json!({
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": { "name": path.name, "namespace": "kube-system" },
                    "spec": spec,
                });
                target.create(&path, &body, false).await
            }
            Some(live) => {
                if let Some((holder, since)) = holder_of(&live)
                    && holder != restore
                    && now.duration_since(since) < STALE
                {
                    return Err(RecoverError::TargetInUse { holder, since });
                }
                let version = live.pointer("/metadata/resourceVersion");
                let patch = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
                target.patch(&path, &patch, false).await
            }
        };
        match written {
            Ok(_) => return Ok(()),
            Err(e) if e.is_conflict() || e.is("AlreadyExists") => {}
            Err(e) => return Err(RecoverError::Target(e)),
        }
    }
    Err(RecoverError::TargetInUse {
        holder: "name not known".to_owned(),
        since: now,
    })
}

/// Deletes the Lease of `restore`; a Lease that another restore holds stays.
///
/// # Errors
/// When the cluster cannot be queried; then the Lease expires.
pub(super) async fn release(target: &KubeTarget, restore: &str) -> Result<(), RecoverError> {
    let path = place();
    let Some(live) = target.get(&path, None).await? else {
        return Ok(());
    };
    if holder_of(&live).is_none_or(|(holder, _)| holder != restore) {
        return Ok(());
    }
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
    let (Some(uid), Some(version)) = (text("/metadata/uid"), text("/metadata/resourceVersion"))
    else {
        return Ok(());
    };
    match target.delete(&path, uid, version).await {
        Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
        // Another restore holds it now, or somebody deleted it.
        _ => Ok(()),
    }
}

fn holder_of(lease: &Value) -> Option<(String, Timestamp)> {
    let text = |field: &str| lease.get("spec")?.get(field)?.as_str();
    let holder = text("holderIdentity").filter(|h| !h.is_empty())?.to_owned();
    let since = text("renewTime").and_then(|t| t.parse().ok())?;
    Some((holder, since))
}
