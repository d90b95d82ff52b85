//! CEL rules of a schema, `x-kubernetes-validations`, which reject a value only if a rule clearly does not
//! allow it.
//!
//! The API server's CEL has functions of its own, types from the schema, and the old object. A rule that
//! needs one of these fails here, or is not read at all. It then counts as kept.

use std::collections::HashMap;
use std::thread;

use cel::{Context, Program, Value as Cel};
use serde_json::{Map, Value};

use super::{SchemaNode, Violation, step};

/// Largest size of a rule in bytes.
const MAX_TEXT: usize = 1024;
/// Largest number of operators and brackets in a rule.
const MAX_PARTS: usize = 64;
/// Stack for evaluating a rule. Parser and evaluation take up to 200 KiB for each nested part, in builds
/// without optimisation.
const STACK: usize = 32 << 20;
/// Largest number of values, nested ones included, that a rule evaluates: it may visit each of them for each.
const MAX_VALUES: usize = 500;
/// Characters of a rule's own message.
const MAX_MESSAGE: usize = 200;
/// Words of rules that are not supported here, or have another type than in the API server.
const UNKNOWN: [&str; 4] = ["oldSelf", "type(", ".?", "optional."];
/// Names of fields that are reserved words in CEL.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Rule that is ready to evaluate.
#[derive(Debug)]
pub(super) struct Rule {
    program: Program,
    message: String,
}

impl Rule {
    /// Reads the rules of a schema that can be evaluated here.
    pub(super) fn all_of(schema: &Map<String, Value>) -> Vec<Self> {
        let rules = schema.get("x-kubernetes-validations");
        let rules = rules.and_then(Value::as_array).into_iter().flatten();
        rules.filter_map(Self::read).collect()
    }

    fn read(rule: &Value) -> Option<Self> {
        let text = rule.get("rule")?.as_str()?;
        let parts = text.bytes().filter(|b| b"+-*/%<>=!&|?([{".contains(b));
        let is_known = !UNKNOWN.iter().any(|word| text.contains(word));
        if text.len() > MAX_TEXT || parts.count() > MAX_PARTS || !is_known {
            return None;
        }
        let program = apart(|| Program::compile(text).ok())?;
        let words = rule.get("message").and_then(Value::as_str);
        let words = words.map_or_else(|| format!("`{text}`"), str::to_owned);
        let words: String = words.chars().take(MAX_MESSAGE).collect();
        Some(Self {
            program,
            message: format!("breaks a rule of its definition: {words}"),
        })
    }

    /// Whether the rule clearly rejects the value.
    fn is_broken(&self, value: &Cel) -> bool {
        let mut context = Context::default();
        context.add_variable_from_value("self", value.clone());
        matches!(self.program.execute(&context), Ok(Cel::Bool(false)))
    }
}

/// Finds the first field of `object` that breaks a rule of the schema `root`.
pub(super) fn broken(root: &SchemaNode, object: &Value) -> Option<Violation> {
    apart(|| {
        let mut field = String::new();
        let rule = root.broken_rule(object, &mut field)?;
        Some(Violation { field, rule })
    })
}

/// Does `work` on a thread with a large stack, and waits for its result. Returns `None` if `work` panics, or
/// the thread cannot be started.
fn apart<T: Send>(work: impl FnOnce() -> Option<T> + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, work).ok()?.join().ok()?
    })
}

