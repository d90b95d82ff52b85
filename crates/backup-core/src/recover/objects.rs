//! One object: made, brought forward, or left with the reason.

mod foresee;
mod judge;
mod words;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

pub(super) use self::foresee::Tried;
use self::judge::Judged;
use self::words::{done, dropped, failed, is_of_a_namespace, sentence, told};
use super::RecoverError;
use super::desired::{Desired, comparable, desired, paused};
use super::fixed;
use super::guards::{Guard, Guards};
use super::journal::{Done, Outcome};
use super::merge::{merge, named, touched};
use super::owners::{Owners, Resolved};
use super::plan::{Danger, Mode, Options};
use super::spool::{Entry, Spool};
use crate::source::kube::WriteError;
use crate::source::kube::target::{KubeTarget, MANAGER, TargetKind};

/// Somebody else may write at the same time; more often than this is a fight.
const TRIES: u32 = 5;
/// A kind whose definition was just made answers with errors for a moment.
const JUST_MADE: Duration = Duration::from_secs(10);
/// Fields that are named in a sentence.
const FIELDS_TOLD: usize = 4;

/// What writing objects needs.
pub(super) struct Writer<'a> {
    pub(super) target: &'a KubeTarget,
    pub(super) spool: &'a Spool,
    /// The objects as the restored etcd has them, where they are brought forward from there.
    pub(super) base: Option<&'a Spool>,
    pub(super) options: &'a Options,
    pub(super) mode: Mode,
    pub(super) guards: Guards,
    pub(super) now: &'a HashMap<usize, String>,
    pub(super) without: &'a HashMap<usize, &'static str>,
    /// What this restore stopped, by [`crate::recover::quiesce::Parked::place`].
    pub(super) parked: &'a HashSet<String>,
}

/// An object on its way.
struct Turn<'a> {
    entry: &'a Entry,
    kind: TargetKind,
    wanted: Desired,
    /// What it was when etcd's snapshot was taken, where it is brought forward from there.
    base: Option<Desired>,
    owners: Resolved,
}

