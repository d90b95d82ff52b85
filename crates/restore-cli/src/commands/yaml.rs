//! YAML writer that follows kubectl's format.

use std::cmp::Ordering;

use backup_core::archive::serialize_number;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;

/// Formats `object` as YAML, with its keys in kubectl's order.
pub(super) fn to_yaml(object: &Value) -> String {
    // Strings that YAML 1.1 would read as something else are quoted, because the output may be applied again.
    // Long lines stay whole, as kubectl leaves them.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let yaml = serde_saphyr::to_string_with_options(&SortedValue(object), options);
    // The YAML writer fails for a number that no double can represent. JSON can represent it, and is valid
    // YAML.
    yaml.unwrap_or_else(|_| format!("{object:#}\n"))
}

/// Value whose maps are written in kubectl's order.
struct SortedValue<'v>(&'v Value);

impl Serialize for SortedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by(|(a, _), (b, _)| order(a, b));
                let mut out = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    out.serialize_entry(key, &SortedValue(value))?;
                }
                out.end()
            }
            Value::Array(items) => {
                let mut out = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    out.serialize_element(&SortedValue(item))?;
                }
                out.end()
            }
            Value::Number(number) => serialize_number(number, serializer),
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Compares keys: signs and digits come before letters, and numbers are compared by value, so that `disk2` is
/// before `disk10`.
fn order(a: &str, b: &str) -> Ordering {
    let same = a
        .chars()
        .zip(b.chars())
        .take_while(|(a, b)| a == b)
        .map(|(c, _)| c.len_utf8())
        .sum();
    let (Some(a_rest), Some(b_rest)) = (a.get(same..), b.get(same..)) else {
        return a.cmp(b);
    };
    let (Some(x), Some(y)) = (a_rest.chars().next(), b_rest.chars().next()) else {
        return a_rest.len().cmp(&b_rest.len());
    };
    if x.is_alphabetic() || y.is_alphabetic() {
        return x.is_alphabetic().cmp(&y.is_alphabetic()).then(x.cmp(&y));
    }
    // Both may be in the middle of a number, where a zero counts.
    let common = a.get(..same).unwrap_or_default();
    let inside = common.ends_with(|c: char| c.is_ascii_digit());
    let number = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let counted = if inside {
            digits.clone()
        } else {
            digits.trim_start_matches('0').to_owned()
        };
        (counted.len(), counted, digits.len())
    };
    number(a_rest).cmp(&number(b_rest)).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_in_the_order_of_kubectl() {
        let mut keys = [
            "b", "a", "disk10", "disk2", "a.b", "a-b", "ab", "A", "_x", "0",
        ];
        keys.sort_by(|a, b| order(a, b));
        let expected = [
            "_x", "0", "A", "a", "a-b", "a.b", "ab", "b", "disk2", "disk10",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn an_object_reads_as_kubectl_prints_it() {
        let object = json!({
            "kind": "Secret", "apiVersion": "v1",
            "metadata": { "name": "a", "labels": { "x/y": "true", "n": "1" } },
            "data": { "key": "***", "empty": "" },
            "spec": {
                "list": [{ "b": 1, "a": null }, "two"], "text": "one\ntwo\n", "no": {},
                "words": ["yes", "off", "null", "012", "0x1f", "1e3", "~", "*a", "# b", "1_000", "2026-11-01"],
            },
        });
        insta::assert_snapshot!("object_yaml", to_yaml(&object));
    }

    #[test]
    fn numbers_are_numbers() {
        let object = r#"{"a":1,"b":1.0,"c":0.40581938396535333,"d":-9223372036854775808,"e":1e21}"#;
        let object: Value = serde_json::from_str(object).unwrap();
        assert_eq!(
            to_yaml(&object),
            "a: 1\nb: 1.0\nc: 0.40581938396535333\nd: -9223372036854775808\ne: 1.0e+21\n"
        );
        for odd in ["1e400", "0.1000000000000000055", "123456789012345678901"] {
            let object: Value = serde_json::from_str(&format!("{{\"a\":{odd}}}")).unwrap();
            assert!(
                to_yaml(&object).contains(odd.trim_start_matches("1e")),
                "{odd}"
            );
        }
    }
}
