//! Schema of a custom kind, which finds the field of an object that its definition does not allow.
//!
//! It reads the structural schemas of `apiextensions.k8s.io/v1`, as the API server does when an object is
//! written. It does not check `format`.

mod rule;

use self::rule::Rule;
use crate::num::to_u64;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

/// Largest depth of a schema that is read; the API server accepts no deeper definitions.
const DEEPEST: usize = 256;
/// Largest size of a compiled pattern in bytes. A larger pattern is not checked.
const MAX_PATTERN: usize = 1 << 20;
/// Values of an `enum` in a message.
const MAX_VALUES: usize = 8;

/// Schema of one version of a custom kind.
#[derive(Debug)]
pub struct Schema {
    root: SchemaNode,
    /// Whether the schema has a CEL rule that can be evaluated.
    has_rules: bool,
}

/// First field of an object that the schema does not allow. It contains no value of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as `spec.ports[2].name`; empty for the object itself.
    pub field: String,
    /// Requirement of the schema.
    pub rule: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() {
            "the object"
        } else {
            &self.field
        };
        write!(f, "{field} {}", self.rule)
    }
}

#[derive(Debug, Default)]
struct SchemaNode {
    kind: Option<String>,
    nullable: bool,
    default: Option<Value>,
    int_or_string: bool,
    required: Vec<String>,
    properties: Vec<(String, SchemaNode)>,
    additional: Option<Box<SchemaNode>>,
    items: Option<Box<SchemaNode>>,
    values: Option<Vec<Value>>,
    minimum: Option<(f64, bool)>,
    maximum: Option<(f64, bool)>,
    multiple_of: Option<f64>,
    length: Bounds,
    count: Bounds,
    members: Bounds,
    pattern: Option<Regex>,
    all: Vec<SchemaNode>,
    any: Vec<SchemaNode>,
    one: Vec<SchemaNode>,
    not: Option<Box<SchemaNode>>,
    /// Whether a string has a format that rules read as another type, such as a time.
    is_formed: bool,
    rules: Vec<Rule>,
}

#[derive(Debug, Default)]
struct Bounds {
    least: Option<u64>,
    most: Option<u64>,
}

impl Schema {
    /// Reads the schema of `version` from a CustomResourceDefinition; `None` if it has none.
    #[must_use]
    pub fn of_definition(definition: &Value, version: &str) -> Option<Self> {
        let versions = definition.pointer("/spec/versions")?.as_array()?;
        let is_meant = |v: &&Value| v.get("name").and_then(Value::as_str) == Some(version);
        let meant = versions.iter().find(is_meant)?;
        let root = meant.pointer("/schema/openAPIV3Schema")?.as_object()?;
        let root = SchemaNode::read(root, DEEPEST);
        let has_rules = root.has_rules();
        Some(Self { root, has_rules })
    }

    /// Finds the first field of `object` that the schema does not allow. Fields with a default are filled in
    /// first, as the API server does.
    #[must_use]
    pub fn violation(&self, object: &Value) -> Option<Violation> {
        self.of_structure(&self.filled(object))
    }

    /// Finds the first field of `object` that the schema does not allow, or that breaks a CEL rule of the
    /// schema. A rule that cannot be evaluated here counts as kept: the API server's CEL has more functions.
    #[must_use]
    pub fn violation_or_broken_rule(&self, object: &Value) -> Option<Violation> {
        let object = self.filled(object);
        let found = self.of_structure(&object);
        found.or_else(|| self.has_rules.then(|| rule::broken(&self.root, &object))?)
    }

    fn filled(&self, object: &Value) -> Value {
        let mut object = object.clone();
        self.root.fill_in(&mut object);
        object
    }

    fn of_structure(&self, object: &Value) -> Option<Violation> {
        let mut field = String::new();
        let rule = self.root.violation(object, &mut field)?;
        Some(Violation { field, rule })
    }
}

