//! Conversion of definitions that keep unknown fields in the `v1beta1` way to the `v1` way.
//!
//! The API server still stores and serves `spec.preserveUnknownFields: true`, but refuses it in a
//! write. `x-kubernetes-preserve-unknown-fields` at every place of the schema means the same.

use serde_json::{Map, Value, json};

const KEEPS: &str = "x-kubernetes-preserve-unknown-fields";
/// Deepest level of a schema that is converted; the API server accepts no deeper schemas.
const DEEPEST: usize = 256;
/// Note for the operator about such a definition.
pub(super) const NOTE: &str = "spec.preserveUnknownFields was true, which is no longer accepted: \
     it is set to false, and the schema keeps unknown fields with \
     x-kubernetes-preserve-unknown-fields";

/// Reports whether the definition keeps unknown fields in the old way.
pub(super) fn is_old(crd: &Value) -> bool {
    crd.pointer("/spec/preserveUnknownFields") == Some(&json!(true))
}

/// Converts the definition to the new way; any other definition stays unchanged.
pub(super) fn renew(crd: &mut Value) {
    if !is_old(crd) {
        return;
    }
    let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    spec.insert("preserveUnknownFields".to_owned(), json!(false));
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        let Some(version) = version.as_object_mut() else {
            continue;
        };
        let schema = version.entry("schema").or_insert_with(|| json!({}));
        let Some(schema) = schema.as_object_mut() else {
            continue;
        };
        let root = schema
            .entry("openAPIV3Schema")
            .or_insert_with(|| json!({ "type": "object" }));
        if let Some(root) = root.as_object_mut() {
            root.entry("type").or_insert_with(|| json!("object"));
            keep(root, true, DEEPEST);
        }
    }
}

/// Makes every object of the schema keep fields that it does not name. `whole` means that the
/// object has its own metadata.
fn keep(schema: &mut Map<String, Value>, whole: bool, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let has = |schema: &Map<String, Value>, name: &str| schema.contains_key(name);
    let any = !has(schema, "type") && !has(schema, "x-kubernetes-int-or-string");
    if any && has(schema, "items") {
        schema.insert("type".to_owned(), json!("array"));
    } else if any && (has(schema, "properties") || has(schema, "additionalProperties")) {
        schema.insert("type".to_owned(), json!("object"));
    }
    let is_object = schema.get("type") == Some(&json!("object"));
    let any = !has(schema, "type") && !has(schema, "x-kubernetes-int-or-string");
    // The schema of a map's values already covers all its fields.
    if any || (is_object && !has(schema, "additionalProperties")) {
        schema.insert(KEEPS.to_owned(), json!(true));
    }
    let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&json!(true));
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            // The API server defines these fields and refuses the extension on them.
            let own =
                (whole || embedded) && ["apiVersion", "kind", "metadata"].contains(&name.as_str());
            if let Some(property) = property.as_object_mut().filter(|_| !own) {
                keep(property, false, depth);
            }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner).and_then(Value::as_object_mut) {
            keep(inner, false, depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_keeps_what_it_does_not_name() {
        let mut crd = json!({ "spec": { "preserveUnknownFields": true, "versions": [
            { "name": "v1" },
            { "name": "v2", "schema": { "openAPIV3Schema": {
                "properties": {
                    "metadata": { "type": "object" },
                    "spec": { "type": "object", "properties": {
                        "any": {},
                        "n": { "type": "integer" },
                        "port": { "x-kubernetes-int-or-string": true },
                        "list": { "items": { "properties": { "a": { "type": "string" } } } },
                        "map": { "type": "object", "additionalProperties": { "type": "object" } },
                    } },
                },
            } } },
        ] } });
        renew(&mut crd);
        assert_eq!(crd["spec"]["preserveUnknownFields"], false);
        let bare = json!({ "type": "object", KEEPS: true });
        assert_eq!(
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            bare
        );
        let schema = json!({
            "type": "object", KEEPS: true,
            "properties": {
                "metadata": { "type": "object" },
                "spec": { "type": "object", KEEPS: true, "properties": {
                    "any": { KEEPS: true },
                    "n": { "type": "integer" },
                    "port": { "x-kubernetes-int-or-string": true },
                    "list": { "type": "array", "items": {
                        "type": "object", KEEPS: true, "properties": { "a": { "type": "string" } },
                    } },
                    "map": { "type": "object", "additionalProperties": bare },
                } },
            },
        });
        assert_eq!(
            crd["spec"]["versions"][1]["schema"]["openAPIV3Schema"],
            schema
        );
        let again = crd.clone();
        renew(&mut crd);
        assert_eq!(crd, again);
    }
}
