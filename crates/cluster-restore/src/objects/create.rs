//! Creation of one object, with its owners and its status.

use std::time::Duration;

use serde_json::{Value, json};

use super::messages::{done, is_of_a_namespace, sentence};
use super::server_changes::server_changes;
use super::{JUST_MADE, ObjectWrite, ObjectWriteError, ObjectWriter, uid};
use crate::desired::paused;
use crate::journal::{ObjectResult, Outcome};
use crate::owners::OwnerResolution;
use crate::volumes;

impl ObjectWriter<'_> {
    /// Creates the object, then its status; returns `None` if somebody else created the object meanwhile.
    pub(super) async fn create(
        &self,
        turn: &ObjectWrite<'_>,
        ours: &mut bool,
    ) -> Result<Option<ObjectResult>, ObjectWriteError> {
        let mut body = turn.wanted.body.clone();
        paused(turn.entry, &mut body, self.guards);
        own(&mut body, &turn.owners);
        let harmless = volumes::defuse(&turn.entry.path, &mut body);
        if harmless.is_some()
            && let Some(claim) = volumes::claim_of(&body)
            && let Some(claim) = self.target.get(&claim, None).await?
        {
            volumes::bind(&mut body, &claim);
        }
        let began = tokio::time::Instant::now();
        let made = loop {
            match self.target.create(&turn.entry.path, &body, false).await {
                Ok(made) => break made,
                Err(e) if e.is("AlreadyExists") => {
                    *ours = true;
                    return Ok(None);
                }
                Err(e)
                    if e.is_not_found()
                        && turn.kind.custom
                        && !is_of_a_namespace(&e)
                        && began.elapsed() < JUST_MADE =>
                {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                Err(e) => return Err(e.into()),
            }
        };
        let status = turn.wanted.status.as_ref();
        let why = self.status(turn, status, made.clone(), None).await?;
        let notes = turn.wanted.notes.iter().chain(&harmless);
        let mut told: Vec<String> = notes.map(ToString::to_string).collect();
        told.extend(server_changes(turn, &body, &made));
        told.extend(turn.owners.left.iter().cloned());
        told.extend(why);
        Ok(Some(done(Outcome::Created, uid(&made), sentence(&told))))
    }
}

/// Sets the owners that the object has in this cluster.
fn own(body: &mut Value, owners: &OwnerResolution) {
    if owners.references.is_empty() {
        return;
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("ownerReferences".to_owned(), json!(owners.references));
    }
}
