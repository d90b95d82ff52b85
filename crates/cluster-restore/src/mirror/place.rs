//! Path of an object's file in the mirror, and its text.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::redact::RedactedObject;
use crate::git::parse;
use backup_core::archive::{ObjectPath, ResourceName, same, serialize_number};
use backup_core::shortlist::shorten;

/// Folder of definitions.
pub(super) const CRDS: &str = "crds";
/// Folder of all other objects, with a folder for each kind.
pub(super) const RESOURCES: &str = "resources";
/// Kind of definitions.
pub(super) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// First line of each file: only a file that begins with it is ever removed.
pub(super) const MARK: &str =
    "# Written by butler-backup out of a restore point; what is changed here is overwritten.\n";
/// Longest part of a path; a file's name may have 255 bytes.
const LONGEST: usize = 200;
/// Largest number of left-out fields that a file lists.
const MAX_LEFT_OUT: usize = 20;
/// Name that kustomize would take for its own file.
const KUSTOMIZATION: &str = "kustomization";

/// Returns the path of an object's file, below the mirror's folder.
pub(super) fn place(path: &ObjectPath) -> String {
    let name = part(&path.name);
    if path.resource.as_str() == DEFINITIONS {
        return format!("{CRDS}/{name}.yaml");
    }
    let kind = kind(&path.resource);
    match &path.namespace {
        Some(namespace) => format!("{RESOURCES}/{kind}/{}/{name}.yaml", part(namespace)),
        None => format!("{RESOURCES}/{kind}/{name}.yaml"),
    }
}

/// Whether a file contains a definition.
pub(super) fn is_definition(place: &str) -> bool {
    place
        .split_once('/')
        .is_some_and(|(folder, _)| folder == CRDS)
}

/// Returns the folder of a kind, below [`RESOURCES`].
pub(super) fn kind(resource: &ResourceName) -> String {
    part(resource.as_str())
}

/// Encodes a name as a part of a path: lowercase letters, digits, `.` and `-` stay as they are.
fn part(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => part.push(char::from(byte)),
            b'.' if at > 0 => part.push('.'),
            // Writing to a String cannot fail.
            other => drop(write!(part, "_{other:02x}")),
        }
    }
    if part == KUSTOMIZATION {
        part.push('_');
    }
    if part.len() > LONGEST {
        let digest = hex::encode(Sha256::digest(name.as_bytes()));
        part.truncate(LONGEST);
        part.push('_');
        part.push_str(digest.get(..16).unwrap_or_default());
    }
    part
}

/// Returns the text of an object's file.
pub(super) fn text(plain: &RedactedObject) -> String {
    let mut text = MARK.to_owned();
    if !plain.left_out.is_empty() {
        let told = plain.left_out.iter().map(|field| {
            let field = field.chars().filter(|c| !c.is_control());
            field.collect::<String>()
        });
        let told = shorten(told, MAX_LEFT_OUT);
        text.push_str(&format!("# Left out, as it may be secret: {told}\n"));
    }
    text.push_str(&yaml(&plain.value));
    text
}

fn yaml(value: &Value) -> String {
    // Lines are not folded: a folded one would change with a word.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let text = serde_saphyr::to_string_with_options(&YamlValue(value), options);
    // Text that a restore would read as another value is written as JSON, which is YAML too.
    let text = text
        .ok()
        .filter(|text| parse(text).is_ok_and(|read| same(&read, value)));
    text.unwrap_or_else(|| format!("{value:#}\n"))
}

/// Value whose numbers are written as numbers, not as the texts that they are kept as.
struct YamlValue<'v>(&'v Value);

impl Serialize for YamlValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key, &YamlValue(value))?;
                }
                out.end()
            }
            Value::Array(items) => {
                let mut out = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    out.serialize_element(&YamlValue(item))?;
                }
                out.end()
            }
            Value::Number(number) => serialize_number(number, serializer),
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::read_back;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(resource: &str, namespace: Option<&str>, name: &str) -> ObjectPath {
        ObjectPath {
            resource: ResourceName::from(resource),
            namespace: namespace.map(ToOwned::to_owned),
            name: name.to_owned(),
        }
    }

    #[test]
    fn each_object_has_a_file_of_its_own_that_is_no_others() {
        let kinds = "teams.butler.butlerlabs.dev";
        for (path, file) in [
            (
                object(DEFINITIONS, None, kinds),
                "crds/teams.butler.butlerlabs.dev.yaml",
            ),
            (
                object(kinds, None, "a"),
                "resources/teams.butler.butlerlabs.dev/a.yaml",
            ),
            (object("x.y", Some("n"), "a.b"), "resources/x.y/n/a.b.yaml"),
            (object("x.y", None, ".."), "resources/x.y/_2e..yaml"),
            (
                object("x.y", None, "A:b/c"),
                "resources/x.y/_41_3ab_2fc.yaml",
            ),
            (
                object("x.y", None, "kustomization"),
                "resources/x.y/kustomization_.yaml",
            ),
        ] {
            assert_eq!(place(&path), file);
        }
        let long = |last: &str| place(&object("x.y", None, &format!("{}{last}", "a".repeat(252))));
        assert_ne!(long("a"), long("b"));
        assert!(long("a").rsplit('/').next().unwrap().len() <= 255);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f)
                .map(Value::from)),
            // Numbers as servers and people write them.
            "-?[1-9][0-9]{0,30}(\\.[0-9]{1,20})?(e[+-]?[1-9][0-9]?)?"
                .prop_map(|text| serde_json::from_str::<Value>(&text).unwrap()),
            "\\PC{0,12}".prop_map(Value::from),
            "[ -~\n\t]{0,30}".prop_map(Value::from),
            prop_oneof![
                Just("0644"),
                Just("yes"),
                Just("~"),
                Just("1e3"),
                Just("0o7"),
                Just("- a"),
                Just("---\na"),
                Just("a: b"),
                Just("# c"),
                Just("a\n\nb\n\n"),
                Just(" a"),
                Just("a "),
                Just("1_000"),
                Just("${A}"),
                Just("*a"),
                Just("!x"),
                Just("2026-11-01"),
                Just("\u{feff}a"),
                Just("a\r\nb"),
                Just("--- # a\nb"),
                Just("NaN"),
                Just(".inf"),
                Just("="),
                Just("<<"),
                Just("\u{85}"),
            ]
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{0,10}|<<|yes|~", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_a_restore_reads(spec in values()) {
            let value = json!({
                "apiVersion": "a/v1", "kind": "A", "metadata": { "name": "a" }, "spec": spec,
            });
            let plain = RedactedObject { value: value.clone(), left_out: vec!["spec.a\nb".to_owned()] };
            let text = text(&plain);
            prop_assert!(text.starts_with(MARK));
            let read = read_back(&text);
            prop_assert_eq!(read.len(), 1, "{}", text);
            prop_assert!(same(&read[0], &value), "{}", text);
            prop_assert!(!text.contains("serde_json"), "{}", text);
        }
    }
}