impl SchemaNode {
    fn read(schema: &Map<String, Value>, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else {
            return Self::default();
        };
        let inner = |name: &str| {
            let inner = schema.get(name)?.as_object()?;
            Some(Box::new(Self::read(inner, depth)))
        };
        let each = |name: &str| {
            let listed = schema.get(name).and_then(Value::as_array);
            let listed = listed.into_iter().flatten().filter_map(Value::as_object);
            listed.map(|s| Self::read(s, depth)).collect()
        };
        let is = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let bound =
            |name: &str, exclusive: &str| Some((schema.get(name)?.as_f64()?, is(exclusive)));
        let range = |least: &str, most: &str| Bounds {
            least: schema.get(least).and_then(Value::as_u64),
            most: schema.get(most).and_then(Value::as_u64),
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.into_iter().flatten();
        let properties = properties
            .filter_map(|(name, s)| Some((name.clone(), Self::read(s.as_object()?, depth))));
        let required = schema.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let pattern = schema.get("pattern").and_then(Value::as_str);
        let pattern = pattern.and_then(|p| {
            let built = RegexBuilder::new(p).size_limit(MAX_PATTERN).build();
            built.ok()
        });
        Self {
            kind: schema
                .get("type")
                .and_then(Value::as_str)
                .map(str::to_owned),
            nullable: is("nullable"),
            default: schema.get("default").cloned(),
            int_or_string: is("x-kubernetes-int-or-string"),
            required: required.map(str::to_owned).collect(),
            properties: properties.collect(),
            additional: inner("additionalProperties"),
            items: inner("items"),
            values: schema.get("enum").and_then(Value::as_array).cloned(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: schema.get("multipleOf").and_then(Value::as_f64),
            length: range("minLength", "maxLength"),
            count: range("minItems", "maxItems"),
            members: range("minProperties", "maxProperties"),
            pattern,
            all: each("allOf"),
            any: each("anyOf"),
            one: each("oneOf"),
            not: inner("not"),
            is_formed: schema.contains_key("format") && !is("x-kubernetes-int-or-string"),
            rules: Rule::all_of(schema),
        }
    }

    /// Sets the defaults of the schema in `value`, where a field is missing, or is null and not nullable.
    fn fill_in(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, node) in &self.properties {
                    let lacks = match fields.get(name) {
                        None => true,
                        Some(held) => held.is_null() && !node.nullable,
                    };
                    if let Some(default) = node.default.as_ref().filter(|_| lacks) {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, held) in fields {
                    let known = self.properties.iter().find(|(known, _)| known == name);
                    let node = known.map(|(_, node)| node).or(self.additional.as_deref());
                    if let Some(node) = node {
                        node.fill_in(held);
                    }
                }
            }
            Value::Array(items) => {
                let node = self.items.as_deref();
                items.iter_mut().for_each(|item| {
                    if let Some(node) = node {
                        node.fill_in(item);
                    }
                });
            }
            _ => {}
        }
    }

    /// Returns the rule that `value` breaks. `field` is the path of `value`, and becomes that of the fault.
    fn violation(&self, value: &Value, field: &mut String) -> Option<String> {
        if value.is_null() && (self.nullable || self.kind.is_none()) {
            return None;
        }
        if let Some(rule) = self.of_type(value).or_else(|| self.of_value(value)) {
            return Some(rule);
        }
        let found = match value {
            Value::Object(fields) => self.of_object(fields, field),
            Value::Array(items) => self.of_array(items, field),
            _ => None,
        };
        found.or_else(|| self.of_parts(value, field))
    }

