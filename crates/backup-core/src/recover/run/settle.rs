//! A second look at what was made: a garbage collector that takes something does so within half a
//! minute, and a look right away sees nothing wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::RecoverError;
use super::Recovery;
use crate::archive::{ObjectPath, ResourceName};
use crate::format::manifest::{Finding, Severity};

/// Losses that are told one by one.
const MOST: usize = 50;

impl Recovery {
    /// Waits, then looks whether everything that was made is still there and not being deleted. What
    /// was looked at before its controller went on is that controller's since.
    pub(super) async fn settle(&mut self) -> Result<Vec<Finding>, RecoverError> {
        let state = &self.journal.state;
        let mut made: BTreeMap<ResourceName, BTreeMap<ObjectPath, String>> = BTreeMap::new();
        for place in &state.fresh {
            let uid = state.written.get(place).and_then(|done| done.uid.as_ref());
            if let (Ok(path), Some(uid)) = (place.parse::<ObjectPath>(), uid) {
                let kind = made.entry(path.resource.clone()).or_default();
                kind.insert(path, uid.clone());
            }
        }
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let wait = self.patience.settle;
        let title = format!("waiting {} s, then looking for losses", wait.as_secs());
        self.progress.step(&title, None);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.cancel.cancelled() => return Err(RecoverError::Cancelled),
        }
        let mut findings = Vec::new();
        for (kind, objects) in made {
            let mut seen: BTreeSet<ObjectPath> = BTreeSet::new();
            let mut going = Vec::new();
            self.target
                .each(&kind, |path, object| {
                    let Some(uid) = objects.get(&path) else {
                        return;
                    };
                    let text = |p: &str| object.pointer(p).and_then(Value::as_str);
                    if text("/metadata/uid") != Some(uid.as_str()) {
                        return;
                    }
                    if text("/metadata/deletionTimestamp").is_some() {
                        going.push(path.clone());
                    }
                    seen.insert(path);
                })
                .await?;
            let gone = objects.keys().filter(|path| !seen.contains(*path));
            let gone = gone.map(|path| (path, "it was made and is gone: somebody deleted it"));
            let going = going
                .iter()
                .map(|path| (path, "it was made and is being deleted"));
            for (path, cause) in gone.chain(going).take(MOST) {
                findings.push(loss(path, cause));
            }
        }
        Ok(findings)
    }
}

fn loss(path: &ObjectPath, cause: &str) -> Finding {
    let control_plane = path.resource.as_str() == "tenantcontrolplanes.steward.butlerlabs.dev";
    let remedy = if control_plane {
        "leave its pause annotation on: with it off the tenant's data is deleted; the runbook has \
         the way to save it"
    } else {
        "see who did with the API server's audit log, stop it, then plan again"
    };
    Finding {
        severity: Severity::Error,
        object: path.to_string(),
        cause: cause.to_owned(),
        remedy: remedy.to_owned(),
    }
}
