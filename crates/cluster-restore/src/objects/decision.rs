//! Comparison of an object with the live one, which decides what to write.

use serde_json::{Value, json};

use super::{MAX_FIELDS, ObjectWrite, ObjectWriter};
use crate::RecoverError;
use crate::builtin;
use crate::desired::{DesiredObject, JOBS_OWN, comparable, paused};
use crate::merge::{merge, named};
use crate::pause::{self, PauseMarker};
use crate::plan::{ExistingPolicy, Mode};
use crate::spool::Entry;
use crate::volumes;
use cluster_client::kube::target::TargetKind;

/// Fields to write over a live object, conflicting fields, and the reason to leave the object alone.
#[derive(Debug, Default)]
pub(super) struct WriteDecision {
    pub(super) patch: Option<Value>,
    pub(super) conflicts: Vec<String>,
    pub(super) keep: Option<String>,
}

impl ObjectWriter<'_> {
    /// Returns the object at the time of the etcd snapshot.
    pub(super) fn base_of(
        &self,
        entry: &Entry,
        kind: &TargetKind,
    ) -> Result<Option<DesiredObject>, RecoverError> {
        let Some(base) = self.base else {
            return Ok(None);
        };
        let before = base.by_path(&entry.path).and_then(|at| base.entry(at));
        let Some(before) = before.filter(|before| before.flaw.is_none()) else {
            return Ok(None);
        };
        Ok(Some(self.wanted(before, base.value(before)?, kind)))
    }

    /// Compares `live` with `wanted` and returns what to write.
    pub(super) fn judge(
        &self,
        turn: &ObjectWrite<'_>,
        wanted: &DesiredObject,
        live: &Value,
        ours: bool,
    ) -> WriteDecision {
        let base = turn.base.as_ref();
        let mut now = comparable(live.clone());
        if turn.kind.has_status
            && let Some(fields) = now.as_object_mut()
        {
            fields.remove("status");
        }
        let mut wanted = comparable(wanted.body.clone());
        if ours {
            // An object that this restore created carries the pause marker until its controller resumes.
            paused(turn.entry, &mut wanted, self.guards);
        }
        // Owner references are resolved separately.
        if let Some(metadata) = now.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
        }
        tolerate(turn.entry, &now, &mut wanted);
        let is_bound = volumes::is_bound(live);
        volumes::tolerate(&turn.entry.path, &now, &mut wanted, is_bound);
        if turn.entry.partial || builtin::is_own(turn.entry, &wanted) {
            now = named(&now, &wanted);
        }
        let mut judged = self.compared(base, &now, &wanted);
        let managed = managed_by(live);
        judged.keep = match (self.options.existing, managed) {
            _ if judged.patch.is_none() || ours || base.is_some() => None,
            (ExistingPolicy::Keep, _) => {
                Some("the cluster's is different and was left so".to_owned())
            }
            (ExistingPolicy::Auto, Some(tool)) if self.mode == Mode::Rebuild => Some(format!(
                "the cluster's is different, and {tool} manages it; `--existing update` overwrites \
                 it"
            )),
            _ => None,
        };
        if judged.keep.is_some() {
            judged.patch = None;
        }
        // The garbage collector would delete an object that keeps a reference to a dead owner.
        let owners = &turn.owners;
        if owners.differs && (owners.dead || judged.keep.is_none()) {
            let references = json!({ "metadata": { "ownerReferences": &owners.references } });
            let patch = judged.patch.get_or_insert_with(|| json!({}));
            crate::overlay(patch, &references);
        }
        judged
    }

    /// Reports the fields of a status that appeared after the capture and that the restore keeps.
    pub(super) fn status_since(
        &self,
        turn: &ObjectWrite<'_>,
        live: &Value,
        ours: bool,
    ) -> Option<String> {
        let asked = turn.wanted.bare && self.mode == Mode::InPlace && turn.base.is_none() && !ours;
        let status = live.get("status").filter(|_| asked)?.as_object()?;
        if status.is_empty() {
            return None;
        }
        let fields: Vec<&str> = status.keys().map(String::as_str).take(MAX_FIELDS).collect();
        Some(format!(
            "it was captured without a status; the one that came since stays: {}",
            fields.join(", ")
        ))
    }

    fn compared(&self, base: Option<&DesiredObject>, now: &Value, wanted: &Value) -> WriteDecision {
        let base = base.map(|b| comparable(b.body.clone()));
        let found = merge(base.as_ref(), now, wanted);
        if found.conflicts.is_empty() || !self.options.overwrite_conflicts {
            return WriteDecision {
                patch: found.patch,
                conflicts: found.conflicts,
                keep: None,
            };
        }
        WriteDecision {
            patch: merge(None, now, wanted).patch,
            conflicts: Vec::new(),
            keep: None,
        }
    }
}

