//! Comparison of an object in two archives that ignores the fields that the API server writes.

use serde_json::Value;

use super::{ArchiveError, StoredJson, same};

/// Fields of `metadata` that the API server writes. They differ between two captures, or two clusters,
/// although nobody changed the object.
const SERVER_OWNED: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Difference between an object in one archive and the object of the same name in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// No difference, except in fields that only the server writes.
    Same,
    /// Only the status differs.
    Status,
    /// The requested state differs: spec, data, labels and so on.
    Changed,
    /// The object was deleted and created again: its UID differs.
    Recreated,
}

impl Change {
    /// Compares the object before with the object after.
    ///
    /// # Errors
    /// If one of them is not valid JSON.
    pub fn between(before: &StoredJson, after: &StoredJson) -> Result<Self, ArchiveError> {
        if before.json() == after.json() {
            return Ok(Self::Same);
        }
        let (mut before, mut after) = (before.value()?, after.value()?);
        let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
        if uid(&before) != uid(&after) {
            return Ok(Self::Recreated);
        }
        strip_server_owned(&mut before);
        strip_server_owned(&mut after);
        if same(&before, &after) {
            return Ok(Self::Same);
        }
        for object in [&mut before, &mut after] {
            object.as_object_mut().map(|o| o.remove("status"));
        }
        Ok(if same(&before, &after) {
            Self::Status
        } else {
            Self::Changed
        })
    }
}

/// Removes the fields of `metadata` that the API server writes.
pub fn strip_server_owned(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !SERVER_OWNED.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{TarWriter, read_objects};
    use serde_json::json;
    use std::ops::ControlFlow;

    fn stored(object: &Value) -> StoredJson {
        let path = "resources/users.butler.butlerlabs.dev/cluster/a.json";
        let mut tar = TarWriter::default();
        tar.file(path, object.to_string().as_bytes()).unwrap();
        let tar = tar.finish().unwrap();
        let mut found = None;
        read_objects::<ArchiveError, _>(&tar[..], |object| {
            found = Some(object);
            Ok(ControlFlow::Break(()))
        })
        .unwrap();
        found.unwrap()
    }

    #[test]
    fn what_the_server_writes_is_no_change() {
        let object = |uid: &str, version: &str, spec: u8, phase: &str| {
            stored(&json!({
                "metadata": {
                    "name": "a", "uid": uid, "resourceVersion": version, "generation": version.len(),
                    "managedFields": [{ "time": version }],
                },
                "spec": { "n": spec },
                "status": { "phase": phase },
            }))
        };
        let before = object("u", "1", 1, "Ready");
        for (after, change) in [
            (object("u", "1", 1, "Ready"), Change::Same),
            (object("u", "200", 1, "Ready"), Change::Same),
            (object("u", "200", 1, "Failed"), Change::Status),
            (object("u", "200", 2, "Failed"), Change::Changed),
            (object("v", "200", 1, "Ready"), Change::Recreated),
        ] {
            assert_eq!(Change::between(&before, &after).unwrap(), change);
        }
    }

    #[test]
    fn an_object_that_is_no_json_is_named_and_not_quoted() {
        let path = "resources/secrets/namespaces/a/b.json";
        let mut tar = TarWriter::default();
        tar.file(path, br#"{"data": canary}"#).unwrap();
        let tar = tar.finish().unwrap();
        let mut said = String::new();
        read_objects::<ArchiveError, _>(&tar[..], |object| {
            said = object.value().unwrap_err().to_string();
            Ok(ControlFlow::Break(()))
        })
        .unwrap();
        assert!(said.contains(path) && !said.contains("canary"), "{said}");
    }
}
