//! Merge of Git's objects over the archive's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::absent::AbsentObjects;
use super::documents::{Document, DocumentSet};
use super::kinds::Kinds;
use crate::RecoverError;
use crate::merge::{merge, named, touched};
use crate::select::Selection;
use crate::spool::ObjectSpool;
use backup_core::archive::{ObjectPath, same};
use backup_core::format::manifest::{Finding, Severity};

/// Largest number of findings of one sort that are listed one by one.
const MAX_FINDINGS: usize = 50;
/// Largest number of fields or names in a sentence.
pub(super) const MAX_NAMES: usize = 6;
/// Fields that are not taken from Git; of `metadata`, its labels and annotations are.
const NOT_GITS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// Effect of laying one object over another.
#[derive(Debug, Default, PartialEq, Eq)]
struct OverlayEffect {
    /// Whether a list was replaced: the server's defaults in its items are unknown.
    replaced: bool,
    /// Whether a value that Flux fills in was kept as the archive has it.
    held: bool,
}

/// Findings by sort, with a limit for each.
pub(super) struct FindingLog<'a> {
    findings: &'a mut Vec<Finding>,
    counts: BTreeMap<&'static str, usize>,
}

impl FindingLog<'_> {
    pub(super) fn say(
        &mut self,
        severity: Severity,
        object: String,
        cause: String,
        remedy: &'static str,
    ) {
        let count = self.counts.entry(remedy).or_default();
        *count = count.saturating_add(1);
        if *count > MAX_FINDINGS {
            return;
        }
        self.findings
            .push(Finding::new(severity, object, cause, remedy));
    }

    fn finish(self) {
        for (remedy, count) in self.counts {
            if let Some(more) = count.checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
                self.findings.push(Finding::warning(
                    "Git",
                    format!("{more} more are like the {MAX_FINDINGS} above"),
                    remedy,
                ));
            }
        }
    }
}

/// Returns all objects of the archive with Git's fields laid over them, and the objects that only
/// Git has.
pub(super) fn overlay_spool(
    archive: &ObjectSpool,
    read: &DocumentSet,
    kinds: &Kinds<'_>,
    select: &Selection,
    scratch: &Path,
    findings: &mut Vec<Finding>,
) -> Result<ObjectSpool, RecoverError> {
    let mut told = FindingLog {
        findings,
        counts: BTreeMap::new(),
    };
    let mut fills = false;
    for document in &read.documents {
        fills |= is_filled_in(&read.value(document)?);
    }
    let mut wanted = placed(archive, read, kinds, select, fills, &mut told)?;
    let mut absent = AbsentObjects::new(read, kinds, &wanted, &mut told);
    let git_has: BTreeSet<String> = wanted.keys().map(|p| p.resource.to_string()).collect();
    let mut spool = ObjectSpool::create(scratch, 0)?;
    spool.pass_over_like(archive);
    absent.protect(&mut spool);
    for entry in archive.entries() {
        let document = wanted.remove(&entry.path);
        let readable = entry.flaw.is_none();
        let Some(document) = document.filter(|_| readable) else {
            let kind = entry.path.resource.to_string();
            if git_has.contains(&kind) && kind != "secrets" {
                absent.of_archive(&entry.path);
            }
            spool.add(&entry.path, &archive.json(entry)?)?;
            continue;
        };
        let place = entry.path.to_string();
        let git = read.value(document)?;
        if git.get("apiVersion").and_then(Value::as_str) != Some(&entry.api_version) {
            told.say(
                Severity::Warning,
                place,
                format!(
                    "Git has it in another version than the restore point, which has {}; it was \
                     taken from the restore point",
                    entry.api_version
                ),
                "apply it from Git after the restore, if Git's is meant",
            );
            spool.add(&entry.path, &archive.json(entry)?)?;
            continue;
        }
        let mut value = archive.value(entry)?;
        let before = value.clone();
        let laid = overlay_object(&mut value, &git, fills);
        if laid.held {
            told.say(
                Severity::Info,
                place.clone(),
                "Git has values in it that Flux fills in; they were taken from the restore point"
                    .to_owned(),
                "nothing: Flux fills them in when it runs again",
            );
        }
        if let Some(patch) = merge(None, &before, &value).patch {
            let fields = touched(&patch, MAX_NAMES).join(", ");
            told.say(
                Severity::Info,
                place,
                format!("Git and the restore point differ here: {fields}"),
                "Git's is restored; check that you want it",
            );
        }
        spool.overlay(&entry.path, &bytes(&value), laid.replaced)?;
    }
    absent.report(&mut told);
    for (path, document) in wanted {
        let mut value = read.value(document)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("status");
        }
        told.say(
            Severity::Info,
            path.to_string(),
            "in Git, not in the archive; it is made as Git has it".to_owned(),
            "check that you want it: the cluster did not have it when it was captured",
        );
        spool.overlay(&path, &bytes(&value), true)?;
    }
    told.finish();
    Ok(spool)
}

