//! Report of the differences.

use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_core::catalog::RestorePoint;
use backup_core::format::manifest::Component;
use jiff::Timestamp;
use serde::Serialize;

use super::compare::{ChangeKind, Comparison, ObjectDifference, Tally};
use super::plan::ComponentPair;

/// Printed result of `diff`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Differences {
    before: PointSummary,
    after: PointSummary,
    components: Vec<ComponentRow>,
    kinds: Vec<KindRow>,
    objects: Vec<ObjectChange>,
    /// Objects that are named without a patch, because there are too many.
    unpatched: u64,
}

#[derive(Debug, Serialize)]
struct PointSummary {
    id: String,
    began: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentRow {
    name: String,
    state: ComponentState,
    before: Option<ComponentFacts>,
    after: Option<ComponentFacts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum ComponentState {
    Same,
    Differs,
    NotComparable,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentFacts {
    plain_bytes: u64,
    plain_sha256: String,
    objects: Option<u64>,
    revision: Option<u64>,
    keys: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KindRow {
    resource: String,
    component: String,
    added: u64,
    removed: u64,
    changed: u64,
    status: u64,
    recreated: u64,
    unnamed: u64,
    not_comparable: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectChange {
    change: &'static str,
    resource: String,
    component: String,
    namespace: Option<String>,
    name: String,
    patch: Option<String>,
}

impl Differences {
    pub(super) fn of(
        before: &RestorePoint,
        after: &RestorePoint,
        pairs: &[ComponentPair<'_>],
        comparison: Comparison,
    ) -> Self {
        let kinds = comparison.tallies.into_iter();
        Self {
            before: PointSummary::of(before),
            after: PointSummary::of(after),
            components: pairs.iter().map(ComponentRow::of).collect(),
            kinds: kinds
                .map(|((component, resource), tally)| KindRow::of(component, resource, tally))
                .collect(),
            objects: comparison
                .objects
                .into_iter()
                .map(ObjectChange::of)
                .collect(),
            unpatched: comparison.unpatched,
        }
    }

    /// Reports whether anything differs or cannot be compared.
    pub(super) fn differ(&self) -> bool {
        self.components.iter().any(ComponentRow::differs) || self.kinds.iter().any(KindRow::is_told)
    }
}

impl PointSummary {
    fn of(point: &RestorePoint) -> Self {
        Self {
            id: point.entry.id.to_string(),
            began: point.manifest.began,
        }
    }
}

impl ComponentRow {
    fn of(pair: &ComponentPair<'_>) -> Self {
        let state = if pair.before.is_none() || pair.after.is_none() {
            ComponentState::NotComparable
        } else if pair.same() {
            ComponentState::Same
        } else {
            ComponentState::Differs
        };
        Self {
            name: pair.name.to_string(),
            state,
            before: pair.before.map(ComponentFacts::of),
            after: pair.after.map(ComponentFacts::of),
        }
    }

    /// Reports whether the component has a difference that its kinds do not show. Archives whose bytes differ
    /// may contain equal objects.
    fn differs(&self) -> bool {
        let archive =
            |held: &Option<ComponentFacts>| held.as_ref().is_some_and(|h| h.objects > Some(0));
        match self.state {
            ComponentState::Same => false,
            ComponentState::NotComparable => true,
            ComponentState::Differs => !archive(&self.before) && !archive(&self.after),
        }
    }

    fn state(&self) -> &'static str {
        match self.state {
            ComponentState::Same => "same",
            ComponentState::Differs => "differs",
            ComponentState::NotComparable => "NOT COMPARABLE",
        }
    }
}

impl ComponentFacts {
    fn of(component: &Component) -> Self {
        let etcd = component.etcd.as_ref();
        // Files without kinds are compared as a whole.
        let archive = component.archive.as_ref();
        let objects = archive.filter(|a| !a.kinds.is_empty());
        Self {
            plain_bytes: component.plain_bytes,
            plain_sha256: component.plain_sha256.to_string(),
            objects: objects.map(|a| a.objects),
            revision: etcd.map(|e| e.revision),
            keys: etcd.and_then(|e| e.total_keys),
        }
    }

    fn text(&self) -> String {
        match (self.revision, self.keys, self.objects) {
            (Some(revision), Some(keys), _) => format!("revision {revision}, {keys} keys"),
            (Some(revision), None, _) => format!("revision {revision}"),
            (_, _, Some(1)) => "1 object".to_owned(),
            (_, _, Some(objects)) => format!("{objects} objects"),
            _ => human::bytes(self.plain_bytes),
        }
    }
}

impl KindRow {
    fn of(component: String, resource: String, tally: Tally) -> Self {
        Self {
            resource,
            component,
            added: tally.added,
            removed: tally.removed,
            changed: tally.changed,
            status: tally.status,
            recreated: tally.recreated,
            unnamed: tally.unnamed,
            not_comparable: tally.obstacle,
            note: tally.note,
        }
    }

    fn differs(&self) -> bool {
        self.added > 0
            || self.removed > 0
            || self.changed > 0
            || self.status > 0
            || self.recreated > 0
    }

    fn is_told(&self) -> bool {
        self.differs() || self.not_comparable.is_some()
    }

    fn cells(&self) -> [String; 8] {
        let count = |n: u64| {
            if self.not_comparable.is_some() {
                "-".to_owned()
            } else {
                n.to_string()
            }
        };
        let obstacle = self.not_comparable.iter();
        let obstacle = obstacle.map(|why| format!("not comparable: {why}"));
        let notes: Vec<String> = obstacle.chain(self.note.clone()).collect();
        [
            self.resource.clone(),
            self.component.clone(),
            count(self.added),
            count(self.removed),
            count(self.changed),
            count(self.status),
            count(self.recreated),
            notes.join("; "),
        ]
    }
}

impl ObjectChange {
    fn of(different: ObjectDifference) -> Self {
        Self {
            change: different.word.as_str(),
            resource: different.path.resource.to_string(),
            component: different.component,
            namespace: different.path.namespace,
            name: different.path.name,
            patch: different.patch,
        }
    }

    fn object(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    fn removed(&self) -> bool {
        self.change == ChangeKind::Removed.as_str()
    }
}

impl Report for Differences {
    fn page(&self, page: &mut Page) {
        page.fields([("A", point(&self.before)), ("B", point(&self.after))]);
        page.heading("Components");
        let held = |held: &Option<ComponentFacts>| {
            held.as_ref()
                .map_or_else(|| "-".to_owned(), ComponentFacts::text)
        };
        let rows = self.components.iter().map(|row| {
            [
                row.name.clone(),
                row.state().to_owned(),
                held(&row.before),
                held(&row.after),
            ]
        });
        page.table(["COMPONENT", "STATE", "A", "B"], rows);
        self.kinds(page);
        self.objects(page);
        for object in &self.objects {
            let Some(patch) = &object.patch else {
                continue;
            };
            page.line("");
            patch.lines().for_each(|line| page.line(line));
        }
        if self.unpatched > 0 {
            page.line(&format!(
                "{} more objects differ and are not shown, for lack of room; narrow it with --kind \
                 and -n",
                self.unpatched
            ));
        }
    }
}

impl Differences {
    fn kinds(&self, page: &mut Page) {
        let told: Vec<&KindRow> = self.kinds.iter().filter(|k| k.is_told()).collect();
        let same = self.kinds.len().saturating_sub(told.len());
        if !told.is_empty() {
            page.heading("Kinds that differ");
            page.table(
                [
                    "RESOURCE",
                    "COMPONENT",
                    "ADDED",
                    "REMOVED",
                    "CHANGED",
                    "STATUS",
                    "RECREATED",
                    "NOTE",
                ],
                told.iter().map(|kind| kind.cells()),
            );
        }
        if same > 0 {
            let kinds = if same == 1 { "kind" } else { "kinds" };
            page.heading(&format!("No difference in {same} {kinds}."));
        }
    }

    fn objects(&self, page: &mut Page) {
        if self.objects.is_empty() {
            return;
        }
        page.heading("Objects");
        let rows = self.objects.iter().map(|object| {
            [
                object.change.to_owned(),
                object.resource.clone(),
                object.object(),
            ]
        });
        page.table(["CHANGE", "RESOURCE", "OBJECT"], rows);
        for kind in self.kinds.iter().filter(|k| k.unnamed > 0) {
            let (more, resource) = (kind.unnamed, &kind.resource);
            page.line(&format!("and {more} more of {resource}; --all names them"));
        }
        if self.objects.iter().any(ObjectChange::removed) {
            page.line(&format!(
                "What was removed is in A: `restore-cli resources get KIND NAME --at {}`",
                self.before.id
            ));
        }
    }
}

fn point(point: &PointSummary) -> String {
    format!("{}, {}", point.id, human::utc(point.began))
}
