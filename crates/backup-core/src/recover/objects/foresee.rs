//! What would become of an object, told without writing it.

use serde_json::Value;

use super::words::{sentence, told};
use super::{FIELDS_TOLD, Turn, Writer, addressed, otherwise, status_patch};
use crate::recover::RecoverError;
use crate::recover::crds;
use crate::recover::desired::{comparable, desired, paused};
use crate::recover::fixed;
use crate::recover::journal::Outcome;
use crate::recover::merge::touched;
use crate::recover::owners::Resolved;
use crate::recover::spool::Entry;
use crate::source::kube::WriteError;
use crate::source::kube::target::TargetKind;

/// What trying a write told.
#[derive(Debug)]
pub(in crate::recover) enum Tried {
    /// It would be refused as things are now, and why.
    Refused(String),
    /// It cannot be, whatever the restore brings, and why.
    Fixed(String),
    /// It would change nothing: the server fills in again what differs.
    Same,
    /// It would be made otherwise than it was, and how.
    Otherwise(String),
}

/// Whether a webhook that is not asked in the restore, or not in that way, is what refuses.
fn is_of_a_webhook(error: &WriteError) -> bool {
    let WriteError::Refused { message, .. } = error else {
        return false;
    };
    message.contains("failed calling webhook") || message.contains("dry run")
}

impl Writer<'_> {
    /// Tries a create without doing it; why it would be refused, or what is to be said of it.
    pub(in crate::recover) async fn try_create(
        &self,
        position: usize,
    ) -> Result<Option<Tried>, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(None);
        };
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok(None);
        };
        let turn = self.turn(entry, kind)?;
        let mut body = turn.wanted.body.clone();
        paused(entry, &mut body, self.guards);
        match self.target.create(&entry.path, &body, true).await {
            Ok(made) => Ok(otherwise(&turn, &body, &made).map(Tried::Otherwise)),
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            // Its webhook is parked when it is really written, or knows no dry run.
            Err(e) if is_of_a_webhook(&e) => Ok(None),
            Err(e) => Ok(Some(Tried::Refused(told(entry, &e)))),
        }
    }

    /// Tries a change without doing it; why it would be refused, or what is to be said of it.
    pub(in crate::recover) async fn try_change(
        &self,
        position: usize,
    ) -> Result<Option<Tried>, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(None);
        };
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok(None);
        };
        let read = self.target.get(&entry.path, Some(&entry.api_version));
        let Some(live) = read.await? else {
            return Ok(None);
        };
        let turn = self.turn(entry, kind)?;
        let wanted = turn.wanted.beside(entry, &live);
        let judged = self.judge(&turn, &wanted, &live, false);
        let Some(mut patch) = judged.patch.filter(|_| judged.keep.is_none()) else {
            return Ok(None);
        };
        if turn.kind.is_listed_only() {
            return Ok(Some(Tried::Fixed(fixed::unnamed(entry))));
        }
        addressed(&turn, &live, &mut patch);
        let before = turn.base.as_ref().and_then(|b| b.status.as_ref());
        let status = wanted.status.as_ref();
        let status = status.and_then(|s| status_patch(before, &live, s));
        match self.target.patch(&entry.path, &patch, true).await {
            Ok(made)
                if status.is_none() && comparable(made.clone()) == comparable(live.clone()) =>
            {
                Ok(Some(Tried::Same))
            }
            Ok(_) => Ok(None),
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(e) if e.is_conflict() || e.is_not_found() || is_of_a_webhook(&e) => Ok(None),
            Err(e) if fixed::is_fixed(&e) => {
                let why = fixed::sentence(entry, &live, &wanted.body, &e);
                Ok(Some(Tried::Fixed(why)))
            }
            Err(e) => Ok(Some(Tried::Refused(told(entry, &e)))),
        }
    }

    /// The object on its way, with owners as they were.
    fn turn<'e>(&self, entry: &'e Entry, kind: TargetKind) -> Result<Turn<'e>, RecoverError> {
        Ok(Turn {
            entry,
            wanted: self.wanted(entry, self.spool.value(entry)?, &kind),
            base: self.base_of(entry, &kind)?,
            kind,
            owners: Resolved::default(),
        })
    }

    /// What a person should know of how an object is made that is not there.
    pub(in crate::recover) fn notes(&self, entry: &Entry) -> Result<Option<String>, RecoverError> {
        let value = self.spool.value(entry)?;
        if entry.path.resource.as_str() == crds::DEFINITIONS {
            return Ok(crds::notes(&value));
        }
        // Its kind may come with the restore; most of those have a status of their own.
        let kind = self.target.kind(&entry.path.resource);
        let split = kind.is_none_or(|kind| kind.has_status);
        let notes = desired(entry, value, split, self.guards).notes;
        let notes: Vec<String> = notes.into_iter().map(str::to_owned).collect();
        Ok(sentence(&notes))
    }

    /// Tells what would become of the object, without writing it.
    pub(in crate::recover) fn foresee(
        &self,
        entry: &Entry,
        live: Option<&Value>,
    ) -> Result<(Outcome, Option<String>), RecoverError> {
        let Some(live) = live else {
            return Ok((Outcome::Created, None));
        };
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok((Outcome::Created, None));
        };
        let turn = self.turn(entry, kind)?;
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            let why = "it is being deleted in the cluster";
            return Ok((Outcome::Failed, Some(why.to_owned())));
        }
        let base = turn.base.as_ref();
        let wanted = turn.wanted.beside(entry, live);
        let judged = self.judge(&turn, &wanted, live, false);
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
        let status = wanted.status.as_ref();
        if let Some(patch) = status.and_then(|s| status_patch(before, live, s)) {
            let told = touched(&patch, FIELDS_TOLD);
            let told = told.into_iter().map(|f| format!("status.{f}"));
            fields.extend(told.map(|f| f.trim_end_matches('.').to_owned()));
        }
        if fields.is_empty() {
            let outcome = judged.stands.as_ref().map(|_| Outcome::Conflict);
            return Ok((outcome.unwrap_or(Outcome::Same), judged.stands));
        }
        fields.truncate(FIELDS_TOLD);
        let told = std::iter::once(fields.join(", ")).chain(judged.stands);
        Ok((Outcome::Changed, sentence(&told.collect::<Vec<_>>())))
    }
}