impl SchemaNode {
    /// Returns the first rule that `value` or a value below it breaks. `field` is the path of `value`, and
    /// becomes that of the fault.
    fn broken_rule(&self, value: &Value, field: &mut String) -> Option<String> {
        if value.is_null() {
            return None;
        }
        if !self.rules.is_empty() {
            let mut left = MAX_VALUES;
            let typed = self.typed(value, &mut left);
            let mut rules = self.rules.iter();
            let broken = typed.and_then(|typed| rules.find(|rule| rule.is_broken(&typed)));
            if let Some(rule) = broken {
                return Some(rule.message.clone());
            }
        }
        let length = field.len();
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let Some(node) = self.below(name) else {
                        continue;
                    };
                    step(field, name);
                    if let Some(rule) = node.broken_rule(value, field) {
                        return Some(rule);
                    }
                    field.truncate(length);
                }
            }
            Value::Array(items) => {
                let node = self.items.as_deref()?;
                for (at, item) in items.iter().enumerate() {
                    field.push_str(&format!("[{at}]"));
                    if let Some(rule) = node.broken_rule(item, field) {
                        return Some(rule);
                    }
                    field.truncate(length);
                }
            }
            _ => {}
        }
        None
    }

    /// Whether there is a rule here or below.
    pub(super) fn has_rules(&self) -> bool {
        let fields = self.properties.iter().map(|(_, node)| node);
        let inner = [&self.additional, &self.items].into_iter().flatten();
        let mut below = fields.chain(inner.map(Box::as_ref));
        !self.rules.is_empty() || below.any(Self::has_rules)
    }

    /// Returns the schema of a field.
    fn below(&self, name: &str) -> Option<&Self> {
        let known = self.properties.iter().find(|(known, _)| known == name);
        known.map(|(_, node)| node).or(self.additional.as_deref())
    }

    /// Returns the value as rules see it: with the schema's types, and with only the schema's fields. `None`
    /// if it has too many values, or one whose type is not known here.
    fn typed(&self, value: &Value, left: &mut usize) -> Option<Cel> {
        *left = left.checked_sub(1)?;
        Some(match value {
            Value::Null => Cel::Null,
            Value::Bool(value) => Cel::Bool(*value),
            Value::Number(number) if self.kind.as_deref() == Some("number") => {
                Cel::Float(number.as_f64()?)
            }
            Value::Number(number) => Cel::Int(number.as_i64()?),
            Value::String(_) if self.is_formed => return None,
            Value::String(text) => text.as_str().into(),
            Value::Array(items) => {
                let node = self.items.as_deref()?;
                let items = items.iter().map(|item| node.typed(item, left));
                items.collect::<Option<Vec<Cel>>>()?.into()
            }
            Value::Object(fields) => {
                let mut typed: HashMap<String, Cel> = HashMap::new();
                for (name, value) in fields {
                    let Some(node) = self.below(name) else {
                        continue;
                    };
                    let of_map = self.additional.is_some();
                    let name = if of_map { name.clone() } else { escaped(name) };
                    typed.insert(name, node.typed(value, left)?);
                }
                typed.into()
            }
        })
    }
}

