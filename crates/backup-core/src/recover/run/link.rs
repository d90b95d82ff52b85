//! Naming owners that were written after what they own.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::super::RecoverError;
use super::super::guards::Guard;
use super::super::journal::Record;
use super::super::owners::with_uid;
use super::{AT_ONCE, BATCH, Recovery};
use crate::format::manifest::{Finding, Severity};

impl Recovery {
    /// Names owners that were written after what they own.
    pub(super) async fn link(
        &mut self,
        without: &HashMap<usize, &'static str>,
    ) -> Result<Vec<Finding>, RecoverError> {
        let mut findings = Vec::new();
        let now = self.uids();
        let mut late = Vec::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let is_late = entry.owners.iter().any(|uid| {
                let owner = self.spool.by_uid(uid).and_then(|o| self.spool.entry(o));
                owner.is_some_and(|owner| owner.rank > entry.rank)
            });
            let made = now.contains_key(&position) && !without.contains_key(&position);
            if is_late && made && !self.journal.state.linked.contains(&entry.path.to_string()) {
                late.push(position);
            }
        }
        if late.is_empty() || !self.guards.has(Guard::Owners) {
            return Ok(findings);
        }
        let title = format!("naming the owners of {} objects", late.len());
        self.progress.step(&title, None);
        for batch in late.chunks(BATCH) {
            let linked: Vec<(usize, Option<String>)> = stream::iter(batch.to_vec())
                .map(|position| self.link_one(position, &now))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let mut records = Vec::new();
            for (position, failed) in linked {
                let Some(entry) = self.spool.entry(position) else {
                    continue;
                };
                match failed {
                    None => records.push(Record::Linked {
                        object: entry.path.to_string(),
                    }),
                    Some(why) => findings.push(Finding {
                        severity: Severity::Warning,
                        object: entry.path.to_string(),
                        cause: format!("its owner could not be named: {why}"),
                        remedy: "go on with `restore-cli resume`; Steward adopts its own Secrets \
                                 by itself"
                            .to_owned(),
                    }),
                }
            }
            self.journal.write(records)?;
        }
        Ok(findings)
    }

    async fn link_one(
        &self,
        position: usize,
        now: &HashMap<usize, String>,
    ) -> Result<(usize, Option<String>), RecoverError> {
        /// Somebody else may write at the same time.
        const TRIES: usize = 5;
        let Some(entry) = self.spool.entry(position) else {
            return Ok((position, None));
        };
        if entry.flaw.is_some() {
            return Ok((position, None));
        }
        let value = self.spool.value(entry)?;
        let wanted = super::super::desired::desired(entry, value, false, self.guards);
        let owners: Vec<_> = wanted
            .owners
            .iter()
            .filter_map(|owner| {
                let uid = now.get(&self.spool.by_uid(&owner.uid)?)?;
                Some(with_uid(owner, uid.clone()))
            })
            .collect();
        for _ in 0..TRIES {
            let Some(live) = self.target.get(&entry.path, None).await? else {
                return Ok((position, Some("it is gone".to_owned())));
            };
            let held = live.pointer("/metadata/ownerReferences").cloned();
            let mut references = held.and_then(|h| h.as_array().cloned()).unwrap_or_default();
            let lacking = owners.iter().filter(|owner| {
                !references
                    .iter()
                    .any(|r| r.get("uid") == Some(&json!(owner.uid)))
            });
            let lacking: Vec<_> = lacking.map(|owner| json!(owner)).collect();
            if lacking.is_empty() {
                return Ok((position, None));
            }
            references.extend(lacking);
            let patch = json!({ "metadata": {
                "resourceVersion": live.pointer("/metadata/resourceVersion"),
                "ownerReferences": references,
            }});
            match self.target.patch(&entry.path, &patch, false).await {
                Ok(_) => return Ok((position, None)),
                Err(e) if e.is_conflict() => {}
                Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
                Err(e) => return Ok((position, Some(e.line()))),
            }
        }
        Ok((
            position,
            Some("somebody else writes it all the time".to_owned()),
        ))
    }
}
