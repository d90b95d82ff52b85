use serde_json::json;

use super::*;

fn violation(schema: &Value, object: &Value) -> Option<String> {
    let definition = json!({ "spec": { "versions": [
        { "name": "v1", "schema": { "openAPIV3Schema": schema } },
    ] } });
    let schema = Schema::of_definition(&definition, "v1").unwrap();
    schema.violation(object).map(|v| v.to_string())
}

#[test]
fn each_keyword_is_judged_at_its_field() {
    let spec = |schema: Value| {
        json!({ "type": "object", "properties": { "spec": {
            "type": "object", "properties": { "a": schema },
        } } })
    };
    for (schema, good, bad, rule) in [
        (
            json!({ "type": "integer" }),
            json!(3),
            json!("3"),
            "must be of type integer",
        ),
        (
            json!({ "type": "integer" }),
            json!(3.0),
            json!(3.5),
            "must be of type integer",
        ),
        (
            json!({ "type": "string", "nullable": true }),
            Value::Null,
            json!(1),
            "must be of type string",
        ),
        (
            json!({ "x-kubernetes-int-or-string": true }),
            json!("80%"),
            json!(true),
            "must be an integer or a string",
        ),
        (
            json!({ "type": "string", "enum": ["x", "y"] }),
            json!("x"),
            json!("z"),
            "must be one of \"x\", \"y\"",
        ),
        (
            json!({ "type": "integer", "minimum": 1 }),
            json!(1),
            json!(0),
            "must be at least 1",
        ),
        (
            json!({ "type": "integer", "maximum": 5, "exclusiveMaximum": true }),
            json!(4),
            json!(5),
            "must be less than 5",
        ),
        (
            json!({ "type": "number", "multipleOf": 0.1 }),
            json!(0.3),
            json!(0.35),
            "must be a multiple of 0.1",
        ),
        (
            json!({ "type": "string", "maxLength": 2 }),
            json!("éé"),
            json!("abc"),
            "must have at most 2 characters",
        ),
        (
            json!({ "type": "string", "pattern": "^[a-z]+$" }),
            json!("abc"),
            json!("ABC"),
            "must match the pattern ^[a-z]+$",
        ),
        (
            json!({ "type": "array", "minItems": 1, "items": {} }),
            json!([1]),
            json!([]),
            "must have at least 1 items",
        ),
        (
            json!({ "anyOf": [{ "required": ["b"] }, { "required": ["c"] }], "type": "object" }),
            json!({ "c": 1 }),
            json!({}),
            "must match one of the choices of its schema",
        ),
        (
            json!({ "oneOf": [{ "required": ["b"] }, { "required": ["c"] }], "type": "object" }),
            json!({ "c": 1 }),
            json!({ "b": 1, "c": 1 }),
            "must match exactly one of the choices of its schema",
        ),
        (
            json!({ "not": { "required": ["b"] }, "type": "object" }),
            json!({}),
            json!({ "b": 1 }),
            "must not match its schema's `not`",
        ),
    ] {
        let object = |a: &Value| json!({ "spec": { "a": a } });
        assert_eq!(
            violation(&spec(schema.clone()), &object(&good)),
            None,
            "{schema}"
        );
        let found = violation(&spec(schema.clone()), &object(&bad));
        assert_eq!(found, Some(format!("spec.a {rule}")), "{schema}");
    }
}

#[test]
fn what_has_a_default_is_not_missing() {
    let schema = json!({ "type": "object", "properties": { "spec": {
        "type": "object", "default": {}, "required": ["size"],
        "oneOf": [{ "required": ["size"] }, { "required": ["weight"] }],
        "properties": {
            "size": { "type": "integer", "default": 1 },
            "ports": { "type": "array", "items": {
                "type": "object", "required": ["protocol"],
                "properties": { "protocol": { "type": "string", "default": "TCP" } },
            } },
        },
    } } });
    for object in [
        json!({}),
        json!({ "spec": {} }),
        json!({ "spec": { "size": null } }),
        json!({ "spec": { "ports": [{}] } }),
    ] {
        assert_eq!(violation(&schema, &object), None, "{object}");
    }
    let wrong = json!({ "spec": { "size": "1" } });
    let told = "spec.size must be of type integer";
    assert_eq!(violation(&schema, &wrong).as_deref(), Some(told));
}

#[test]
fn the_place_of_a_fault_is_told_in_lists_and_maps() {
    let schema = json!({ "type": "object", "properties": { "spec": { "type": "object",
        "required": ["size"],
        "properties": {
            "list": { "type": "array", "items": { "type": "object", "required": ["name"] } },
            "map": { "type": "object", "additionalProperties": { "type": "integer" } },
        } } } });
    for (spec, told) in [
        (json!({ "size": 1, "unknown": true }), None),
        (json!({}), Some("spec.size is required and missing")),
        (
            json!({ "size": 1, "list": [{ "name": "a" }, {}] }),
            Some("spec.list[1].name is required and missing"),
        ),
        (
            json!({ "size": 1, "map": { "b": "x" } }),
            Some("spec.map.b must be of type integer"),
        ),
    ] {
        let found = violation(&schema, &json!({ "spec": spec }));
        assert_eq!(found.as_deref(), told, "{spec}");
    }
}
