//! What there is to write over an object that is there already.

use serde_json::{Value, json};

use super::{Turn, Writer};
use crate::recover::RecoverError;
use crate::recover::desired::{Desired, comparable, paused};
use crate::recover::merge::{merge, named};
use crate::recover::pause::{self, Marker};
use crate::recover::plan::{Existing, Mode};
use crate::recover::spool::Entry;
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

    /// What there is to write over `live`.
    pub(super) fn judge(
        &self,
        turn: &Turn<'_>,
        live: &Value,
        base: Option<&Desired>,
        ours: bool,
    ) -> Judged {
        let mut now = comparable(live.clone());
        if turn.kind.has_status
            && let Some(fields) = now.as_object_mut()
        {
            fields.remove("status");
        }
        let mut wanted = comparable(turn.wanted.body.clone());
        if ours {
            // What this restore made carries the marker until its controller goes on.
            paused(turn.entry, &mut wanted, self.guards);
        }
        // Owners are compared by name here, and written with their UIDs.
        if let Some(metadata) = now.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
        }
        tolerate(turn.entry, &now, &mut wanted);
        if turn.entry.partial {
            now = named(&now, &wanted);
        }
        let mut judged = self.compared(base, &now, &wanted);
        let held = owners_of(live);
        let lacking = turn
            .owners
            .references
            .iter()
            .filter(|owner| !held.contains(&owner.uid));
        if self.mode == Mode::Rebuild && lacking.count() > 0 {
            let references = json!({ "metadata": { "ownerReferences": &turn.owners.references } });
            let patch = judged.patch.get_or_insert_with(|| json!({}));
            crate::recover::overlay(patch, &references);
        }
        let managed = managed_by(live);
        judged.keep = match (self.options.existing, managed) {
            _ if judged.patch.is_none() || ours || base.is_some() => None,
            (Existing::Keep, _) => Some("it is there otherwise and was left so".to_owned()),
            (Existing::Auto, Some(tool)) if self.mode == Mode::Rebuild => Some(format!(
                "it is there otherwise, and {tool} looks after it; `--existing update` overwrites it"
            )),
            _ => None,
        };
        judged
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
        let Some(held) = live.pointer(&format!("{pointer}/{name}")).cloned() else {
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
        "serviceaccounts" => take("", "secrets"),
        _ => {}
    }
    // What this restore paused goes on at its end, as it was before.
    if let Some(Marker::Field(field)) = pause::marker(&entry.path.resource)
        && pause::is_paused(Marker::Field(field), live)
        && !pause::is_paused(Marker::Field(field), wanted)
    {
        pause::pause(Marker::Field(field), wanted);
    }
}

fn owners_of(object: &Value) -> Vec<String> {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let uids = owners
        .into_iter()
        .flatten()
        .filter_map(|o| o.get("uid")?.as_str());
    uids.map(str::to_owned).collect()
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
