//! Merge of an object: differences as a merge patch, and conflicts between two sides.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use backup_core::archive::same;

/// Changes that bring a live object to the wanted state.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Merge {
    /// Merge patch; `None` if nothing has to be written.
    pub(super) patch: Option<Value>,
    /// Fields that changed on both sides since the base, such as `spec.replicas`. Not in the patch.
    pub(super) conflicts: Vec<String>,
}

/// Compares `live` with `wanted`. With a `base`, only changes from it to `wanted` are written; a
/// field that also changed in `live` is a conflict. Lists are compared as a whole.
pub(super) fn merge(base: Option<&Value>, live: &Value, wanted: &Value) -> Merge {
    let mut conflicts = Vec::new();
    let patch = differ(base, live, wanted, "", &mut conflicts);
    Merge { patch, conflicts }
}

fn differ(
    base: Option<&Value>,
    live: &Value,
    wanted: &Value,
    place: &str,
    conflicts: &mut Vec<String>,
) -> Option<Value> {
    if same(live, wanted) {
        return None;
    }
    if let (Value::Object(live), Value::Object(wanted)) = (live, wanted) {
        let base_fields = base.map(|b| b.as_object());
        let names: BTreeSet<&String> = live.keys().chain(wanted.keys()).collect();
        let mut patch = Map::new();
        for name in names {
            let inner = if place.is_empty() {
                name.clone()
            } else {
                format!("{place}.{name}")
            };
            let before = base_fields.map(|b| b.and_then(|b| b.get(name)));
            let null = &Value::Null;
            // In a merge patch null and absent are the same.
            let (old, new) = (
                live.get(name).unwrap_or(null),
                wanted.get(name).unwrap_or(null),
            );
            let before = before.map(|b| b.unwrap_or(null));
            if let Some(changed) = differ(before, old, new, &inner, conflicts) {
                patch.insert(name.clone(), changed);
            }
        }
        return (!patch.is_empty()).then_some(Value::Object(patch));
    }
    match base {
        // `wanted` does not change it, so the change in `live` stays.
        Some(base) if same(base, wanted) => None,
        Some(base) if !same(base, live) => {
            conflicts.push(place.to_owned());
            None
        }
        _ => Some(wanted.clone()),
    }
}

/// Returns the fields of `live` that `wanted` names; lists of the same length are handled item by
/// item.
pub(super) fn named(live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let fields = wanted.iter().filter_map(|(name, wanted)| {
                let live = live.get(name)?;
                Some((name.clone(), named(live, wanted)))
            });
            Value::Object(fields.collect())
        }
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => {
            let items = live.iter().zip(wanted);
            Value::Array(items.map(|(live, wanted)| named(live, wanted)).collect())
        }
        (live, _) => live.clone(),
    }
}

/// Returns the fields that a patch touches, such as `spec.replicas`; at most `most` of them.
pub(super) fn touched(patch: &Value, most: usize) -> Vec<String> {
    fn walk(patch: &Value, place: &str, most: usize, found: &mut Vec<String>) {
        match patch {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    let inner = if place.is_empty() {
                        name.clone()
                    } else {
                        format!("{place}.{name}")
                    };
                    walk(value, &inner, most, found);
                }
            }
            _ if found.len() < most => found.push(place.to_owned()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(patch, "", most, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn without_a_base_what_is_wanted_wins() {
        let live = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [1] });
        let wanted = json!({ "a": 1, "b": { "c": 4 }, "e": [1, 2], "f": null });
        let merge = merge(None, &live, &wanted);
        let patch = json!({ "b": { "c": 4, "d": null }, "e": [1, 2] });
        assert_eq!(merge.patch, Some(patch.clone()));
        assert_eq!(touched(&patch, 10), ["b.c", "b.d", "e"]);
        assert_eq!(touched(&patch, 1), ["b.c"]);
    }

    #[test]
    fn with_a_base_only_what_changed_since_is_brought() {
        let base = json!({ "a": 1, "b": 1, "c": 1, "d": 1 });
        let live = json!({ "a": 1, "b": 2, "c": 2, "d": 1 });
        let wanted = json!({ "a": 2, "b": 1, "c": 3, "d": 1 });
        let merge = merge(Some(&base), &live, &wanted);
        assert_eq!(merge.patch, Some(json!({ "a": 2 })));
        assert_eq!(merge.conflicts, ["c"]);
    }

    #[test]
    fn what_nobody_names_is_no_difference() {
        let live = json!({ "a": [{ "b": 1, "filled": true }], "c": [1], "d": 2, "e": 3 });
        let wanted = json!({ "a": [{ "b": 1 }], "c": [1, 2], "d": 2, "f": 4 });
        let named = named(&live, &wanted);
        assert_eq!(named, json!({ "a": [{ "b": 1 }], "c": [1], "d": 2 }));
        let patch = merge(None, &named, &wanted).patch;
        assert_eq!(patch, Some(json!({ "c": [1, 2], "f": 4 })));
    }

    fn apply(live: &Value, patch: &Value) -> Value {
        match (live, patch) {
            (_, Value::Object(patch)) => {
                let mut made = live.as_object().cloned().unwrap_or_default();
                for (name, value) in patch {
                    if value.is_null() {
                        made.remove(name);
                    } else {
                        let old = made.get(name).cloned().unwrap_or(Value::Null);
                        made.insert(name.clone(), apply(&old, value));
                    }
                }
                Value::Object(made)
            }
            (_, patch) => patch.clone(),
        }
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3_u8).prop_map(Value::from),
            prop::collection::vec(0..3_u8, 0..3).prop_map(Value::from),
        ];
        let tree = leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-c]", inner, 1..4)
                .prop_map(|m| Value::Object(m.into_iter().collect()))
        });
        prop::collection::btree_map("[a-c]", tree, 1..4)
            .prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn the_patch_makes_what_is_wanted(live in object(), wanted in object()) {
            let merge = merge(None, &live, &wanted);
            let made = merge.patch.map_or(live.clone(), |patch| apply(&live, &patch));
            prop_assert_eq!(made, wanted);
        }

        #[test]
        fn against_itself_there_is_nothing_to_do(base in object(), live in object()) {
            prop_assert_eq!(merge(Some(&base), &live, &base), Merge::default());
        }

        #[test]
        fn an_untouched_live_object_takes_everything(base in object(), wanted in object()) {
            let merge = merge(Some(&base), &base, &wanted);
            prop_assert!(merge.conflicts.is_empty());
            let made = merge.patch.map_or(base.clone(), |patch| apply(&base, &patch));
            prop_assert_eq!(made, wanted);
        }
    }
}
