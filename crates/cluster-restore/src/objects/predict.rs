//! Prediction of what a restore does to an object, without writing it.

use serde_json::{Value, json};

use super::messages::sentence;
use super::status::status_patch;
use super::{MAX_FIELDS, ObjectWrite, ObjectWriter};
use crate::contents::ContentKey;
use crate::desired::{desired, paused};
use crate::journal::Outcome;
use crate::merge::touched;
use crate::owners::OwnerResolution;
use crate::spool::Entry;
use crate::{RecoverError, crds};
use backup_core::digest::Digest;

/// Predicted outcome for an object.
#[derive(Debug, Clone)]
pub(crate) struct Prediction {
    /// Outcome.
    pub(crate) outcome: Outcome,
    /// Reason, or the fields that change.
    pub(crate) why: Option<String>,
    /// Digest of the content that would be written.
    pub(crate) content: Option<Digest>,
    /// Reason why a write could not be tried.
    pub(crate) untried: Option<String>,
}

impl Prediction {
    /// Returns a prediction without content.
    pub(crate) fn new(outcome: Outcome, why: Option<String>) -> Self {
        Self {
            outcome,
            why,
            content: None,
            untried: None,
        }
    }

    fn holding(self, content: Option<Digest>) -> Self {
        Self { content, ..self }
    }
}

impl ObjectWriter<'_> {
    /// Returns the digest of an object that would be created, whose kind may not be served yet.
    pub(crate) fn content(
        &self,
        entry: &Entry,
        key: &ContentKey,
    ) -> Result<Option<Digest>, RecoverError> {
        let value = self.value(entry)?;
        let mut wanted = match self.target.kind(&entry.path.resource) {
            Some(kind) => self.wanted(entry, value, &kind),
            None => desired(entry, value, true, self.guards),
        };
        paused(entry, &mut wanted.body, self.guards);
        Ok(key.digest(&wanted.body, wanted.status.as_ref()))
    }

    /// Returns the object prepared for comparison with the live one; `None` if its kind is not served.
    pub(super) fn turn<'e>(
        &self,
        entry: &'e Entry,
    ) -> Result<Option<ObjectWrite<'e>>, RecoverError> {
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok(None);
        };
        let wanted = self.wanted(entry, self.value(entry)?, &kind);
        let base = self.base_of(entry, &kind)?;
        Ok(Some(ObjectWrite {
            entry,
            kind,
            wanted,
            base,
            owners: OwnerResolution::default(),
        }))
    }

    /// Returns notes for the operator about how an object that does not exist is created.
    pub(crate) fn notes(&self, entry: &Entry) -> Result<Option<String>, RecoverError> {
        let value = self.value(entry)?;
        if entry.path.resource.as_str() == crds::DEFINITIONS {
            return Ok(crds::notes(&value));
        }
        // The kind may come with the restore; most such kinds have a status subresource.
        let kind = self.target.kind(&entry.path.resource);
        let split = kind.is_none_or(|kind| kind.has_status);
        let notes = desired(entry, value, split, self.guards).notes;
        let mut notes: Vec<String> = notes.into_iter().map(str::to_owned).collect();
        let fills = self.options.fill.iter();
        let fills = fills.filter_map(|fill| fill.field(&entry.path.resource));
        notes.extend(fills.map(|field| format!("`--fill` gives it {field} where that is needed")));
        Ok(sentence(&notes))
    }

    /// Predicts what the restore does to the object, without writing it.
    pub(crate) fn predict(
        &self,
        entry: &Entry,
        live: Option<&Value>,
        key: &ContentKey,
    ) -> Result<Prediction, RecoverError> {
        let (Some(live), Some(turn)) = (live, self.turn(entry)?) else {
            return Ok(Prediction::new(Outcome::Created, None));
        };
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            let why = "it is being deleted in the cluster";
            return Ok(Prediction::new(Outcome::Failed, Some(why.to_owned())));
        }
        let wanted = turn.wanted.beside(entry, live);
        let judged = self.judge(&turn, &wanted, live, false);
        if let Some(why) = judged.keep {
            return Ok(Prediction::new(Outcome::Conflict, Some(why)));
        }
        // Controllers write statuses all the time: of a status, only the wanted content counts.
        let content = key.digest(&json!(judged.patch), wanted.status.as_ref());
        if !judged.conflicts.is_empty() {
            let fields = judged.conflicts.join(", ");
            let why = format!("changed on both sides: {fields}");
            return Ok(Prediction::new(Outcome::Conflict, Some(why)).holding(content));
        }
        let mut fields = judged
            .patch
            .map(|p| touched(&p, MAX_FIELDS))
            .unwrap_or_default();
        let before = turn.base.as_ref().and_then(|b| b.status.as_ref());
        let status = wanted.status.as_ref();
        if let Some(patch) = status.and_then(|s| status_patch(before, live, s)) {
            let names = touched(&patch, MAX_FIELDS).into_iter();
            let names = names.map(|field| format!("status.{field}"));
            fields.extend(names.map(|f| f.trim_end_matches('.').to_owned()));
        }
        if let Some(since) = self.status_since(&turn, live, false) {
            fields.truncate(MAX_FIELDS);
            let told = fields.is_empty().then(String::new);
            let told = told.unwrap_or_else(|| format!("changed: {}; ", fields.join(", ")));
            let why = format!("{told}{since}");
            return Ok(Prediction::new(Outcome::Conflict, Some(why)).holding(content));
        }
        if fields.is_empty() {
            return Ok(Prediction::new(Outcome::Same, None));
        }
        fields.truncate(MAX_FIELDS);
        Ok(Prediction::new(Outcome::Changed, Some(fields.join(", "))).holding(content))
    }
}
