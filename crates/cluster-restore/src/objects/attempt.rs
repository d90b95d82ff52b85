//! Dry runs: the API server checks a write without storing it.

use http::StatusCode;
use serde_json::json;

use super::messages::write_error_text;
use super::server_changes::server_changes;
use super::status::status_patch;
use super::update::addressed;
use super::{ObjectWrite, ObjectWriter};
use crate::desired::{comparable, paused};
use crate::journal::Outcome;
use crate::spool::Entry;
use crate::{RecoverError, crds, immutable, volumes};
use cluster_client::kube::WriteError;

/// Answer of the API server to a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DryRunResult {
    /// The server accepts the write.
    Passed,
    /// The server accepts the write, but the object does not change: the server fills the differing fields in
    /// again.
    Same,
    /// The server accepts the write but stores something different; the text says what.
    Altered(String),
    /// The server refuses the write, whatever is written before.
    Refused(String),
    /// The server refuses the write now; the restore may bring what the write needs.
    RefusedNow(String),
    /// The write cannot be tried; the text says why.
    Untried(String),
}

impl ObjectWriter<'_> {
    /// Tries to create the object at `position`, or to change the live one, with a dry run.
    pub(crate) async fn attempt(
        &self,
        position: usize,
        outcome: Outcome,
    ) -> Result<DryRunResult, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(DryRunResult::Passed);
        };
        if entry.path.resource.as_str() == crds::DEFINITIONS {
            let body = crds::body(self.spool.value(entry)?);
            return match self.target.apply(&entry.path, &body, true).await {
                Ok(_) => Ok(DryRunResult::Passed),
                Err(e) => refusal(entry, e),
            };
        }
        let Some(turn) = self.turn(entry)? else {
            return Ok(DryRunResult::Untried(
                "its definition is made first".to_owned(),
            ));
        };
        match outcome {
            Outcome::Created => self.try_create(&turn).await,
            _ => self.try_change(&turn).await,
        }
    }

    async fn try_create(&self, turn: &ObjectWrite<'_>) -> Result<DryRunResult, RecoverError> {
        let entry = turn.entry;
        let mut body = turn.wanted.body.clone();
        paused(entry, &mut body, self.guards);
        volumes::defuse(&entry.path, &mut body);
        match self.target.create(&entry.path, &body, true).await {
            Ok(made) => {
                let differs = server_changes(turn, &body, &made);
                Ok(differs.map_or(DryRunResult::Passed, DryRunResult::Altered))
            }
            Err(e) => refusal(entry, e),
        }
    }

    /// Tries the changes that make the live object the wanted one, including its status.
    async fn try_change(&self, turn: &ObjectWrite<'_>) -> Result<DryRunResult, RecoverError> {
        let entry = turn.entry;
        let version = Some(entry.api_version.as_str());
        let live = match self.target.get(&entry.path, version).await {
            Ok(Some(live)) => live,
            Ok(None) => {
                return Ok(DryRunResult::Untried(
                    "it went while this was planned".to_owned(),
                ));
            }
            Err(e) if self.target.is_of_the_server(&e).await => return Err(e.into()),
            Err(_) => return Ok(DryRunResult::Untried("it cannot be read now".to_owned())),
        };
        let wanted = turn.wanted.beside(entry, &live);
        let before = turn.base.as_ref().and_then(|base| base.status.as_ref());
        let status = wanted.status.as_ref();
        let status = status.and_then(|s| status_patch(before, &live, s));
        if let Some(mut patch) = self.judge(turn, &wanted, &live, false).patch {
            if turn.kind.is_listed_only() {
                return Ok(DryRunResult::Refused(immutable::unnamed(entry)));
            }
            addressed(entry, &live, &mut patch);
            match self.target.patch(&entry.path, &patch, true).await {
                Ok(made)
                    if status.is_none() && comparable(made.clone()) == comparable(live.clone()) =>
                {
                    return Ok(DryRunResult::Same);
                }
                Ok(_) => {}
                Err(e) if immutable::is_fixed(&e) => {
                    let why = immutable::sentence(entry, &live, &wanted.body, &e);
                    return Ok(DryRunResult::Refused(why));
                }
                Err(e) => return refusal(entry, e),
            }
        }
        let Some(status) = status.filter(|_| !turn.kind.is_listed_only()) else {
            return Ok(DryRunResult::Passed);
        };
        let mut patch = json!({ "status": status });
        addressed(entry, &live, &mut patch);
        let path = &entry.path;
        match self.target.patch_part(path, "/status", &patch, true).await {
            Ok(_) => Ok(DryRunResult::Passed),
            // A refused status is only a note: the object itself is written.
            Err(e) => Ok(match refusal(entry, e)? {
                DryRunResult::Refused(why) => {
                    DryRunResult::RefusedNow(format!("its status: {why}"))
                }
                trial => trial,
            }),
        }
    }
}

/// Classifies the error of a refused dry run.
fn refusal(entry: &Entry, error: WriteError) -> Result<DryRunResult, RecoverError> {
    if error.is_of_the_server() {
        return Err(RecoverError::Target(error));
    }
    if error.is_conflict() || error.is("AlreadyExists") {
        let why = "somebody wrote it while this was planned";
        return Ok(DryRunResult::Untried(why.to_owned()));
    }
    let WriteError::Refused {
        status, message, ..
    } = &error
    else {
        return Ok(DryRunResult::RefusedNow(write_error_text(entry, &error)));
    };
    // The webhook is parked during the real write, or does not support dry runs.
    if message.contains("failed calling webhook") || message.contains("dry run") {
        let why = "its webhook cannot be asked in a dry run";
        return Ok(DryRunResult::Untried(why.to_owned()));
    }
    let lasting = [
        StatusCode::BAD_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    // A webhook that refuses may be parked during the real write.
    let of_itself = lasting.contains(status) && !message.contains("admission webhook");
    let why = write_error_text(entry, &error);
    Ok(if of_itself {
        DryRunResult::Refused(why)
    } else {
        DryRunResult::RefusedNow(why)
    })
}