fn bytes(value: &Value) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(value.to_string().into_bytes())
}

/// Reports whether a document makes Flux fill values in.
fn is_filled_in(value: &Value) -> bool {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    text("kind") == Some("Kustomization")
        && text("apiVersion").is_some_and(|v| v.starts_with("kustomize.toolkit.fluxcd.io/"))
        && value.pointer("/spec/postBuild").is_some()
}

/// Returns the documents by their paths, without those that cannot be used.
fn placed<'r>(
    archive: &ObjectSpool,
    read: &'r DocumentSet,
    kinds: &Kinds<'_>,
    select: &Selection,
    fills: bool,
    told: &mut FindingLog<'_>,
) -> Result<BTreeMap<ObjectPath, &'r Document>, RecoverError> {
    let mut wanted: BTreeMap<ObjectPath, &Document> = BTreeMap::new();
    for document in &read.documents {
        let place = format!("{}, document {}", document.file, document.number);
        let value = read.value(document)?;
        let path = match kinds.place(&value) {
            Ok(path) => path,
            Err(why) => {
                let remedy = "correct it in Git, or restore its definition too; it was not taken";
                told.say(Severity::Warning, place, why, remedy);
                continue;
            }
        };
        let text = value.to_string();
        if !select.keeps(&path, text.as_bytes()) {
            continue;
        }
        let known = archive.by_path(&path).is_some();
        let encrypted = value.get("sops").is_some();
        let secret = path.resource.as_str() == "secrets";
        if encrypted || (secret && known) {
            let why = if encrypted {
                "is encrypted in Git"
            } else {
                "is a Secret, and those come from the restore point"
            };
            let lost = encrypted && !known;
            told.say(
                if lost {
                    Severity::Warning
                } else {
                    Severity::Info
                },
                place,
                format!("{} {why}", path.object()),
                if lost {
                    "the restore point does not have it: Flux creates it when it runs again"
                } else {
                    "nothing has to be done: it is taken from the restore point"
                },
            );
            continue;
        }
        if fills && !known && has_placeholder(&value) {
            told.say(
                Severity::Warning,
                place,
                format!("{} has values that Flux fills in", path.object()),
                "it is only in Git and was not taken: Flux creates it when it runs again",
            );
            continue;
        }
        if let Some(first) = wanted.get(&path) {
            let cause = format!(
                "{} is there twice, first in {}, document {}",
                path.object(),
                first.file,
                first.number
            );
            let remedy = "the first was taken; take one of them out of Git";
            told.say(Severity::Warning, place, cause, remedy);
            continue;
        }
        wanted.insert(path, document);
    }
    Ok(wanted)
}

/// Lays Git's fields of an object over the archive's.
fn overlay_object(value: &mut Value, git: &Value, fills: bool) -> OverlayEffect {
    let mut laid = OverlayEffect::default();
    let (Some(fields), Some(git)) = (value.as_object_mut(), git.as_object()) else {
        return laid;
    };
    for (name, over) in git {
        if !NOT_GITS.contains(&name.as_str()) {
            overlay_field(fields, name, over, fills, &mut laid);
        }
    }
    let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
    let gits = git.get("metadata").and_then(Value::as_object);
    if let (Some(metadata), Some(gits)) = (metadata, gits) {
        for name in ["labels", "annotations"] {
            if let Some(over) = gits.get(name).filter(|o| o.is_object()) {
                overlay_field(metadata, name, over, fills, &mut laid);
            }
        }
    }
    laid
}

