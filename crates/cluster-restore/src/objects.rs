//! Writer of one object: it is created, updated, or left with the reason.

mod attempt;
mod create;
mod decision;
mod messages;
mod predict;
mod server_changes;
mod status;
mod update;
mod value;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

pub(super) use self::attempt::DryRunResult;
use self::messages::{by_name, done, failed, undeleted, write_error_text};
pub(super) use self::predict::Prediction;
pub(super) use self::value::schema_of;
use super::RecoverError;
use super::desired::{DesiredObject, desired};
use super::guards::{Guard, Guards};
use super::journal::{ObjectResult, Outcome};
use super::owners::{OwnerResolution, OwnerResolver, references_of};
use super::plan::{Danger, Mode, Options};
use super::spool::{Entry, ObjectSpool};
use super::volumes;
use cluster_client::kube::target::{KubeTarget, MANAGER, TargetKind};
use cluster_client::kube::{KubeError, WriteError};

/// Attempts at one write: somebody else may write at the same time, but more conflicts than this are a fight.
const TRIES: u32 = 5;
/// Time limit for retries: a kind whose definition was just created answers with errors for a moment.
const JUST_MADE: Duration = Duration::from_secs(10);
/// Largest number of fields that a message lists.
const MAX_FIELDS: usize = 4;

/// Everything that writing an object needs.
pub(super) struct ObjectWriter<'a> {
    pub(super) target: &'a KubeTarget,
    pub(super) spool: &'a ObjectSpool,
    /// Objects as the restored etcd has them, if the objects are brought forward from there.
    pub(super) base: Option<&'a ObjectSpool>,
    pub(super) options: &'a Options,
    pub(super) mode: Mode,
    pub(super) guards: Guards,
    pub(super) now: &'a HashMap<usize, String>,
    pub(super) without: &'a HashMap<usize, &'static str>,
    /// Whether everything is written: an owner that does not exist now will not be created later.
    pub(super) last: bool,
}

/// Reason why an object cannot be written.
#[derive(Debug, thiserror::Error)]
enum ObjectWriteError {
    #[error("it cannot be read")]
    Read(#[from] KubeError),
    #[error("it cannot be written")]
    Write(#[from] WriteError),
}

impl ObjectWriteError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Write(e) if e.is_conflict())
    }
}

/// One object that is being restored.
struct ObjectWrite<'a> {
    entry: &'a Entry,
    kind: TargetKind,
    wanted: DesiredObject,
    /// Object at the time of the etcd snapshot, if it is brought forward from there.
    base: Option<DesiredObject>,
    owners: OwnerResolution,
}

