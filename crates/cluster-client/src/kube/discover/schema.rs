//! Comparison of two versions' schemas, which finds the fields that one of them lacks.

use serde_json::Value;
use serde_json::value::RawValue;

/// Maximum number of fields that are named.
const MAX_FIELDS: usize = 8;

/// Returns the fields that `stored` has and `read` lacks: an object that is stored in one version loses
/// them when it is read in the other. Returns the first few, as `spec.replicas`.
pub(super) fn missing_fields(read: &RawValue, stored: &RawValue) -> Vec<String> {
    let schema = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    let mut fields = Vec::new();
    if let (Some(read), Some(stored)) = (schema(read), schema(stored)) {
        let (read, stored) = (read.get("openAPIV3Schema"), stored.get("openAPIV3Schema"));
        if let (Some(read), Some(stored)) = (read, stored) {
            compare(read, stored, &mut String::new(), &mut fields);
        }
    }
    fields
}

fn compare(read: &Value, stored: &Value, place: &mut String, fields: &mut Vec<String>) {
    let keeps = |what: &str| read.get(what) == Some(&Value::Bool(true));
    if keeps("x-kubernetes-preserve-unknown-fields") || keeps("x-kubernetes-embedded-resource") {
        return;
    }
    let length = place.len();
    for (below, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let (Some(read), Some(stored)) = (read.get(below), stored.get(below)) {
            place.push_str(mark);
            compare(read, stored, place, fields);
            place.truncate(length);
        }
    }
    let any = read
        .get("additionalProperties")
        .filter(|any| any.is_object());
    let any = any.filter(|_| read.get("properties").is_none());
    let wanted = stored.get("properties").and_then(Value::as_object);
    for (name, stored) in wanted.into_iter().flatten() {
        if fields.len() >= MAX_FIELDS {
            return;
        }
        if !place.is_empty() {
            place.push('.');
        }
        place.push_str(name);
        match read
            .pointer(&format!("/properties/{}", escaped(name)))
            .or(any)
        {
            Some(read) => compare(read, stored, place, fields),
            // Every object has these fields, whatever its schema says.
            None if length == 0 && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
            None => fields.push(place.clone()),
        }
        place.truncate(length);
    }
}

/// Escapes a field's name for a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(read: &Value, stored: &Value) -> Vec<String> {
        let schema = |of: &Value| {
            let whole = json!({ "openAPIV3Schema": { "type": "object", "properties": of } });
            RawValue::from_string(whole.to_string()).unwrap()
        };
        missing_fields(&schema(read), &schema(stored))
    }

    #[test]
    fn fields_of_the_one_that_the_other_lacks_are_named() {
        let stored = json!({
            "metadata": { "type": "object" },
            "spec": { "properties": {
                "both": { "type": "string" },
                "only": { "type": "string" },
                "a/b": { "properties": { "c": {} } },
                "list": { "items": { "properties": { "deep": {}, "too": {} } } },
                "map": { "additionalProperties": { "properties": { "here": {} } } },
            } },
        });
        assert!(fields(&stored, &stored).is_empty());
        let read = json!({ "spec": { "properties": {
            "both": { "type": "string" },
            "new": { "type": "string" },
            "a/b": { "properties": {} },
            "list": { "items": { "properties": { "too": {} } } },
            "map": { "additionalProperties": { "properties": {} } },
        } } });
        assert_eq!(
            fields(&read, &stored),
            [
                "spec.a/b.c",
                "spec.list[].deep",
                "spec.map.*.here",
                "spec.only"
            ]
        );
    }

    #[test]
    fn a_schema_that_keeps_what_it_does_not_know_lacks_nothing() {
        let stored = json!({ "spec": { "properties": { "only": {} } } });
        let open = json!({ "spec": { "x-kubernetes-preserve-unknown-fields": true } });
        assert!(fields(&open, &stored).is_empty());
        let map = json!({ "spec": { "additionalProperties": { "type": "string" } } });
        assert!(fields(&map, &stored).is_empty());
    }
}