/// Copies fields of a live object that its cluster chose into `wanted`: they do not count as differences.
fn tolerate(entry: &Entry, live: &Value, wanted: &mut Value) {
    let mut take = |pointer: &str, name: &str| {
        let held = live.pointer(pointer).and_then(|fields| fields.get(name));
        let Some(held) = held.cloned() else {
            return;
        };
        if let Some(fields) = wanted.pointer_mut(pointer).and_then(Value::as_object_mut) {
            fields.entry(name.to_owned()).or_insert(held);
        }
    };
    match entry.path.resource.as_str() {
        "namespaces" => {
            take("", "spec");
            take("/metadata/labels", "kubernetes.io/metadata.name");
        }
        "serviceaccounts" => secrets(live, wanted),
        "jobs.batch" => {
            for (place, names) in JOBS_OWN {
                names.iter().for_each(|name| take(place, name));
            }
        }
        "clusterroles.rbac.authorization.k8s.io" if live.get("aggregationRule").is_some() => {
            // A controller aggregates the rules from other roles.
            if let (Some(rules), Some(fields)) = (live.get("rules"), wanted.as_object_mut())
                && fields.contains_key("aggregationRule")
            {
                fields.insert("rules".to_owned(), rules.clone());
            }
        }
        _ => {}
    }
    builtin::add_own(entry, live, wanted);
    // An object that this restore paused resumes at the end, as it was before.
    if let Some(PauseMarker::Field(field)) = pause::marker(&entry.path.resource)
        && pause::is_paused(PauseMarker::Field(field), live)
        && !pause::is_paused(PauseMarker::Field(field), wanted)
    {
        pause::pause(PauseMarker::Field(field), wanted);
    }
}

/// Merges the Secrets of a service account: those that its cluster gave it, then the captured ones.
fn secrets(live: &Value, wanted: &mut Value) {
    let list = |object: &Value| {
        let held = object.get("secrets").and_then(Value::as_array);
        held.cloned().unwrap_or_default()
    };
    let (mut all, had) = (list(live), list(wanted));
    let names: Vec<String> = all
        .iter()
        .filter_map(|s| builtin::name_of(s).map(str::to_owned))
        .collect();
    let is_known =
        |s: &Value| builtin::name_of(s).is_some_and(|n| names.iter().any(|held| held == n));
    all.extend(had.into_iter().filter(|s| !is_known(s)));
    if let Some(fields) = wanted.as_object_mut().filter(|_| !all.is_empty()) {
        fields.insert("secrets".to_owned(), Value::Array(all));
    }
}

/// Returns the tool that manages an object, known by its labels and annotations.
fn managed_by(object: &Value) -> Option<&'static str> {
    let has = |kind: &str, name: &str| {
        let name = name.replace('/', "~1");
        object
            .pointer(&format!("/metadata/{kind}/{name}"))
            .is_some()
    };
    if has("labels", "kustomize.toolkit.fluxcd.io/name")
        || has("labels", "helm.toolkit.fluxcd.io/name")
    {
        return Some("Flux");
    }
    has("annotations", "meta.helm.sh/release-name").then_some("Helm")
}