impl ObjectWriter<'_> {
    /// Writes the object at `position`. `ours` means that this restore may have created it already. The
    /// returned flag says whether the object has owners that are written later.
    pub(super) async fn write(
        &self,
        position: usize,
        ours: bool,
    ) -> Result<(ObjectResult, bool), RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok((failed("it is not there any more"), false));
        };
        if let Some(reason) = self.without.get(&position) {
            let skipped = done(Outcome::Skipped, None, Some((*reason).to_owned()));
            return Ok((skipped, false));
        }
        if let Some(why) = &entry.flaw {
            return Ok((failed(why), false));
        }
        let value = self.value(entry)?;
        if let Some(why) = volumes::refused(entry, &value) {
            return Ok((failed(why), false));
        }
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            let why = format!(
                "the cluster does not serve {}: restore its definition first",
                entry.path.resource
            );
            return Ok((failed(&why), false));
        };
        let version = entry.api_version.rsplit('/').next().unwrap_or_default();
        if !kind.served.iter().any(|served| served == version) {
            let why = format!(
                "the cluster serves {} as {}, not as {version}",
                entry.path.resource,
                kind.served.join(", ")
            );
            return Ok((failed(&why), false));
        }
        let wanted = self.wanted(entry, value, &kind);
        let base = self.base_of(entry, &kind)?;
        let mut turn = ObjectWrite {
            entry,
            kind,
            wanted,
            base,
            owners: OwnerResolution::default(),
        };
        match self.placed(&mut turn, ours).await {
            Ok(done) => Ok((done, turn.owners.late)),
            Err(ObjectWriteError::Read(e)) if self.target.is_of_the_server(&e).await => {
                Err(RecoverError::Read(e))
            }
            Err(ObjectWriteError::Read(e)) => Ok((failed(&messages::unreadable(entry, &e)), false)),
            Err(ObjectWriteError::Write(e)) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(ObjectWriteError::Write(e)) => Ok((failed(&write_error_text(entry, &e)), false)),
        }
    }

    /// Returns a resolver of owner references with this writer's state.
    pub(super) fn owners(&self) -> OwnerResolver<'_> {
        OwnerResolver {
            spool: self.spool,
            target: self.target,
            now: self.now,
            without: self.without,
            last: self.last,
            guards: self.guards,
            seen: None,
        }
    }

    /// Returns the object as it must be in this cluster.
    pub(super) fn wanted(&self, entry: &Entry, value: Value, kind: &TargetKind) -> DesiredObject {
        let split = kind.has_status && self.guards.has(Guard::Status);
        let mut wanted = desired(entry, value, split, self.guards);
        if self.options.allow.contains(&Danger::ControlPlaneUpgrade)
            && entry.path.resource.as_str() == "tenantcontrolplanes.steward.butlerlabs.dev"
            && let Some(version) = wanted
                .status
                .as_mut()
                .and_then(|s| s.pointer_mut("/kubernetesResources/version"))
                .and_then(Value::as_object_mut)
        {
            version.remove("version");
        }
        wanted
    }

    async fn placed(
        &self,
        turn: &mut ObjectWrite<'_>,
        ours: bool,
    ) -> Result<ObjectResult, ObjectWriteError> {
        let mut ours = ours;
        for _ in 0..TRIES {
            let live = match self.live(turn).await {
                Err(e) if self.is_given_up(turn.entry, &e) => {
                    if let Err(e) = self.target.delete_unreadable(&turn.entry.path).await {
                        return match e {
                            e if e.is_of_the_server() => Err(e.into()),
                            _ => Ok(failed(&undeleted(turn.entry))),
                        };
                    }
                    None
                }
                live => live?,
            };
            let held = live.as_ref().map(references_of).unwrap_or_default();
            let owners = self.owners();
            let resolved = owners.resolve(&turn.entry.path, &held, &turn.wanted.owners);
            turn.owners = resolved.await?;
            let ended = match live {
                None => self.create(turn, &mut ours).await,
                Some(live) => self.update(turn, live, ours).await.map(Some),
            };
            match ended {
                Ok(Some(done)) => return Ok(done),
                // Somebody else created it in between.
                Ok(None) => {}
                Err(e) if e.is_conflict() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(failed(
            "another writer keeps changing it; stop that writer, then continue",
        ))
    }

    /// Whether the object cannot be read and the plan allows deleting and re-creating it.
    fn is_given_up(&self, entry: &Entry, error: &KubeError) -> bool {
        let named = &self.options.replace_unreadable;
        error.is_of_the_answer() && named.contains(&by_name(&entry.path))
    }

    async fn live(&self, turn: &ObjectWrite<'_>) -> Result<Option<Value>, KubeError> {
        let version = Some(turn.entry.api_version.as_str());
        let began = tokio::time::Instant::now();
        loop {
            match self.target.get(&turn.entry.path, version).await {
                Ok(live) => return Ok(live),
                Err(e) if e.is_of_the_server() || !turn.kind.custom => return Err(e),
                Err(e) if began.elapsed() >= JUST_MADE => return Err(e),
                Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }
}

/// Predicts the outcome for a live object that cannot be read.
pub(super) fn unreadable(
    entry: &Entry,
    options: &Options,
    why: &KubeError,
) -> (Outcome, Option<String>) {
    if why.is_of_the_answer() && options.replace_unreadable.contains(&by_name(&entry.path)) {
        let told = "deleted and created again: the API server cannot read it";
        return (Outcome::Changed, Some(told.to_owned()));
    }
    (Outcome::Failed, Some(messages::unreadable(entry, why)))
}

/// Whether a restore wrote the object.
pub(super) fn is_managed(object: &Value) -> bool {
    let managers = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let ours = |m: &Value| m.get("manager").and_then(Value::as_str) == Some(MANAGER);
    managers.is_some_and(|managers| managers.iter().any(ours))
}

fn uid(object: &Value) -> Option<String> {
    Some(object.pointer("/metadata/uid")?.as_str()?.to_owned())
}
