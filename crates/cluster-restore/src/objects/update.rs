//! Update of one object that exists, with its status.

use serde_json::{Value, json};

use super::decision::WriteDecision;
use super::messages::{done, sentence};
use super::status::status_patch;
use super::{MAX_FIELDS, ObjectWrite, ObjectWriteError, ObjectWriter, uid};
use crate::immutable;
use crate::journal::{ObjectResult, Outcome};
use crate::merge::touched;
use crate::spool::Entry;

impl ObjectWriter<'_> {
    /// Updates an existing object to the wanted state.
    pub(super) async fn update(
        &self,
        turn: &ObjectWrite<'_>,
        live: Value,
        ours: bool,
    ) -> Result<ObjectResult, ObjectWriteError> {
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            return Ok(done(
                Outcome::Failed,
                uid(&live),
                Some(
                    "it is being deleted in the cluster; wait until it is gone, then continue"
                        .to_owned(),
                ),
            ));
        }
        let base = turn.base.as_ref();
        let wanted = turn.wanted.beside(turn.entry, &live);
        let judged = self.judge(turn, &wanted, &live, ours);
        let id = uid(&live);
        let WriteDecision {
            patch,
            conflicts,
            keep,
        } = judged;
        let mut outcome = if ours {
            Outcome::Created
        } else {
            Outcome::Same
        };
        let mut current = live;
        let fields = patch.as_ref().map(|p| touched(p, MAX_FIELDS));
        if let Some(mut patch) = patch {
            if turn.kind.is_listed_only() {
                let why = immutable::unnamed(turn.entry);
                return Ok(done(Outcome::Failed, id, Some(why)));
            }
            addressed(turn.entry, &current, &mut patch);
            let before = current.pointer("/metadata/resourceVersion").cloned();
            current = match self.target.patch(&turn.entry.path, &patch, false).await {
                Ok(written) => written,
                Err(e) if immutable::is_fixed(&e) => {
                    let why = immutable::sentence(turn.entry, &current, &wanted.body, &e);
                    return Ok(done(Outcome::Failed, id, Some(why)));
                }
                Err(e) => return Err(e.into()),
            };
            // Fields that the server fills in again are not a change.
            let is_new = current.pointer("/metadata/resourceVersion") != before.as_ref();
            if !ours && is_new {
                outcome = Outcome::Changed;
            }
        }
        if let Some(why) = keep {
            let mut told = vec![why];
            told.extend(turn.owners.changes.iter().cloned());
            return Ok(done(Outcome::Conflict, id, sentence(&told)));
        }
        let since = self.status_since(turn, &current, ours);
        let before = base.and_then(|b| b.status.as_ref());
        let status = wanted.status.as_ref();
        let differs = status.is_some_and(|s| status_patch(before, &current, s).is_some());
        let mut told = Vec::new();
        if differs {
            told.extend(self.status(turn, status, current, before).await?);
            if outcome == Outcome::Same {
                outcome = Outcome::Changed;
            }
        }
        if !conflicts.is_empty() {
            outcome = Outcome::Conflict;
            told.push(format!(
                "changed on both sides and left as it is in the cluster: {}",
                conflicts.join(", ")
            ));
        } else if let Some(fields) = fields.filter(|_| outcome != Outcome::Same) {
            told.push(format!("changed: {}", fields.join(", ")));
        }
        if let Some(since) = since {
            outcome = Outcome::Conflict;
            told.push(since);
        }
        told.extend(turn.owners.left.iter().cloned());
        Ok(done(outcome, id, sentence(&told)))
    }
}

/// Adds the object's type and the resource version of `live` to `patch`.
pub(super) fn addressed(entry: &Entry, live: &Value, patch: &mut Value) {
    let version = live.pointer("/metadata/resourceVersion");
    let address = json!({
        "apiVersion": entry.api_version,
        "kind": entry.kind,
        "metadata": { "resourceVersion": version },
    });
    super::super::overlay(patch, &address);
}
