//! Objects that their definition no longer admits: they are stored, and a restore of them is refused.

use serde_json::Value;

use super::super::kind::Kind;
use super::super::request::Api;
use super::super::scope::CRDS;
use backup_core::archive::{ObjectPath, Schema};
use backup_core::format::manifest::Finding;
use backup_core::shortlist::and_more;

/// Maximum number of objects that are named.
const MAX_NAMES: usize = 5;

/// Checker of the objects of one kind, which counts those that the definition does not admit.
#[derive(Debug, Default)]
pub(super) struct AdmissionCheck {
    schema: Option<Schema>,
    /// Reason why the definition cannot be read.
    unread: Option<String>,
    objects: usize,
    first: Vec<String>,
}

impl AdmissionCheck {
    /// Reads the definition of a custom kind.
    pub(super) async fn of_kind(api: &Api, kind: &Kind) -> Self {
        let mut admission = Self::default();
        if !kind.custom {
            return admission;
        }
        let (plural, group) = CRDS.split_once('.').unwrap_or((CRDS, ""));
        let path = format!("/apis/{group}/v1/{plural}/{}", kind.resource);
        match api.get::<Value>(&path, "definition").await {
            Ok(definition) => {
                admission.schema = Schema::of_definition(&definition, &kind.version);
            }
            // It was deleted since its objects were listed.
            Err(e) if e.is_not_found() => {}
            Err(e) => admission.unread = Some(e.line()),
        }
        admission
    }

    /// Checks one object that is taken.
    pub(super) fn judge(&mut self, path: &ObjectPath, object: &Value) {
        let schema = self.schema.as_ref();
        let Some(violation) = schema.and_then(|s| s.violation_or_broken_rule(object)) else {
            return;
        };
        self.objects = self.objects.saturating_add(1);
        if self.first.len() < MAX_NAMES {
            self.first.push(format!("{} ({violation})", path.object()));
        }
    }

    /// Returns the finding about objects that are not admitted, or about an unreadable definition; `None` if
    /// all are admitted.
    pub(super) fn finding(&self, kind: &Kind) -> Option<Finding> {
        if let Some(why) = &self.unread {
            return Some(Finding::info(
                kind.resource.to_string(),
                format!(
                    "its definition cannot be read, so whether it admits its objects is not known: {why}"
                ),
                "apply deploy/rbac.yaml, or grant `get` of customresourcedefinitions",
            ));
        }
        if self.objects == 0 {
            return None;
        }
        let more = and_more(self.objects.saturating_sub(self.first.len()));
        Some(Finding::warning(
            kind.resource.to_string(),
            format!(
                "its definition does not admit {} of its objects any more: {}{more}",
                self.objects,
                self.first.join(", ")
            ),
            "they are in the restore point, but a restore of them is refused; correct them in the \
             cluster, or restore with `restore-cli plan --fill KIND.FIELD=VALUE`",
        ))
    }
}
