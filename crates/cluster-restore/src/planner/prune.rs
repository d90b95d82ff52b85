//! Choice of live objects to delete: those inside both selections, of the capture and of the restore, if the
//! capture is proven complete.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::super::crds;
use super::super::select::Selection;
use super::super::spool::ObjectSpool;
use super::Survey;
use backup_core::archive::ObjectPath;
use backup_core::format::export::CompleteIn;
use backup_core::format::manifest::Finding;
use backup_core::shortlist::shorten_evenly;

/// Largest number of kinds listed by name as left alone by pruning.
const MAX_KINDS: usize = 12;

/// Facts that decide about pruning.
#[derive(Clone, Copy)]
pub(super) struct PruneRules<'a> {
    /// Kinds that were captured completely, and where.
    pub(super) complete: &'a BTreeMap<String, CompleteIn>,
    /// Selection of the restore.
    pub(super) select: &'a Selection,
    pub(super) spool: &'a ObjectSpool,
    pub(super) captured: Timestamp,
}

impl PruneRules<'_> {
    /// Whether a live object existed at the capture, would have been captured, and is not in the archive.
    pub(super) fn may_go(&self, path: &ObjectPath, object: &Value) -> bool {
        let resource = path.resource.as_str();
        if resource == crds::DEFINITIONS
            || resource == "namespaces"
            || self.spool.doubted().is_some()
        {
            return false;
        }
        let Some(scope) = self.complete.get(resource) else {
            return false;
        };
        let is_whole = path.namespace.as_ref().is_none_or(|n| scope.has(n));
        is_whole
            && !self.is_newer(object)
            && !self.spool.holds(path)
            && self.select.keeps_value(path, object)
    }

    fn is_newer(&self, object: &Value) -> bool {
        let made = object
            .pointer("/metadata/creationTimestamp")
            .and_then(Value::as_str);
        let made = made.and_then(|t| t.parse::<Timestamp>().ok());
        made.is_none_or(|made| made > self.captured)
    }
}

impl Survey<'_> {
    /// Reports which restored kinds pruning leaves alone.
    pub(super) fn not_pruned(&mut self) {
        if !self.request.options.prune {
            return;
        }
        if let Some(doubt) = self.spool.doubted() {
            self.findings.push(Finding::warning(
                "--prune",
                format!("deletes nothing, as Git may have more than was read: {doubt}"),
                "correct it in Git and plan again, or delete by hand what should not be \
                 there",
            ));
            return;
        }
        let kinds = self.spool.entries().iter().map(|e| &e.path.resource);
        let kinds = kinds.filter(|kind| {
            let kind = kind.as_str();
            kind != crds::DEFINITIONS
                && kind != "namespaces"
                && !self.request.complete.contains_key(kind)
        });
        let kinds: BTreeSet<String> = kinds.map(ToString::to_string).collect();
        if kinds.is_empty() {
            return;
        }
        let told = shorten_evenly(kinds.into_iter(), MAX_KINDS);
        self.findings.push(Finding::info(
            "--prune",
            format!(
                "deletes nothing of these kinds, as it is not proven that the restore point holds \
                 all of their objects: {told}"
            ),
            "delete by hand what should not be there",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Options;
    use proptest::prelude::*;
    use serde_json::json;

    const KINDS: [&str; 3] = ["teams.a.io", "users.a.io", "secrets"];
    const NAMESPACES: [&str; 3] = ["a", "b", "c"];

    fn named(resource: &str, namespace: &str, name: &str) -> ObjectPath {
        ObjectPath {
            resource: resource.into(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    fn object(path: &ObjectPath, label: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Thing",
            "metadata": {
                "name": path.name, "namespace": path.namespace, "labels": { "l": label },
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
        })
    }

    fn some(of: &'static [&'static str]) -> impl Strategy<Value = BTreeSet<String>> {
        let one = prop::sample::subsequence(of.to_vec(), 0..of.len());
        one.prop_map(|some| some.into_iter().map(str::to_owned).collect())
    }

    proptest! {
        #[test]
        fn only_what_both_selections_have_and_the_archive_has_not_goes(
            // Objects that existed at the capture, and objects that exist now, with their labels.
            world in prop::collection::vec((0..3_usize, 0..3_usize, 0..4_u8, any::<bool>(), any::<bool>(), 0..2_u8), 1..30),
            (included, excluded) in (some(&NAMESPACES), some(&NAMESPACES)),
            complete_kinds in some(&KINDS),
            (in_spaces, out_spaces, kinds, label) in
                (some(&NAMESPACES), some(&NAMESPACES), some(&KINDS), prop::option::of(0..2_u8)),
        ) {
            let scope = CompleteIn { include_namespaces: included, exclude_namespaces: excluded };
            let complete: BTreeMap<_, _> =
                complete_kinds.iter().map(|kind| (kind.clone(), scope.clone())).collect();
            let options = Options {
                include_namespaces: in_spaces.clone(),
                exclude_namespaces: out_spaces.clone(),
                include_resources: kinds.clone(),
                labels: label.iter().map(|l| ("l".to_owned(), l.to_string())).collect(),
                prune: true,
                ..Options::default()
            };
            let select = Selection::new(&options, &[]).unwrap();
            let mut spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
            let mut archive = BTreeSet::new();
            for (kind, namespace, name, was_there, moved, _) in &world {
                let path = named(KINDS[*kind], NAMESPACES[*namespace], &name.to_string());
                if !was_there || !scope.has(NAMESPACES[*namespace]) {
                    continue;
                }
                // Its label may have been another one.
                let json = object(&path, if *moved { "0" } else { "1" }).to_string();
                archive.insert(path.clone());
                if select.keeps(&path, json.as_bytes()) {
                    spool.add(&path, json.as_bytes()).unwrap();
                } else {
                    spool.pass_over(path);
                }
            }
            let pruning = PruneRules {
                complete: &complete,
                select: &select,
                spool: &spool,
                captured: "2026-06-01T00:00:00Z".parse().unwrap(),
            };
            for (kind, namespace, name, _, _, now) in &world {
                let (kind, namespace) = (KINDS[*kind], NAMESPACES[*namespace]);
                let path = named(kind, namespace, &name.to_string());
                let live = object(&path, &now.to_string());
                let chosen = (in_spaces.is_empty() || in_spaces.contains(namespace))
                    && !out_spaces.contains(namespace)
                    && (kinds.is_empty() || kinds.contains(kind))
                    && label.is_none_or(|l| l == *now);
                let captured = complete_kinds.contains(kind) && scope.has(namespace);
                let goes = chosen && captured && !archive.contains(&path);
                prop_assert_eq!(pruning.may_go(&path, &live), goes, "{}", path);
            }
        }
    }

    #[test]
    fn what_was_made_since_stays() {
        let complete = [("teams.a.io".to_owned(), CompleteIn::default())].into();
        let select = Selection::new(&Options::default(), &[]).unwrap();
        let spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
        let path = named("teams.a.io", "a", "x");
        let captured = |at: &str| PruneRules {
            complete: &complete,
            select: &select,
            spool: &spool,
            captured: at.parse().unwrap(),
        };
        let live = object(&path, "0");
        assert!(captured("2026-01-02T00:00:00Z").may_go(&path, &live));
        assert!(!captured("2025-12-31T00:00:00Z").may_go(&path, &live));
        assert!(!captured("2026-01-02T00:00:00Z").may_go(&path, &json!({})));
    }
}
