//! Findings of an export about unusual kinds, objects and references.

use super::super::failure::KubeError;
use super::super::kind::Kind;
use super::super::references::{MissingReference, References};
use super::KubeExport;
use backup_core::archive::MAX_DEPTH;
use backup_core::format::export::Lost;
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::shortlist::{and_more, comma_and_more, shorten};

/// Maximum number of references to missing objects that are named for one kind.
const MAX_MISSING: usize = 5;
/// Maximum number of kinds whose references to missing objects are reported.
const MAX_KINDS: usize = 20;
/// Maximum number of unreadable objects that are named.
const MAX_LOST: usize = 5;

/// Returns findings about references to missing objects, one for each kind that has them.
pub(super) fn missing_references(references: &References) -> Vec<Finding> {
    let missing = references.missing();
    let kinds = missing.chunk_by(|a, b| a.resource == b.resource);
    let others: usize = kinds.clone().skip(MAX_KINDS).map(<[_]>::len).sum();
    let mut findings: Vec<Finding> = kinds.take(MAX_KINDS).filter_map(of_kind).collect();
    if others > 0 {
        findings.push(lost(
            "references of other kinds".to_owned(),
            format!("{others} more Secrets or ConfigMaps are referred to but do not exist"),
        ));
    }
    findings
}

fn of_kind(missing: &[MissingReference<'_>]) -> Option<Finding> {
    let kind = missing.first()?.resource;
    let first = missing.iter().take(MAX_MISSING).map(|missing| {
        let (target, name, by) = (missing.target, missing.name, missing.object);
        match missing.namespace {
            Some(namespace) => format!("{target:?} {namespace}/{name} (from {by})"),
            None => format!("{target:?} {name} in any namespace (from {by})"),
        }
    });
    let first = first.collect::<Vec<_>>().join(", ");
    let more = comma_and_more(missing.len().saturating_sub(MAX_MISSING));
    let cause = format!("these are referred to but do not exist: {first}{more}");
    Some(lost(format!("references of {kind}"), cause))
}

fn lost(object: String, cause: String) -> Finding {
    Finding::warning(
        object,
        cause,
        "create what is missing, or remove the reference: a restore brings the reference back as it \
         is",
    )
}

/// Returns the finding for objects that are nested more deeply than a restore can read.
pub(super) fn too_deep(kind: &Kind, first: &str, objects: u64) -> Finding {
    let more = and_more(objects.saturating_sub(1));
    Finding::warning(
        format!("{} {first}", kind.resource),
        format!(
            "{first}{more} is nested deeper than {MAX_DEPTH} levels: it is in the restore point, but no \
             restore can write it"
        ),
        "reduce its depth; `restore-cli fetch` returns its bytes",
    )
}

/// Returns the finding for list entries that are not valid objects, as an extension API may return them.
pub(super) fn unreadable(kind: &Kind, objects: u64) -> Finding {
    Finding::error(
        kind.resource.to_string(),
        format!("{objects} of its objects have no name or cannot be read, and were left out"),
        format!(
            "look at the output of `kubectl get {} -o json`",
            kind.resource
        ),
    )
}

/// Returns the finding for a kind that is read in another version than intended.
pub(super) fn other_version(export: &KubeExport, read: &Kind) -> Option<Finding> {
    let meant = export.all_kinds().iter();
    let meant = meant.filter(|kind| kind.resource == read.resource && kind.version != read.version);
    meant.map(|kind| Finding::warning(
        kind.resource.to_string(),
        format!(
            "it cannot be listed as {}, because its conversion webhook does not work; it was read as {}, \
             the version that its objects are stored in",
            kind.version, read.version
        ),
        "find out why the webhook does not answer: `spec.conversion` of the definition names it",
    )).next()
}

/// Returns the finding for objects of `component` that exist and could not be read.
pub(super) fn lost_objects(
    kind: &Kind,
    component: &ComponentName,
    lost: &[Lost],
) -> Option<Finding> {
    let first = lost.first()?;
    let own = match first.name.split_once('/') {
        Some((namespace, name)) => format!("{name} -n {namespace}"),
        None => first.name.clone(),
    };
    Some(Finding::error(
        kind.resource.to_string(),
        format!("component `{component}` is not whole: {}", lost_of(lost)),
        format!(
            "make `kubectl get {} {own}` work: give the API server the key that the object was encrypted \
             with, start its conversion webhook, or create the object again; then take another restore point",
            kind.resource
        ),
    ))
}

/// Describes the objects that could not be read, and the reasons.
pub(super) fn lost_of(lost: &[Lost]) -> String {
    let each = lost
        .iter()
        .map(|lost| format!("{} ({})", lost.name, lost.cause));
    format!(
        "{} of its objects could not be read: {}",
        lost.len(),
        shorten(each, MAX_LOST)
    )
}

/// Returns the manifest's finding for a kind that could not be listed.
pub(super) fn list_failure(kind: &Kind, error: &KubeError, taken: u64) -> Finding {
    let so_far = if taken > 0 {
        format!(" after {taken} objects")
    } else {
        String::new()
    };
    Finding::error(
        kind.resource.to_string(),
        format!("it could not be listed{so_far}: {}", error.line()),
        match error {
            KubeError::Forbidden { .. } => {
                "apply deploy/rbac.yaml, or grant the right that is named".to_owned()
            }
            _ => format!(
                "check that `kubectl get {}` works, then take another restore point",
                kind.resource
            ),
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::references::Referrer;
    use super::*;

    #[test]
    fn references_to_nothing_are_told_kind_by_kind_and_stay_readable() {
        let mut references = References::default();
        for (resource, namespace, number) in [
            ("clusterissuers.cert-manager.io", None, 7),
            ("others.example.com", None, 1),
            ("gadgets.example.com", Some("team-a"), 2),
        ] {
            for name in (0..number).map(|n| format!("{}-{n}", &resource[..3])) {
                let by = Referrer {
                    resource,
                    namespace,
                    name: &name,
                };
                let secret = json!({ "spec": { "keyRef": { "kind": "Secret", "name": name } } });
                references.collect(by, &secret);
            }
        }
        let told = missing_references(&references);
        let told = told.iter().map(|f| format!("{}: {}", f.object, f.cause));
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
    }
}