fn overlay_field(
    fields: &mut Map<String, Value>,
    name: &str,
    over: &Value,
    fills: bool,
    laid: &mut OverlayEffect,
) {
    let of_flux = fills && !over.is_object() && has_placeholder(over);
    if of_flux {
        laid.held = true;
        return;
    }
    match over {
        // In a manifest, null means that the field is absent.
        Value::Null => drop(fields.remove(name)),
        Value::Object(over) => {
            let held = fields
                .entry(name.to_owned())
                .or_insert_with(|| Value::Object(Map::new()));
            if !held.is_object() {
                *held = Value::Object(Map::new());
            }
            if let Some(held) = held.as_object_mut() {
                for (name, over) in over {
                    overlay_field(held, name, over, fills, laid);
                }
            }
        }
        over => {
            let held = fields.get(name);
            // The archive's value includes what the server filled in.
            if held.is_some_and(|held| same(&named(held, over), over)) {
                return;
            }
            laid.replaced |= over.is_array();
            fields.insert(name.to_owned(), over.clone());
        }
    }
}

/// Reports whether the value contains a placeholder that Flux fills in: `${NAME}`.
fn has_placeholder(value: &Value) -> bool {
    match value {
        Value::String(text) => text.match_indices("${").any(|(at, _)| {
            let rest = text.get(at.saturating_add(2)..).unwrap_or_default();
            rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        }),
        Value::Array(items) => items.iter().any(has_placeholder),
        Value::Object(fields) => fields.values().any(has_placeholder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn git_has_a_say_in_what_people_write() {
        let mut value = json!({
            "apiVersion": "v1", "kind": "A",
            "metadata": {
                "name": "a", "uid": "u", "labels": { "a": "1" },
                "ownerReferences": [{ "uid": "o" }],
            },
            "spec": { "n": 1, "gone": true, "items": [{ "name": "x", "filled": "in" }], "l": [1] },
            "status": { "phase": "Ready" },
        });
        let git = json!({
            "apiVersion": "v1", "kind": "A",
            "metadata": { "name": "a", "uid": "evil", "labels": { "b": "2" }, "finalizers": ["x"] },
            "spec": { "n": 2, "gone": null, "items": [{ "name": "x" }], "l": [1, 2] },
            "status": { "phase": "Lost" },
        });
        let laid = overlay_object(&mut value, &git, false);
        assert_eq!(
            laid,
            OverlayEffect {
                replaced: true,
                held: false
            }
        );
        assert_eq!(
            value,
            json!({
                "apiVersion": "v1", "kind": "A",
                "metadata": {
                    "name": "a", "uid": "u", "labels": { "a": "1", "b": "2" },
                    "ownerReferences": [{ "uid": "o" }],
                },
                "spec": { "n": 2, "items": [{ "name": "x", "filled": "in" }], "l": [1, 2] },
                "status": { "phase": "Ready" },
            })
        );
    }

    #[test]
    fn what_flux_fills_in_stays_the_archives() {
        let archive = json!({ "spec": { "host": "a.example.org", "n": 1, "l": ["b"] } });
        let git = json!({ "spec": { "host": "${HOST}", "n": 2, "l": ["${B}"], "new": "${C}" } });
        let mut value = archive.clone();
        assert!(overlay_object(&mut value, &git, true).held);
        let held = json!({ "spec": { "host": "a.example.org", "n": 2, "l": ["b"] } });
        assert_eq!(value, held);
        // Without Flux, a placeholder is plain text.
        let mut value = archive;
        assert!(!overlay_object(&mut value, &git, false).held);
        assert_eq!(value["spec"]["host"], "${HOST}");
        assert!(!has_placeholder(&json!("costs $5 {a} ${1}")));
    }
}
