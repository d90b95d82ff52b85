//! Field value that a person supplies for objects which their definition rejects.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use backup_core::archive::{ResourceName, Schema};

/// Largest number of wrong fields that are filled in one object; a list may have one in each item.
const MAX_FIELDS: usize = 10_000;

/// Value of a field, as `KIND.FIELD=VALUE`, for the objects of a kind that lack the field, or whose
/// value there is rejected by their definition.
///
/// KIND is the full name, such as `gadgets.example.org`. FIELD is, for example,
/// `spec.ports[*].name` or `spec.list[0].n`. VALUE is JSON, or else text. The plan contains it in
/// plain text, so Secrets are not filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fill {
    place: String,
    value: Value,
}

/// Reason why a fill cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The field or the value is missing.
    #[error("want KIND.FIELD=VALUE, as gadgets.example.org.spec.size=3")]
    Form,
    /// The plan would contain a secret.
    #[error("a Secret cannot be filled: the value would be in the plan")]
    Secret,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment<'a> {
    Name(&'a str),
    At(usize),
    Each,
}

impl FromStr for Fill {
    type Err = FillError;

    fn from_str(text: &str) -> Result<Self, FillError> {
        let (place, value) = text.split_once('=').ok_or(FillError::Form)?;
        let (kind, field) = place.split_once('.').ok_or(FillError::Form)?;
        if kind.is_empty() || segments(field).is_none() {
            return Err(FillError::Form);
        }
        if kind == "secrets" {
            return Err(FillError::Secret);
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok(Self {
            place: place.to_owned(),
            value,
        })
    }
}

impl TryFrom<String> for Fill {
    type Error = FillError;

    fn try_from(text: String) -> Result<Self, FillError> {
        text.parse()
    }
}

impl From<Fill> for String {
    fn from(fill: Fill) -> Self {
        format!("{}={}", fill.place, fill.value)
    }
}

impl Fill {
    /// Returns the field if the fill is for objects of `resource`.
    #[must_use]
    pub fn field(&self, resource: &ResourceName) -> Option<&str> {
        self.place
            .strip_prefix(resource.as_str())?
            .strip_prefix('.')
    }

    /// Returns the kind and the field, without the value.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Writes the value where `object` lacks the field, or where `schema` rejects its value.
    /// Returns whether something was written.
    pub fn apply(
        &self,
        resource: &ResourceName,
        object: &mut Value,
        schema: Option<&Schema>,
    ) -> bool {
        let Some(path) = self.field(resource).and_then(segments) else {
            return false;
        };
        let mut written = lacking(object, &path, &self.value);
        for _ in 0..MAX_FIELDS {
            let Some(violation) = schema.and_then(|schema| schema.violation(object)) else {
                break;
            };
            let Some(place) = segments(&violation.field).filter(|place| covers(&path, place))
            else {
                break;
            };
            let Some(held) = at(object, &place).filter(|held| **held != self.value) else {
                break;
            };
            *held = self.value.clone();
            written = true;
        }
        written
    }
}

/// Parses the parts of a field; `None` if it is malformed.
fn segments(field: &str) -> Option<Vec<Segment<'_>>> {
    let mut path = Vec::new();
    for part in field.split('.') {
        let (name, mut indices) = part.split_once('[').unwrap_or((part, ""));
        if name.is_empty() {
            return None;
        }
        path.push(Segment::Name(name));
        while !indices.is_empty() {
            let (index, rest) = indices.split_once(']')?;
            path.push(match index {
                "*" => Segment::Each,
                index => Segment::At(index.parse().ok()?),
            });
            indices = match rest {
                "" => rest,
                rest => rest.strip_prefix('[')?,
            };
        }
    }
    Some(path)
}

fn covers(path: &[Segment<'_>], place: &[Segment<'_>]) -> bool {
    let covered = |(path, place): (&Segment<'_>, &Segment<'_>)| {
        path == place || (*path == Segment::Each && matches!(place, Segment::At(_)))
    };
    path.len() == place.len() && path.iter().zip(place).all(covered)
}