    fn of_type(&self, value: &Value) -> Option<String> {
        let is_integer =
            |n: &Number| n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|n| n.fract() == 0.0);
        if self.int_or_string {
            let fits = value.is_string() || value.as_number().is_some_and(is_integer);
            return (!fits).then(|| "must be an integer or a string".to_owned());
        }
        let kind = self.kind.as_deref()?;
        let fits = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_number().is_some_and(is_integer),
            "number" => value.is_number(),
            _ => true,
        };
        (!fits).then(|| format!("must be of type {kind}"))
    }

    fn of_value(&self, value: &Value) -> Option<String> {
        if let Some(values) = &self.values
            && !values.contains(value)
        {
            let first = values.iter().take(MAX_VALUES).map(Value::to_string);
            let first = first.collect::<Vec<_>>().join(", ");
            let more = if values.len() > MAX_VALUES {
                ", …"
            } else {
                ""
            };
            return Some(format!("must be one of {first}{more}"));
        }
        match value {
            Value::String(text) => {
                let length = to_u64(text.chars().count());
                if let Some(rule) = self.length.broken(length, "characters") {
                    return Some(rule);
                }
                let pattern = self.pattern.as_ref()?;
                (!pattern.is_match(text)).then(|| format!("must match the pattern {pattern}"))
            }
            Value::Number(number) => self.of_number(number.as_f64()?),
            _ => None,
        }
    }

    fn of_number(&self, number: f64) -> Option<String> {
        if let Some((least, exclusive)) = self.minimum
            && (number < least || (exclusive && number <= least))
        {
            let than = if exclusive {
                "greater than"
            } else {
                "at least"
            };
            return Some(format!("must be {than} {least}"));
        }
        if let Some((most, exclusive)) = self.maximum
            && (number > most || (exclusive && number >= most))
        {
            let than = if exclusive { "less than" } else { "at most" };
            return Some(format!("must be {than} {most}"));
        }
        let of = self.multiple_of.filter(|of| *of > 0.0)?;
        let times = number / of;
        let off = (times - times.round()).abs();
        (off > 1e-9).then(|| format!("must be a multiple of {of}"))
    }

    fn of_object(&self, fields: &Map<String, Value>, field: &mut String) -> Option<String> {
        if let Some(name) = self.required.iter().find(|r| !fields.contains_key(*r)) {
            step(field, name);
            return Some("is required and missing".to_owned());
        }
        let count = to_u64(fields.len());
        if let Some(rule) = self.members.broken(count, "fields") {
            return Some(rule);
        }
        for (name, value) in fields {
            let known = self.properties.iter().find(|(known, _)| known == name);
            let node = known.map(|(_, node)| node).or(self.additional.as_deref());
            let Some(node) = node else { continue };
            let length = field.len();
            step(field, name);
            if let Some(rule) = node.violation(value, field) {
                return Some(rule);
            }
            field.truncate(length);
        }
        None
    }

    fn of_array(&self, items: &[Value], field: &mut String) -> Option<String> {
        let count = to_u64(items.len());
        if let Some(rule) = self.count.broken(count, "items") {
            return Some(rule);
        }
        let node = self.items.as_deref()?;
        for (at, item) in items.iter().enumerate() {
            let length = field.len();
            field.push_str(&format!("[{at}]"));
            if let Some(rule) = node.violation(item, field) {
                return Some(rule);
            }
            field.truncate(length);
        }
        None
    }

    /// Checks `allOf`, `anyOf`, `oneOf` and `not`, whose parts have no types of their own.
    fn of_parts(&self, value: &Value, field: &mut String) -> Option<String> {
        for node in &self.all {
            if let Some(rule) = node.violation(value, field) {
                return Some(rule);
            }
        }
        let length = field.len();
        let fits = |nodes: &[Self], field: &mut String| {
            let fitting = nodes.iter().filter(|node| {
                let is_fit = node.violation(value, field).is_none();
                field.truncate(length);
                is_fit
            });
            fitting.count()
        };
        if !self.any.is_empty() && fits(&self.any, field) == 0 {
            return Some("must match one of the choices of its schema".to_owned());
        }
        if !self.one.is_empty() && fits(&self.one, field) != 1 {
            return Some("must match exactly one of the choices of its schema".to_owned());
        }
        let not = self.not.as_deref()?;
        let is_fit = not.violation(value, field).is_none();
        field.truncate(length);
        is_fit.then(|| "must not match its schema's `not`".to_owned())
    }
}

impl Bounds {
    fn broken(&self, count: u64, what: &str) -> Option<String> {
        if let Some(least) = self.least.filter(|least| count < *least) {
            return Some(format!("must have at least {least} {what}"));
        }
        let most = self.most.filter(|most| count > *most)?;
        Some(format!("must have at most {most} {what}"))
    }
}

fn step(field: &mut String, name: &str) {
    if !field.is_empty() {
        field.push('.');
    }
    field.push_str(name);
}

#[cfg(test)]
mod tests;
