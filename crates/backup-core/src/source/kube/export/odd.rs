//! What an export tells of kinds, objects and references that are not as they should be.

use super::super::discover::Kind;
use super::super::failure::KubeError;
use super::super::refer::References;
use crate::format::manifest::{Finding, Severity};

/// References to nothing that are told one by one.
const MAX_UNMET: usize = 20;

/// Findings on references that lead nowhere.
pub(super) fn unmet(references: &References) -> Option<Finding> {
    let unmet = references.unmet();
    let first = unmet.iter().take(MAX_UNMET);
    let first: Vec<String> = first
        .map(|(reference, by)| {
            let namespace = reference.namespace.as_deref().unwrap_or("*");
            let name = &reference.name;
            format!("{:?} {namespace}/{name} (from {by})", reference.target)
        })
        .collect();
    if first.is_empty() {
        return None;
    }
    let more = unmet.len().saturating_sub(first.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(Finding {
        severity: Severity::Warning,
        object: "references".to_owned(),
        cause: format!(
            "these are referred to and are not there: {}{more}",
            first.join(", ")
        ),
        remedy: "make what is missing, or take the reference out: a restore brings it back as \
                 it is"
            .to_owned(),
    })
}

/// Objects that are no objects, as an extension API may give them.
pub(super) fn unreadable(kind: &Kind, objects: u64) -> Finding {
    Finding {
        severity: Severity::Error,
        object: kind.resource.to_string(),
        cause: format!(
            "{objects} of its objects have no name or cannot be read, and were left out"
        ),
        remedy: format!("see what `kubectl get {} -o json` gives", kind.resource),
    }
}

/// An error of a kind, as the manifest tells it.
pub(super) fn failed(kind: &Kind, error: &KubeError, taken: u64) -> Finding {
    let so_far = if taken > 0 {
        format!(" after {taken} objects")
    } else {
        String::new()
    };
    Finding {
        severity: Severity::Error,
        object: kind.resource.to_string(),
        cause: format!("it could not be listed{so_far}: {}", error.line()),
        remedy: match error {
            KubeError::Forbidden { .. } => {
                "apply deploy/rbac.yaml, or grant the right that is named".to_owned()
            }
            _ => format!(
                "see that `kubectl get {}` works, then take another restore point",
                kind.resource
            ),
        },
    }
}