impl Writer<'_> {
    /// Writes the object at `position`. `ours` says that a create of it may have been done already.
    pub(super) async fn write(&self, position: usize, ours: bool) -> Result<Done, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(failed("it is not there any more"));
        };
        if let Some(reason) = self.without.get(&position) {
            return Ok(done(Outcome::Skipped, None, Some((*reason).to_owned())));
        }
        let value = self.spool.value(entry)?;
        let Some(kind) = self.target.kind(&entry.path.resource) else {
            return Ok(failed(&format!(
                "the cluster does not serve {}: bring its definition first",
                entry.path.resource
            )));
        };
        let version = entry.api_version.rsplit('/').next().unwrap_or_default();
        if !kind.served.iter().any(|served| served == version) {
            return Ok(failed(&format!(
                "the cluster serves {} as {}, not as {version}",
                entry.path.resource,
                kind.served.join(", ")
            )));
        }
        let wanted = self.wanted(entry, value, &kind);
        let owners = Owners {
            spool: self.spool,
            target: self.target,
            now: self.now,
            without: self.without,
            guards: self.guards,
        };
        let owners = match owners.resolve(entry, &wanted.owners).await {
            Ok(owners) => owners,
            Err(e) if e.is_of_the_server() => return Err(e.into()),
            Err(e) => {
                return Ok(failed(&format!(
                    "its owners cannot be looked up: {}",
                    e.line()
                )));
            }
        };
        let base = self.base_of(entry, &kind)?;
        let turn = Turn {
            entry,
            kind,
            wanted,
            base,
            owners,
        };
        match self.placed(&turn, ours).await {
            Ok(done) => Ok(done),
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(e) => Ok(failed(&told(entry, &e))),
        }
    }

    /// The object as it is to be in this cluster.
    pub(super) fn wanted(&self, entry: &Entry, value: Value, kind: &TargetKind) -> Desired {
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

    async fn placed(&self, turn: &Turn<'_>, ours: bool) -> Result<Done, WriteError> {
        let mut ours = ours;
        for _ in 0..TRIES {
            let live = self.live(turn).await?;
            let ended = match live {
                None => self.create(turn, &mut ours).await,
                Some(live) => self.bring(turn, live, ours).await.map(Some),
            };
            match ended {
                Ok(Some(done)) => return Ok(done),
                // It came into being in between.
                Ok(None) => {}
                Err(e) if e.is_conflict() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(failed(
            "somebody else writes it all the time; stop them, then go on",
        ))
    }

    async fn live(&self, turn: &Turn<'_>) -> Result<Option<Value>, WriteError> {
        let version = Some(turn.entry.api_version.as_str());
        let began = tokio::time::Instant::now();
        loop {
            match self.target.get(&turn.entry.path, version).await {
                Ok(live) => return Ok(live),
                Err(e) if e.is_of_the_server() || began.elapsed() >= JUST_MADE => {
                    return Err(WriteError::Unreachable {
                        request: format!("GET {}", turn.entry.path),
                        server: self.target.server().to_owned(),
                        source: Box::new(e),
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// Makes the object, and its status at once; `None` if somebody else made it meanwhile.
    async fn create(&self, turn: &Turn<'_>, ours: &mut bool) -> Result<Option<Done>, WriteError> {
        let mut body = turn.wanted.body.clone();
        paused(turn.entry, &mut body, self.guards);
        own(&mut body, &turn.owners);
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
                Err(e) => return Err(e),
            }
        };
        let wanted = turn.wanted.status.as_ref();
        let why = self.status(turn, wanted, made.clone(), None).await?;
        let mut told: Vec<String> = turn.wanted.notes.iter().map(ToString::to_string).collect();
        told.extend(otherwise(turn, &body, &made));
        told.extend(dropped(&turn.owners));
        told.extend(why);
        Ok(Some(done(Outcome::Created, uid(&made), sentence(&told))))
    }

    /// Writes the status over that of `live`; what did not come back is told.
    async fn status(
        &self,
        turn: &Turn<'_>,
        wanted: Option<&Value>,
        live: Value,
        base: Option<&Value>,
    ) -> Result<Option<String>, WriteError> {
        let Some(status) = wanted else {
            return Ok(None);
        };
        let mut live = live;
        for _ in 0..TRIES {
            let Some(patch) = status_patch(base, &live, status) else {
                return Ok(None);
            };
            if turn.kind.is_listed_only() {
                return Ok(Some(format!(
                    "its status was not written: {}",
                    fixed::UNNAMED
                )));
            }
            let version = live.pointer("/metadata/resourceVersion");
            let patch = json!({
                "apiVersion": turn.entry.api_version,
                "kind": turn.entry.kind,
                "metadata": { "resourceVersion": version },
                "status": patch,
            });
            let written = self
                .target
                .patch_part(&turn.entry.path, "/status", &patch)
                .await;
            match written {
                Ok(written) => {
                    let now = written.get("status").cloned().unwrap_or_else(|| json!({}));
                    let left = merge(None, &now, status);
                    let lost = left.patch.filter(|_| base.is_none());
                    return Ok(lost.map(|lost| {
                        let fields = touched(&lost, FIELDS_TOLD).join(", ");
                        format!("its status did not come back whole: {fields}")
                    }));
                }
                Err(e) if e.is_conflict() => match self.live(turn).await? {
                    Some(again) => live = again,
                    None => return Ok(Some("it was deleted before its status was written".into())),
                },
                Err(e) if e.is("Invalid") => {
                    return Ok(Some(format!(
                        "its status was refused: {}",
                        words::told(turn.entry, &e)
                    )));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Some(
            "its status was written by somebody else all the time".to_owned(),
        ))
    }

    /// Brings an object that is there to what is wanted.
    async fn bring(&self, turn: &Turn<'_>, live: Value, ours: bool) -> Result<Done, WriteError> {
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            return Ok(done(
                Outcome::Failed,
                uid(&live),
                Some("it is being deleted in the cluster; wait for its end, then go on".to_owned()),
            ));
        }
        let base = turn.base.as_ref();
        let wanted = turn.wanted.beside(turn.entry, &live);
        let judged = self.judge(turn, &wanted, &live, ours);
        let id = uid(&live);
        let Judged {
            patch,
            conflicts,
            keep,
            stands,
        } = judged;
        if let Some(why) = keep {
            return Ok(done(Outcome::Conflict, id, Some(why)));
        }
        let mut outcome = if ours {
            Outcome::Created
        } else {
            Outcome::Same
        };
        let mut current = live;
        let fields = patch.as_ref().map(|p| touched(p, FIELDS_TOLD));
        if let Some(mut patch) = patch {
            if turn.kind.is_listed_only() {
                let why = fixed::unnamed(turn.entry);
                return Ok(done(Outcome::Failed, id, Some(why)));
            }
            addressed(turn, &current, &mut patch);
            let before = current.pointer("/metadata/resourceVersion").cloned();
            current = match self.target.patch(&turn.entry.path, &patch, false).await {
                Ok(written) => written,
                Err(e) if fixed::is_fixed(&e) => {
                    let why = fixed::sentence(turn.entry, &current, &wanted.body, &e);
                    return Ok(done(Outcome::Failed, id, Some(why)));
                }
                Err(e) => return Err(e),
            };
            // What the server fills in again is no change.
            let is_new = current.pointer("/metadata/resourceVersion") != before.as_ref();
            if !ours && is_new {
                outcome = Outcome::Changed;
            }
        }
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
        if let Some(why) = stands {
            told.push(why);
            if outcome == Outcome::Same {
                outcome = Outcome::Conflict;
            }
        }
        told.extend(dropped(&turn.owners));
        Ok(done(outcome, id, sentence(&told)))
    }
}

/// What there is to write of a status.
fn status_patch(base: Option<&Value>, live: &Value, wanted: &Value) -> Option<Value> {
    let Some(now) = live.get("status") else {
        // An empty one is something too.
        let merged = merge(base, &json!({}), wanted);
        return merged.patch.or_else(|| base.is_none().then(|| json!({})));
    };
    merge(base, now, wanted).patch
}

/// What the server made otherwise than it was told to, of a kind that a definition makes.
fn otherwise(turn: &Turn<'_>, body: &Value, made: &Value) -> Option<String> {
    if !turn.kind.custom {
        return None;
    }
    let plain = |object: &Value| {
        let mut plain = comparable(object.clone());
        if let Some(fields) = plain.as_object_mut() {
            fields.remove("metadata");
            fields.remove("status");
        }
        plain
    };
    let (body, made) = (plain(body), plain(made));
    let told = |from: &Value, to: &Value| {
        let patch = merge(None, &named(from, to), to).patch?;
        Some(touched(&patch, FIELDS_TOLD).join(", "))
    };
    let lost = told(&made, &body).map(|f| format!("its definition here does not take {f}"));
    let filled = told(&body, &made).map(|f| format!("its definition here fills in {f}"));
    let told: Vec<String> = lost.into_iter().chain(filled).collect();
    sentence(&told)
}

/// Makes `patch` one of this object, as `live` has it.
fn addressed(turn: &Turn<'_>, live: &Value, patch: &mut Value) {
    let version = live.pointer("/metadata/resourceVersion");
    let address = json!({
        "apiVersion": turn.entry.api_version,
        "kind": turn.entry.kind,
        "metadata": { "resourceVersion": version },
    });
    super::overlay(patch, &address);
}

fn own(body: &mut Value, owners: &Resolved) {
    if owners.references.is_empty() {
        return;
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("ownerReferences".to_owned(), json!(owners.references));
    }
}

/// Whether a restore made the object.
pub(super) fn known_by(object: &Value) -> bool {
    let managers = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let ours = |m: &Value| m.get("manager").and_then(Value::as_str) == Some(MANAGER);
    managers.is_some_and(|managers| managers.iter().any(ours))
}

fn uid(object: &Value) -> Option<String> {
    Some(object.pointer("/metadata/uid")?.as_str()?.to_owned())
}
