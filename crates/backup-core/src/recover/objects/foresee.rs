//! What would become of an object, told without writing it.

use serde_json::{Value, json};

use super::words::told;
use super::{FIELDS_TOLD, Turn, Writer};
use crate::recover::RecoverError;
use crate::recover::desired::paused;
use crate::recover::journal::Outcome;
use crate::recover::merge::{merge, touched};
use crate::recover::owners::Resolved;
use crate::recover::spool::Entry;
use crate::source::kube::WriteError;

impl Writer<'_> {
    /// Tries a create without doing it; why it would be refused, if it would.
    pub(in crate::recover) async fn try_create(
        &self,
        position: usize,
    ) -> Result<Option<String>, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(None);
        };
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok(None);
        };
        let mut body = self.wanted(entry, self.spool.value(entry)?, &kind).body;
        paused(entry, &mut body, self.guards);
        match self.target.create(&entry.path, &body, true).await {
            Ok(_) => Ok(None),
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            // Its webhook is parked when it is really written, or knows no dry run.
            Err(WriteError::Refused { message, .. })
                if message.contains("failed calling webhook") || message.contains("dry run") =>
            {
                Ok(None)
            }
            Err(e) => Ok(Some(told(entry, &e))),
        }
    }

    /// Tells what would become of the object, without writing it.
    pub(in crate::recover) fn foresee(
        &self,
        entry: &Entry,
        live: Option<&Value>,
    ) -> Result<(Outcome, Option<String>), RecoverError> {
        let value = self.spool.value(entry)?;
        let Some(live) = live else {
            return Ok((Outcome::Created, None));
        };
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok((Outcome::Created, None));
        };
        let wanted = self.wanted(entry, value, &kind);
        let base = self.base_of(entry, &kind)?;
        let turn = Turn {
            entry,
            kind,
            wanted,
            base,
            owners: Resolved::default(),
        };
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            let why = "it is being deleted in the cluster";
            return Ok((Outcome::Failed, Some(why.to_owned())));
        }
        let base = turn.base.as_ref();
        let judged = self.judge(&turn, live, base, false);
        if let Some(why) = judged.keep {
            return Ok((Outcome::Conflict, Some(why)));
        }
        if !judged.conflicts.is_empty() {
            let fields = judged.conflicts.join(", ");
            return Ok((
                Outcome::Conflict,
                Some(format!("changed on both sides: {fields}")),
            ));
        }
        let mut fields = judged
            .patch
            .map(|p| touched(&p, FIELDS_TOLD))
            .unwrap_or_default();
        let before = base.and_then(|b| b.status.as_ref());
        let status = live.get("status").cloned().unwrap_or_else(|| json!({}));
        let status = turn
            .wanted
            .status
            .as_ref()
            .map(|wanted| merge(before, &status, wanted));
        if let Some(patch) = status.and_then(|s| s.patch) {
            let told = touched(&patch, FIELDS_TOLD);
            fields.extend(told.into_iter().map(|f| format!("status.{f}")));
        }
        if fields.is_empty() {
            return Ok((Outcome::Same, None));
        }
        fields.truncate(FIELDS_TOLD);
        Ok((Outcome::Changed, Some(fields.join(", "))))
    }
}
