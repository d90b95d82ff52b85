//! Dry runs: the API server judges a write, and nothing is written.

use http::StatusCode;
use serde_json::{Value, json};

use super::Writer;
use super::foresee::status_patch;
use super::words::told;
use crate::recover::desired::paused;
use crate::recover::spool::Entry;
use crate::recover::{RecoverError, crds, volumes};
use crate::source::kube::WriteError;

/// What the API server says of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::recover) enum Trial {
    /// It would take it.
    Passed,
    /// It would refuse it, whatever comes before.
    Refused(String),
    /// As things are now it would refuse it; what it needs may come with the restore.
    Now(String),
    /// It cannot be asked, and why.
    Untried(String),
}

impl Writer<'_> {
    /// Tries a create without doing it.
    pub(in crate::recover) async fn try_create(
        &self,
        position: usize,
    ) -> Result<Trial, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(Trial::Passed);
        };
        if entry.path.resource.as_str() == crds::DEFINITIONS {
            return self.try_definition(entry).await;
        }
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok(Trial::Untried("its definition is made first".to_owned()));
        };
        let mut body = self.wanted(entry, self.spool.value(entry)?, &kind).body;
        paused(entry, &mut body, self.guards);
        volumes::harmless(&entry.path, &mut body);
        let tried = self.target.create(&entry.path, &body, true).await;
        judged(entry, tried.map(drop))
    }

    /// Tries what would bring the live object to what is wanted, its status too, without doing it.
    pub(in crate::recover) async fn try_change(
        &self,
        position: usize,
    ) -> Result<Trial, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(Trial::Passed);
        };
        if entry.path.resource.as_str() == crds::DEFINITIONS {
            return self.try_definition(entry).await;
        }
        let version = Some(entry.api_version.as_str());
        let live = match self.target.get(&entry.path, version).await {
            Ok(live) => live,
            Err(e) if self.target.is_of_the_server(&e).await => return Err(e.into()),
            Err(_) => return Ok(Trial::Untried("it cannot be read now".to_owned())),
        };
        let (Some(live), Some(turn)) = (live, self.turn(entry)?) else {
            return Ok(Trial::Untried("it went while this was planned".to_owned()));
        };
        let named = |mut patch: Value| {
            if let Some(fields) = patch.as_object_mut() {
                fields.insert("apiVersion".to_owned(), json!(entry.api_version));
                fields.insert("kind".to_owned(), json!(entry.kind));
            }
            patch
        };
        if let Some(patch) = self.judge(&turn, &live, turn.base.as_ref(), false).patch {
            let tried = self.target.patch(&entry.path, &named(patch), true).await;
            let trial = judged(entry, tried.map(drop))?;
            if trial != Trial::Passed {
                return Ok(trial);
            }
        }
        if let Some(patch) = status_patch(&turn, &live) {
            let patch = named(json!({ "status": patch }));
            let tried = self
                .target
                .patch_part(&entry.path, "/status", &patch, true)
                .await;
            // A status that is refused is told, and the object stays.
            return Ok(match judged(entry, tried.map(drop))? {
                Trial::Refused(why) => Trial::Now(format!("its status: {why}")),
                trial => trial,
            });
        }
        Ok(Trial::Passed)
    }

    async fn try_definition(&self, entry: &Entry) -> Result<Trial, RecoverError> {
        let body = crds::body(self.spool.value(entry)?);
        let tried = self.target.apply(&entry.path, &body, true).await;
        judged(entry, tried.map(drop))
    }
}

fn judged(entry: &Entry, tried: Result<(), WriteError>) -> Result<Trial, RecoverError> {
    let error = match tried {
        Ok(()) => return Ok(Trial::Passed),
        Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
        Err(e) if e.is_conflict() || e.is("AlreadyExists") => {
            let why = "somebody wrote it while this was planned";
            return Ok(Trial::Untried(why.to_owned()));
        }
        Err(e) => e,
    };
    let WriteError::Refused {
        status, message, ..
    } = &error
    else {
        return Ok(Trial::Now(told(entry, &error)));
    };
    // Its webhook is parked when it is really written, or knows no dry run.
    if message.contains("failed calling webhook") || message.contains("dry run") {
        let why = "its webhook cannot be asked in a dry run";
        return Ok(Trial::Untried(why.to_owned()));
    }
    let lasting = [
        StatusCode::BAD_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    // A webhook that refuses may be parked when it is really written.
    let of_itself = lasting.contains(status) && !message.contains("admission webhook");
    let why = told(entry, &error);
    Ok(if of_itself {
        Trial::Refused(why)
    } else {
        Trial::Now(why)
    })
}
