//! One restore at a time: a Lease in the cluster that is written to.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::RecoverError;
use crate::archive::ObjectPath;
use crate::source::kube::target::KubeTarget;

/// Whoever has not been heard of for this long has ended without a word.
const STALE: SignedDuration = SignedDuration::from_mins(15);

fn place() -> ObjectPath {
    ObjectPath {
        resource: "leases.coordination.k8s.io".into(),
        namespace: Some("kube-system".to_owned()),
        name: "butler-restore".to_owned(),
    }
}

/// Takes the Lease for `restore`, or renews it.
///
/// # Errors
/// When another restore holds it, or the cluster cannot be asked.
pub(super) async fn hold(
    target: &KubeTarget,
    restore: &str,
    now: Timestamp,
) -> Result<(), RecoverError> {
    let path = place();
    // Two that try at the same moment meet at the API server: one of them is told.
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
                if let Some((holder, since)) = held(&live)
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
        holder: "another one".to_owned(),
        since: now,
    })
}

/// Takes the Lease of `restore` away; one that another restore holds stays.
///
/// # Errors
/// When the cluster cannot be asked; then it ends by itself.
pub(super) async fn release(target: &KubeTarget, restore: &str) -> Result<(), RecoverError> {
    let path = place();
    let Some(live) = target.get(&path, None).await? else {
        return Ok(());
    };
    if held(&live).is_none_or(|(holder, _)| holder != restore) {
        return Ok(());
    }
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
    let (Some(uid), Some(version)) = (text("/metadata/uid"), text("/metadata/resourceVersion"))
    else {
        return Ok(());
    };
    match target.delete(&path, uid, version).await {
        Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
        // Somebody else has it now, or took it away.
        _ => Ok(()),
    }
}

fn held(lease: &Value) -> Option<(String, Timestamp)> {
    let text = |field: &str| lease.get("spec")?.get(field)?.as_str();
    let holder = text("holderIdentity").filter(|h| !h.is_empty())?.to_owned();
    let since = text("renewTime").and_then(|t| t.parse().ok())?;
    Some((holder, since))
}
