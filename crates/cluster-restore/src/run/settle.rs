//! Second check of created objects: a garbage collector that deletes an object does so within half a minute,
//! so an immediate check finds nothing wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::super::RecoverError;
use super::super::desired::OwnerReference;
use super::super::guards::Guard;
use super::super::owners::{references_of, relink};
use super::Recovery;
use backup_core::archive::{ObjectPath, ResourceName};
use backup_core::format::manifest::Finding;
use cluster_client::kube::KubeError;

/// Largest number of losses that are listed one by one.
const MAX_FINDINGS: usize = 50;

impl Recovery {
    /// Waits, then checks that every created object still exists and is not being deleted. Objects that an
    /// earlier run checked are skipped: their controllers may have changed them since.
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
        let wait = self.timeouts.settle;
        let title = format!("waiting {} s, then looking for losses", wait.as_secs());
        self.progress.step(&title, None);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.cancel.cancelled() => return Err(RecoverError::Cancelled),
        }
        let mut findings = Vec::new();
        let mut owned: Vec<(ObjectPath, Vec<OwnerReference>)> = Vec::new();
        for (kind, objects) in made {
            let mut seen: BTreeSet<ObjectPath> = BTreeSet::new();
            let mut going = Vec::new();
            let take = |path: ObjectPath, object: Value| {
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
                let owners = references_of(&object);
                if !owners.is_empty() {
                    owned.push((path.clone(), owners));
                }
                seen.insert(path);
            };
            let mut unread = Vec::new();
            let broken = |path: ObjectPath, why: KubeError| unread.push((path, why));
            let names = objects.keys().cloned();
            self.target
                .each_or_named((&kind, None), names, take, broken)
                .await?;
            for (path, why) in unread {
                findings.push(loss(
                    &path,
                    &format!("it was made and cannot be read: {}", why.line()),
                ));
                seen.insert(path);
            }
            let gone = objects.keys().filter(|path| !seen.contains(*path));
            let gone = gone.map(|path| (path, "it was made and is gone: something deleted it"));
            let going = going
                .iter()
                .map(|path| (path, "it was made and is being deleted"));
            for (path, cause) in gone.chain(going).take(MAX_FINDINGS) {
                findings.push(loss(path, cause));
            }
        }
        findings.extend(self.dead_owners(&owned).await?);
        Ok(findings)
    }

    /// Reports objects with a missing owner, now that everything is written: the garbage collector deletes
    /// them.
    async fn dead_owners(
        &self,
        owned: &[(ObjectPath, Vec<OwnerReference>)],
    ) -> Result<Vec<Finding>, RecoverError> {
        let (now, without) = (self.uids(), HashMap::new());
        let mut writer = self.writer(&now, &without);
        writer.last = true;
        let owners = writer.owners();
        let mut findings = Vec::new();
        for (path, references) in owned {
            let dead = match owners.resolve(path, references, &[]).await {
                Ok(to) if self.guards.has(Guard::Owners) => to.dead,
                Ok(_) => false,
                Err(e) if e.is_of_the_server() => return Err(e.into()),
                Err(_) => false,
            };
            if !dead {
                continue;
            }
            let why = match relink(&owners, path).await? {
                Ok(_) => {
                    "it named an owner that does not exist; the owner was named again just now, \
                     and it was not checked after that"
                }
                Err(_) => {
                    "it names an owner that does not exist, so the garbage collector deletes it"
                }
            };
            findings.push(Finding::error(
                path.to_string(),
                why,
                "see who deletes its owner, stop it, then plan again",
            ));
            if findings.len() >= MAX_FINDINGS {
                break;
            }
        }
        Ok(findings)
    }
}

fn loss(path: &ObjectPath, cause: &str) -> Finding {
    let control_plane = path.resource.as_str() == "tenantcontrolplanes.steward.butlerlabs.dev";
    let remedy = if control_plane {
        "keep its pause annotation: without it the tenant's data is deleted; the runbook says how \
         to save it"
    } else {
        "find out who did in the API server's audit log, stop it, then plan again"
    };
    Finding::error(path.to_string(), cause, remedy)
}
