//! Writer for the status of an object, which is written after its other fields.

use serde_json::{Map, Value, json};

use super::messages::write_error_text;
use super::{MAX_FIELDS, ObjectWrite, ObjectWriteError, ObjectWriter, TRIES};
use crate::immutable;
use crate::merge::{merge, touched};

impl ObjectWriter<'_> {
    /// Writes the status over that of `live`; returns a message about fields that were not stored.
    pub(super) async fn status(
        &self,
        turn: &ObjectWrite<'_>,
        wanted: Option<&Value>,
        live: Value,
        base: Option<&Value>,
    ) -> Result<Option<String>, ObjectWriteError> {
        let Some(status) = wanted else {
            return Ok(None);
        };
        let mut live = live;
        for _ in 0..TRIES {
            let Some(patch) = status_patch(base, &live, status) else {
                return Ok(None);
            };
            if turn.kind.is_listed_only() {
                let why = immutable::UNNAMED;
                return Ok(Some(format!("its status was not written: {why}")));
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
                .patch_part(&turn.entry.path, "/status", &patch, false)
                .await;
            match written {
                Ok(written) => {
                    let now = written.get("status").cloned().unwrap_or_else(|| json!({}));
                    let left = merge(None, &now, status);
                    let lost = left.patch.filter(|_| base.is_none());
                    return Ok(lost.map(|lost| {
                        let fields = touched(&lost, MAX_FIELDS).join(", ");
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
                        write_error_text(turn.entry, &e)
                    )));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some("another writer keeps changing its status".to_owned()))
    }
}

/// Returns the patch that makes the status of `live` the wanted one; `None` if there is nothing to write.
pub(super) fn status_patch(base: Option<&Value>, live: &Value, wanted: &Value) -> Option<Value> {
    let is_empty = wanted.as_object().is_none_or(Map::is_empty);
    let Some(now) = live.get("status") else {
        // An empty status differs from a missing one.
        let merged = merge(base, &json!({}), wanted);
        return merged.patch.or_else(|| base.is_none().then(|| json!({})));
    };
    // A status that appeared after the capture stays and is reported as a separate finding.
    if is_empty {
        return None;
    }
    merge(base, now, wanted).patch
}