/// Returns the name of a field as rules write it.
fn escaped(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    use super::super::Schema;
    use serde_json::{Value, json};

    fn broken(schema: &Value, object: &Value) -> Option<String> {
        let definition = json!({ "spec": { "versions": [
            { "name": "v1", "schema": { "openAPIV3Schema": schema } },
        ] } });
        let schema = Schema::of_definition(&definition, "v1").unwrap();
        schema
            .violation_or_broken_rule(object)
            .map(|v| v.to_string())
    }

    fn spec(rules: &Value) -> Value {
        json!({ "type": "object", "properties": { "spec": {
            "type": "object", "x-kubernetes-validations": rules,
            "properties": {
                "least": { "type": "integer", "default": 1 },
                "most": { "type": "integer" },
                "share": { "type": "number" },
                "names": { "type": "array", "items": {
                    "type": "string",
                    "x-kubernetes-validations": [{ "rule": "self.startsWith(\"a\")" }],
                } },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                "with-dash": { "type": "string" },
                "namespace": { "type": "string" },
                "at": { "type": "string", "format": "date-time" },
                "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            },
        } } })
    }

    #[test]
    fn a_rule_that_is_clearly_broken_is_told_at_its_field() {
        let rule = |rule: &str| json!([{ "rule": rule, "message": "no" }]);
        let told = "spec breaks a rule of its definition: no";
        for (text, good, bad) in [
            (
                "self.least <= self.most",
                json!({ "least": 1, "most": 1 }),
                json!({ "least": 2, "most": 1 }),
            ),
            (
                "self.least <= self.most",
                json!({ "most": 1 }),
                json!({ "most": 0 }),
            ),
            (
                "self.share < 1.5",
                json!({ "share": 1 }),
                json!({ "share": 2 }),
            ),
            (
                "has(self.labels) && self.labels.all(k, k != \"a-b\")",
                json!({ "labels": { "a": "b" } }),
                json!({ "labels": { "a-b": "b" } }),
            ),
            (
                "!has(self.most) || self.most in [1, 2]",
                json!({}),
                json!({ "most": 3 }),
            ),
            (
                "self.with__dash__dash.matches(\"^[a-z]+$\")",
                json!({ "with-dash": "a" }),
                json!({ "with-dash": "A" }),
            ),
            (
                "self.__namespace__ != \"default\"",
                json!({ "namespace": "a" }),
                json!({ "namespace": "default" }),
            ),
            (
                "size(self.names) < 2",
                json!({ "names": ["a"] }),
                json!({ "names": ["a", "ab"] }),
            ),
        ] {
            let schema = spec(&rule(text));
            assert_eq!(broken(&schema, &json!({ "spec": good })), None, "{text}");
            let found = broken(&schema, &json!({ "spec": bad }));
            assert_eq!(found.as_deref(), Some(told), "{text}");
        }
        let found = broken(
            &spec(&json!([])),
            &json!({ "spec": { "names": ["ab", "b"] } }),
        );
        let told = "spec.names[1] breaks a rule of its definition: `self.startsWith(\"a\")`";
        assert_eq!(found.as_deref(), Some(told));
    }

    #[test]
    fn what_cannot_be_judged_here_counts_as_kept() {
        let most = json!({ "spec": { "most": 0, "at": "2026-01-01T00:00:00Z" } });
        for text in [
            "self.most == oldSelf.most",
            "quantity(string(self.most)).isGreaterThan(quantity(\"1\"))",
            "self.?most.orValue(1) == 1",
            "type(self.most) == string",
            "self.at > timestamp(\"2027-01-01T00:00:00Z\")",
            "self.free.a == 1",
            "self.most ==",
            "",
            &format!("self.most == {}1", "1+".repeat(400)),
            &format!("{}false{}", "(".repeat(500), ")".repeat(500)),
        ] {
            let schema = spec(&json!([{ "rule": text }]));
            assert_eq!(broken(&schema, &most), None, "{text}");
        }
        let many: Vec<String> = (0..600).map(|n| format!("a{n}")).collect();
        let schema = spec(&json!([{ "rule": "size(self.names) < 2" }]));
        assert_eq!(broken(&schema, &json!({ "spec": { "names": many } })), None);
    }

    #[test]
    fn the_deepest_rule_that_is_read_fits_the_stack() {
        for text in [
            format!("{}1", "1+".repeat(super::MAX_PARTS)),
            format!(
                "{0}1{1}",
                "(".repeat(super::MAX_PARTS),
                ")".repeat(super::MAX_PARTS)
            ),
            format!(
                "{0}1{1}",
                "[".repeat(super::MAX_PARTS),
                "]".repeat(super::MAX_PARTS)
            ),
            format!("{}1", "true?1:".repeat(super::MAX_PARTS)),
            format!("{}1", "1<".repeat(super::MAX_PARTS)),
            format!("self{}", ".a".repeat(500)),
            format!("{}true{}", "[1].all(x,".repeat(32), ")".repeat(32)),
        ] {
            let schema = spec(&json!([{ "rule": text }]));
            let judged = broken(&schema, &json!({ "spec": { "most": 1 } }));
            assert_eq!(judged, None, "{text}");
        }
    }
}
