//! Reclaim policies of volumes: a restore creates volumes with policy Retain, and puts the captured policy
//! back once a volume is bound to its claim.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::journal::Outcome;
use super::super::{RecoverError, volumes};
use super::Recovery;
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::Finding;

/// Time limit for binding: a volume is bound within seconds after its claim exists.
const BOUND_WITHIN: Duration = Duration::from_secs(30);

impl Recovery {
    /// Puts the policies of bound volumes back; reports the other volumes.
    pub(super) async fn volumes(&self) -> Result<Vec<Finding>, RecoverError> {
        let mut findings = Vec::new();
        let began = Instant::now();
        for entry in self.spool.entries() {
            let done = self.journal.state.written.get(&entry.path.to_string());
            let made = done.is_some_and(|done| done.outcome == Outcome::Created);
            if !made || !volumes::is_volume(&entry.path) {
                continue;
            }
            let captured = self.spool.value(entry)?;
            let Some(policy) = volumes::policy_of(&captured) else {
                continue;
            };
            let why = loop {
                let Some(why) = self.policy_back(&entry.path, policy).await? else {
                    break None;
                };
                if began.elapsed() >= BOUND_WITHIN.min(self.timeouts.ready) {
                    break Some(why);
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    () = self.cancel.cancelled() => return Err(RecoverError::Cancelled),
                }
            };
            if let Some(why) = why {
                findings.push(Finding::warning(
                    entry.path.to_string(),
                    format!("it keeps reclaim policy Retain instead of {policy}: {why}"),
                    format!(
                        "see its claim; once both are bound: kubectl patch pv {} -p \
                         '{{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"{policy}\"}}}}'",
                        entry.path.name
                    ),
                ));
            }
        }
        Ok(findings)
    }

    /// Puts the policy of one volume back if it is bound to the live claim; returns the reason if it does
    /// not.
    async fn policy_back(
        &self,
        path: &ObjectPath,
        policy: &str,
    ) -> Result<Option<String>, RecoverError> {
        let live = match self.target.get(path, None).await {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(Some("it is gone".to_owned())),
            Err(e) if e.is_of_the_server() => return Err(e.into()),
            Err(e) => return Ok(Some(e.line())),
        };
        let held = live.pointer("/spec/persistentVolumeReclaimPolicy");
        if held.and_then(Value::as_str) == Some(policy) {
            return Ok(None);
        }
        if !volumes::is_bound(&live) {
            return Ok(Some("it is not bound".to_owned()));
        }
        let claim = match volumes::claim_of(&live) {
            Some(claim) => self.target.get(&claim, None).await?,
            None => None,
        };
        let of_claim = claim.as_ref().and_then(|c| c.pointer("/metadata/uid"));
        if of_claim.is_none() || of_claim != live.pointer("/spec/claimRef/uid") {
            return Ok(Some("its claim is another one, or gone".to_owned()));
        }
        let patch = json!({
            "metadata": { "resourceVersion": live.pointer("/metadata/resourceVersion") },
            "spec": { "persistentVolumeReclaimPolicy": policy },
        });
        match self.target.patch(path, &patch, false).await {
            Ok(_) => Ok(None),
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(e) => Ok(Some(e.line())),
        }
    }
}