/// Writes `value` at every `path` that is empty; creates objects on the way.
fn lacking(object: &mut Value, path: &[Segment<'_>], value: &Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        let lacks = object.is_null();
        if lacks {
            *object = value.clone();
        }
        return lacks;
    };
    match (first, object) {
        (Segment::Name(name), object @ (Value::Object(_) | Value::Null)) => {
            if object.is_null() {
                *object = Value::Object(Map::new());
            }
            let Some(fields) = object.as_object_mut() else {
                return false;
            };
            let field = fields.entry((*name).to_owned()).or_insert(Value::Null);
            let written = lacking(field, rest, value);
            if field.is_null() {
                fields.remove(*name);
            }
            written
        }
        (Segment::At(at), Value::Array(items)) => items
            .get_mut(*at)
            .is_some_and(|item| lacking(item, rest, value)),
        (Segment::Each, Value::Array(items)) => {
            let mut written = false;
            for item in items {
                written |= lacking(item, rest, value);
            }
            written
        }
        _ => false,
    }
}

fn at<'v>(object: &'v mut Value, path: &[Segment<'_>]) -> Option<&'v mut Value> {
    path.iter().try_fold(object, |held, segment| match segment {
        Segment::Name(name) => held.get_mut(*name),
        Segment::At(at) => held.get_mut(*at),
        Segment::Each => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let definition = json!({ "spec": { "versions": [{ "name": "v1", "schema": {
            "openAPIV3Schema": { "type": "object", "properties": { "spec": {
                "type": "object", "required": ["size"], "properties": {
                    "size": { "type": "integer", "maximum": 3 },
                    "ports": { "type": "array", "items": {
                        "type": "object", "required": ["name"],
                        "properties": { "name": { "type": "string" } },
                    } },
                },
            } } },
        } }] } });
        Schema::of_definition(&definition, "v1").unwrap()
    }

    #[test]
    fn what_is_missing_or_not_admitted_is_filled_and_the_rest_stays() {
        let kind = ResourceName::from("gadgets.example.org");
        for (fill, spec, filled) in [
            ("spec.size=3", json!({}), Some(json!({ "size": 3 }))),
            (
                "spec.size=3",
                json!({ "size": 9 }),
                Some(json!({ "size": 3 })),
            ),
            ("spec.size=3", json!({ "size": 1 }), None),
            (
                "spec.ports[*].name=web",
                json!({ "size": 1, "ports": [{}, { "name": "a" }, { "name": 5 }] }),
                Some(
                    json!({ "size": 1, "ports": [{ "name": "web" }, { "name": "a" }, { "name": "web" }] }),
                ),
            ),
            (
                "spec.ports[1].name=web",
                json!({ "size": 1, "ports": [{}, {}] }),
                Some(json!({ "size": 1, "ports": [{}, { "name": "web" }] })),
            ),
            ("spec.ports[*].name=web", json!({ "size": 1 }), None),
        ] {
            let fill: Fill = format!("{kind}.{fill}").parse().unwrap();
            let mut object = json!({ "spec": spec });
            let written = fill.apply(&kind, &mut object, Some(&schema()));
            assert_eq!(written, filled.is_some(), "{object}");
            assert_eq!(object["spec"], filled.unwrap_or(spec));
            let text = serde_json::to_string(&fill).unwrap();
            assert_eq!(serde_json::from_str::<Fill>(&text).unwrap(), fill);
        }
        let other = ResourceName::from("gadgets.example.com");
        let fill: Fill = "gadgets.example.org.spec.size=3".parse().unwrap();
        assert_eq!(fill.field(&other), None);
    }

    #[test]
    fn a_fill_that_cannot_be_used_says_why() {
        for (text, error) in [
            ("spec", FillError::Form),
            ("gadgets=3", FillError::Form),
            ("gadgets.spec[x]=3", FillError::Form),
            ("gadgets..size=3", FillError::Form),
            ("secrets.data.a=b", FillError::Secret),
        ] {
            assert_eq!(text.parse::<Fill>(), Err(error), "{text}");
        }
    }
}
