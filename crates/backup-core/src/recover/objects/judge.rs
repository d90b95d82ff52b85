//! What there is to write over an object that is there already.

use serde_json::{Value, json};

use super::{FIELDS_TOLD, Turn, Writer};
use crate::recover::RecoverError;
use crate::recover::desired::{Desired, JOBS_OWN, comparable, paused};
use crate::recover::merge::{merge, named};
use crate::recover::own;
use crate::recover::pause::{self, Marker};
use crate::recover::plan::{Existing, Mode};
use crate::recover::spool::Entry;
use crate::recover::volumes;
use crate::source::kube::target::TargetKind;

/// What there is to write over a live object, what must not be, and why it is left alone.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) patch: Option<Value>,
    pub(super) conflicts: Vec<String>,
    pub(super) keep: Option<String>,
}

impl Writer<'_> {
    /// What the object was when etcd's snapshot was taken.
    pub(super) fn base_of(
        &self,
        entry: &Entry,
        kind: &TargetKind,
    ) -> Result<Option<Desired>, RecoverError> {
        let Some(base) = self.base else {
            return Ok(None);
        };
        let before = base.by_path(&entry.path).and_then(|at| base.entry(at));
        let Some(before) = before.filter(|before| before.flaw.is_none()) else {
            return Ok(None);
        };
        Ok(Some(self.wanted(before, base.value(before)?, kind)))
    }

    /// What there is to write over `live` to make it as `wanted`.
    pub(super) fn judge(
        &self,
        turn: &Turn<'_>,
        wanted: &Desired,
        live: &Value,
        ours: bool,
    ) -> Judged {
        let base = turn.base.as_ref();
        let mut now = comparable(live.clone());
        if turn.kind.has_status
            && let Some(fields) = now.as_object_mut()
        {
            fields.remove("status");
        }
        let mut wanted = comparable(wanted.body.clone());
        if ours {
            // What this restore made carries the marker until its controller goes on.
            paused(turn.entry, &mut wanted, self.guards);
        }
        // Owners are resolved by themselves.
        if let Some(metadata) = now.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
        }
        tolerate(turn.entry, &now, &mut wanted);
        let is_bound = volumes::is_bound(live);
        volumes::tolerate(&turn.entry.path, &now, &mut wanted, is_bound);
        if turn.entry.partial || own::is_own(turn.entry, &wanted) {
            now = named(&now, &wanted);
        }
        let mut judged = self.compared(base, &now, &wanted);
        let managed = managed_by(live);
        judged.keep = match (self.options.existing, managed) {
            _ if judged.patch.is_none() || ours || base.is_some() => None,
            (Existing::Keep, _) => Some("it is there otherwise and was left so".to_owned()),
            (Existing::Auto, Some(tool)) if self.mode == Mode::Rebuild => Some(format!(
                "it is there otherwise, and {tool} looks after it; `--existing update` overwrites it"
            )),
            _ => None,
        };
        if judged.keep.is_some() {
            judged.patch = None;
        }
        // An object that is left as it is would go with an owner that is dead.
        let owners = &turn.owners;
        if owners.differs && (owners.dead || judged.keep.is_none()) {
            let references = json!({ "metadata": { "ownerReferences": &owners.references } });
            let patch = judged.patch.get_or_insert_with(|| json!({}));
            crate::recover::overlay(patch, &references);
        }
        judged
    }

    /// What is told of a status that came since and that nobody takes away.
    pub(super) fn status_since(&self, turn: &Turn<'_>, live: &Value, ours: bool) -> Option<String> {
        let asked = turn.wanted.bare && self.mode == Mode::InPlace && turn.base.is_none() && !ours;
        let status = live.get("status").filter(|_| asked)?.as_object()?;
        if status.is_empty() {
            return None;
        }
        let fields: Vec<&str> = status
            .keys()
            .map(String::as_str)
            .take(FIELDS_TOLD)
            .collect();
        Some(format!(
            "it was captured without a status; the one that came since stays: {}",
            fields.join(", ")
        ))
    }

    fn compared(&self, base: Option<&Desired>, now: &Value, wanted: &Value) -> Judged {
        let base = base.map(|b| comparable(b.body.clone()));
        let found = merge(base.as_ref(), now, wanted);
        if found.conflicts.is_empty() || !self.options.overwrite_conflicts {
            return Judged {
                patch: found.patch,
                conflicts: found.conflicts,
                keep: None,
            };
        }
        Judged {
            patch: merge(None, now, wanted).patch,
            conflicts: Vec::new(),
            keep: None,
        }
    }
}

/// Fields of a live object that its cluster chose, and that are no difference.
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
            // A controller brings them together from other roles.
            if let (Some(rules), Some(fields)) = (live.get("rules"), wanted.as_object_mut())
                && fields.contains_key("aggregationRule")
            {
                fields.insert("rules".to_owned(), rules.clone());
            }
        }
        _ => {}
    }
    own::over(entry, live, wanted);
    // What this restore paused goes on at its end, as it was before.
    if let Some(Marker::Field(field)) = pause::marker(&entry.path.resource)
        && pause::is_paused(Marker::Field(field), live)
        && !pause::is_paused(Marker::Field(field), wanted)
    {
        pause::pause(Marker::Field(field), wanted);
    }
}

/// A service account keeps the Secrets that its cluster gave it, beside those that it had.
fn secrets(live: &Value, wanted: &mut Value) {
    let list = |object: &Value| {
        let held = object.get("secrets").and_then(Value::as_array);
        held.cloned().unwrap_or_default()
    };
    let (mut all, had) = (list(live), list(wanted));
    let names: Vec<String> = all
        .iter()
        .filter_map(|s| own::name_of(s).map(str::to_owned))
        .collect();
    let is_known = |s: &Value| own::name_of(s).is_some_and(|n| names.iter().any(|held| held == n));
    all.extend(had.into_iter().filter(|s| !is_known(s)));
    if let Some(fields) = wanted.as_object_mut().filter(|_| !all.is_empty()) {
        fields.insert("secrets".to_owned(), Value::Array(all));
    }
}

/// The tool that looks after an object, by the marks that it leaves.
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
