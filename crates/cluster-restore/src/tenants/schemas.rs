//! Check that a live DataStore contains the tenants' data that a restore point recorded.

use std::collections::BTreeMap;

use backup_core::format::manifest::EtcdFacts;
use cluster_client::etcd::SchemaKeys;

/// Difference between a schema and the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaDifference {
    /// Name of the schema.
    pub schema: String,
    /// Number of its keys in the restore point; `None` if they were not counted there.
    pub backup: Option<u64>,
    /// Current number of its keys.
    pub live: u64,
}

impl SchemaDifference {
    /// Whether the backup has data and the DataStore has none: the tenant would come back empty.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.live == 0 && self.backup.is_some_and(|keys| keys > 0)
    }

    /// Whether the DataStore has data and the backup has none: it may belong to somebody else.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.live > 0 && self.backup == Some(0)
    }
}

/// Returns the schemas in `live` whose number of keys differs from `backup`. A live tenant writes, so only
/// [`SchemaDifference::is_gone`] and [`SchemaDifference::is_foreign`] are alarming.
#[must_use]
pub fn compare_schemas(
    backup: &EtcdFacts,
    live: &BTreeMap<String, SchemaKeys>,
) -> Vec<SchemaDifference> {
    // Without a count there are no folders; beyond a limit some folders are not recorded.
    let counted = backup.total_keys.is_some();
    let known = |schema: &String| match backup.prefixes.get(schema) {
        Some(keys) => Some(*keys),
        None if counted && !backup.more_prefixes => Some(0),
        None => None,
    };
    let differences = live.iter().map(|(schema, found)| SchemaDifference {
        schema: schema.clone(),
        backup: known(schema),
        live: found.keys,
    });
    differences
        .filter(|difference| difference.backup != Some(difference.live))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_foreign_is_told_apart() {
        let mut backup = EtcdFacts {
            total_keys: Some(12),
            prefixes: BTreeMap::from([
                ("same".to_owned(), 4),
                ("gone".to_owned(), 5),
                ("grown".to_owned(), 3),
            ]),
            ..EtcdFacts::default()
        };
        let keys = |keys| SchemaKeys {
            keys,
            ..SchemaKeys::default()
        };
        let live = BTreeMap::from([
            ("same".to_owned(), keys(4)),
            ("gone".to_owned(), keys(0)),
            ("grown".to_owned(), keys(9)),
            ("foreign".to_owned(), keys(1)),
        ]);
        let found = compare_schemas(&backup, &live);
        let told: Vec<_> = found
            .iter()
            .map(|d| (d.schema.as_str(), d.is_gone(), d.is_foreign()))
            .collect();
        assert_eq!(
            told,
            [
                ("foreign", false, true),
                ("gone", true, false),
                ("grown", false, false)
            ]
        );
        backup.more_prefixes = true;
        let found = compare_schemas(&backup, &live);
        assert!(found.iter().all(|d| !d.is_foreign()));
    }
}
