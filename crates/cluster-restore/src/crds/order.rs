//! Order of definitions: if two want the same name, the one that already had it comes first.

use std::collections::HashSet;

use serde_json::Value;

/// Facts that decide a definition's turn.
pub(in super::super) struct DefinitionNames {
    position: usize,
    /// Whether its names were refused at capture time.
    refused: bool,
    made: String,
    name: String,
    /// Names in its group that the definition claims.
    wanted: Vec<String>,
}

/// Positions of definitions, in order.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct DefinitionOrder {
    /// Definitions that get all their names, whatever the others do.
    pub(in super::super) first: Vec<usize>,
    /// Definitions that share a name with an earlier one, and must wait until that one is served.
    pub(in super::super) then: Vec<usize>,
}

impl DefinitionNames {
    pub(in super::super) fn of(position: usize, crd: &Value) -> Self {
        let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str);
        let group = text("/spec/group").unwrap_or_default();
        let kind = text("/spec/names/kind").unwrap_or_default();
        let (singular, list) = (kind.to_lowercase(), format!("{kind}List"));
        let short = crd.pointer("/spec/names/shortNames");
        let short = short.and_then(Value::as_array).into_iter().flatten();
        let resources = [
            text("/spec/names/plural").unwrap_or_default(),
            text("/spec/names/singular").unwrap_or(&singular),
        ];
        let resources = resources.into_iter().chain(short.filter_map(Value::as_str));
        let kinds = [kind, text("/spec/names/listKind").unwrap_or(&list)];
        // Kinds and resources are separate sets of names.
        let wanted = resources
            .map(|name| format!("{group} resource {name}"))
            .chain(kinds.map(|kind| format!("{group} kind {kind}")));
        Self {
            position,
            refused: refused(crd),
            made: text("/metadata/creationTimestamp")
                .unwrap_or_default()
                .to_owned(),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
            wanted: wanted.collect(),
        }
    }
}

/// Reports whether the API server had refused the names of a definition, so that it has no objects.
pub(in super::super) fn refused(crd: &Value) -> bool {
    let conditions = crd.pointer("/status/conditions").and_then(Value::as_array);
    let has = |of: &str, status: &str| {
        let is = |c: &&Value| {
            let text = |key: &str| c.get(key).and_then(Value::as_str);
            text("type") == Some(of) && text("status") == Some(status)
        };
        conditions.is_some_and(|conditions| conditions.iter().any(|c| is(&c)))
    };
    has("NamesAccepted", "False") && !has("Established", "True")
}

/// Orders definitions: those whose names were accepted come first, in the order of their creation.
pub(in super::super) fn definition_order(mut claims: Vec<DefinitionNames>) -> DefinitionOrder {
    claims.sort_by(|a, b| {
        let key = |c: &DefinitionNames| (c.refused, c.made.clone(), c.name.clone());
        key(a).cmp(&key(b))
    });
    let mut taken = HashSet::new();
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for claim in claims {
        let free = !claim.wanted.iter().any(|name| taken.contains(name));
        if free && !claim.refused {
            first.push(claim.position);
        } else {
            then.push(claim.position);
        }
        taken.extend(claim.wanted);
    }
    DefinitionOrder { first, then }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(
        position: usize,
        plural: &str,
        short: &str,
        made: u8,
        accepted: Option<bool>,
    ) -> DefinitionNames {
        let status = |is: bool| if is { "True" } else { "False" };
        let conditions = accepted.map(|is| {
            json!([
                { "type": "NamesAccepted", "status": status(is) },
                { "type": "Established", "status": status(is) },
            ])
        });
        let crd = json!({
            "metadata": {
                "name": format!("{plural}.example.com"),
                "creationTimestamp": format!("2026-11-2{made}T00:00:00Z"),
            },
            "spec": {
                "group": "example.com",
                "names": { "plural": plural, "kind": plural.to_uppercase(), "shortNames": [short] },
            },
            "status": { "conditions": conditions },
        });
        DefinitionNames::of(position, &crd)
    }

    #[test]
    fn who_had_the_name_comes_first() {
        let turns = |claims: Vec<DefinitionNames>| {
            let turns = definition_order(claims);
            (turns.first, turns.then)
        };
        // Created earlier, and still refused.
        let refused = claim(0, "as", "x", 1, Some(false));
        let had = claim(1, "bs", "x", 2, Some(true));
        let other = claim(2, "cs", "y", 0, Some(true));
        assert_eq!(turns(vec![refused, had, other]), (vec![2, 1], vec![0]));
        // If nothing shows which one had the name, the older one comes first.
        let (young, old) = (claim(0, "as", "x", 5, None), claim(1, "bs", "x", 4, None));
        assert_eq!(turns(vec![young, old]), (vec![1], vec![0]));
        // A kind and a short name never collide.
        let (kind, short) = (claim(0, "as", "z", 1, None), claim(1, "bs", "AS", 2, None));
        assert_eq!(turns(vec![kind, short]), (vec![0, 1], vec![]));
    }
}
