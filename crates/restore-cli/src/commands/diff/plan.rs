//! Pairing of two restore points, component by component and kind by kind.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::catalog::RestorePoint;
use backup_core::format::export::KindFacts;
use backup_core::format::manifest::{Component, Manifest};
use backup_core::id::ComponentName;

/// Component as both restore points have it.
#[derive(Debug)]
pub(super) struct ComponentPair<'p> {
    pub(super) name: &'p ComponentName,
    pub(super) before: Option<&'p Component>,
    pub(super) after: Option<&'p Component>,
    /// Kinds that at least one of the two lists, by name.
    pub(super) kinds: BTreeMap<&'p str, KindPair<'p>>,
}

/// Kind of a component as both restore points have it.
#[derive(Debug)]
pub(super) struct KindPair<'p> {
    pub(super) before: Option<&'p KindFacts>,
    pub(super) after: Option<&'p KindFacts>,
    /// Reason why its objects cannot be compared, if they cannot.
    pub(super) obstacle: Option<String>,
}

impl ComponentPair<'_> {
    /// Reports whether both have the component, with the same bytes.
    pub(super) fn same(&self) -> bool {
        match (self.before, self.after) {
            (Some(before), Some(after)) => before.plain_sha256 == after.plain_sha256,
            _ => false,
        }
    }
}

/// Returns every component of the two, in the order of the first.
pub(super) fn pairs<'p>(
    before: &'p RestorePoint,
    after: &'p RestorePoint,
) -> Vec<ComponentPair<'p>> {
    let (before, after) = (&before.manifest, &after.manifest);
    let mut seen = BTreeSet::new();
    let components = before.components.iter().chain(&after.components);
    let mut pairs: Vec<ComponentPair<'_>> = Vec::new();
    for component in components.filter(|c| seen.insert(&c.name)) {
        let mut pair = ComponentPair {
            name: &component.name,
            before: before.component(&component.name),
            after: after.component(&component.name),
            kinds: BTreeMap::new(),
        };
        pair.kinds = kinds(&pair, before, after);
        pairs.push(pair);
    }
    pairs
}

fn kinds<'p>(
    pair: &ComponentPair<'p>,
    before: &'p Manifest,
    after: &'p Manifest,
) -> BTreeMap<&'p str, KindPair<'p>> {
    let facts = |component: Option<&'p Component>| -> BTreeMap<&'p str, &'p KindFacts> {
        let kinds = component.and_then(|c| c.archive.as_ref());
        let kinds = kinds.into_iter().flat_map(|a| &a.kinds);
        kinds.map(|k| (k.resource.as_str(), k)).collect()
    };
    let (was, is) = (facts(pair.before), facts(pair.after));
    let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
    let kind = |name: &'p str| {
        let (was, is) = (was.get(name).copied(), is.get(name).copied());
        let obstacle = obstacle("A", before, pair.name, pair.before, name, was)
            .or_else(|| obstacle("B", after, pair.name, pair.after, name, is));
        KindPair {
            before: was,
            after: is,
            obstacle,
        }
    };
    names.into_iter().map(|name| (name, kind(name))).collect()
}

/// Returns the reason why one side cannot be compared.
fn obstacle(
    side: &str,
    manifest: &Manifest,
    name: &ComponentName,
    component: Option<&Component>,
    resource: &str,
    facts: Option<&KindFacts>,
) -> Option<String> {
    if component.is_none() {
        return Some(if manifest.missing.contains(name) {
            format!("{side} could not take component `{name}`")
        } else {
            format!("{side} has no component `{name}`")
        });
    }
    let Some(facts) = facts else {
        let left_out = manifest.kubernetes.iter().flat_map(|k| &k.left_out);
        let reason = left_out
            .filter(|l| l.resource == resource)
            .map(|l| format!(": {}", l.reason));
        let reason: String = reason.take(1).collect();
        return Some(format!("{side} did not list it{reason}"));
    };
    let failed = facts.failed.as_ref()?;
    Some(format!("{side} could not list it to its end: {failed}"))
}
