//! Search for UIDs of captured objects in the fields of other objects: an object that is created again gets
//! another UID, and a field with the old UID then refers to nothing.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::spool::{Entry, ObjectSpool};
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::Finding;

/// Length of a UID in text form.
const LENGTH: usize = 36;
/// Largest number of fields that are listed one by one.
const MAX_FIELDS: usize = 40;
/// Fields of `metadata` that a restore handles separately.
const DEALT_WITH: [&str; 3] = [
    "/metadata/uid",
    "/metadata/ownerReferences",
    "/metadata/managedFields",
];

/// Fields with UIDs: kind and field, number of objects, the first of them, and the object with that UID.
#[derive(Debug, Default)]
pub(super) struct UidReferences {
    found: BTreeMap<(String, String), (u64, ObjectPath, ObjectPath)>,
}

impl UidReferences {
    /// Searches one object of `spool` for UIDs of the objects at the positions in `made`.
    pub(super) fn search(
        &mut self,
        spool: &ObjectSpool,
        entry: &Entry,
        object: &Value,
        made: &HashSet<usize>,
    ) {
        walk(object, &mut String::new(), &mut |place, text| {
            if text.len() != LENGTH {
                return;
            }
            let of = spool.by_uid(text).filter(|at| made.contains(at));
            let Some(of) = of.and_then(|at| spool.entry(at)) else {
                return;
            };
            // The restore handles this field when it creates volumes.
            if entry.path.resource.as_str() == "persistentvolumes" && place == ".spec.claimRef.uid"
            {
                return;
            }
            let key = (entry.path.resource.to_string(), place.to_owned());
            let found = self.found.entry(key);
            let first = || (0, entry.path.clone(), of.path.clone());
            let (count, _, _) = found.or_insert_with(first);
            *count = count.saturating_add(1);
        });
    }

    /// Returns the findings.
    pub(super) fn findings(self) -> Vec<Finding> {
        let all = self.found.len();
        let told = self.found.into_iter().take(MAX_FIELDS);
        let mut findings: Vec<Finding> = told
            .map(|((resource, field), (count, first, of))| {
                Finding::warning(
                    resource,
                    format!(
                        "field {} of {count} object(s) holds the UID of an object that is created \
                     again and gets a new one; the first is {}, with the UID of {} {}",
                        field.trim_start_matches('.'),
                        first.object(),
                        of.resource,
                        of.object(),
                    ),
                    "it is written as it was captured; see whether its controller sets it \
                 again, and change it by hand if not",
                )
            })
            .collect();
        if all > MAX_FIELDS {
            findings.push(Finding::warning(
                "fields with UIDs",
                format!(
                    "{} more fields hold UIDs of captured objects",
                    all.saturating_sub(MAX_FIELDS)
                ),
                "restore in parts, with --include-resources, to see them",
            ));
        }
        findings
    }
}

/// Calls `take` with every string of `value` and its field; fields in lists have no positions.
fn walk(value: &Value, place: &mut String, take: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => take(place, text),
        Value::Array(items) => {
            for item in items {
                walk(item, place, take);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let length = place.len();
                place.push('.');
                place.push_str(name);
                if !DEALT_WITH
                    .iter()
                    .any(|d| place.as_str() == d.replace('/', "."))
                {
                    walk(value, place, take);
                }
                place.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_uid_of_a_captured_object_is_found_wherever_it_stands() {
        const A: &str = "00000000-0000-4000-8000-00000000000a";
        const B: &str = "00000000-0000-4000-8000-00000000000b";
        let mut spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
        let path = |name: &str| ObjectPath {
            resource: "things.example.org".into(),
            namespace: Some("n".to_owned()),
            name: name.to_owned(),
        };
        let thing = |name: &str, uid: &str, spec: Value| {
            json!({
                "apiVersion": "example.org/v1", "kind": "Thing",
                "metadata": {
                    "name": name, "namespace": "n", "uid": uid,
                    "ownerReferences": [{ "uid": A }],
                },
                "spec": spec,
            })
        };
        let first = thing("a", A, json!({}));
        let second = thing(
            "b",
            B,
            json!({ "refs": [{ "uid": A }, { "uid": "other" }] }),
        );
        let mut uids = UidReferences::default();
        spool.add(&path("a"), first.to_string().as_bytes()).unwrap();
        spool
            .add(&path("b"), second.to_string().as_bytes())
            .unwrap();
        for (entry, value) in spool.entries().iter().zip([&first, &second]) {
            uids.search(&spool, entry, value, &HashSet::from([0, 1]));
        }
        let found = uids.findings();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].object, "things.example.org");
        assert!(
            found[0]
                .cause
                .starts_with("field spec.refs.uid of 1 object(s) holds the UID")
        );
    }
}
