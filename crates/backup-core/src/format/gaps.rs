//! Gaps of a restore point: what was asked for and is not in it.
//!
//! This is the one judge of whether a component is whole. A component is whole if it was taken, each of
//! its kinds was listed to its end, and no object or file that belongs into it is missing.

use std::fmt;

use super::export::{ArchiveFacts, KindFacts};
use super::manifest::{Component, Finding, Manifest, Severity};
use crate::id::ComponentName;

/// Gaps that one line names.
const TOLD: usize = 3;
/// The definitions: whoever may not read them cannot tell custom resources from others.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Something that was asked for and is not in a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The component that it belongs into.
    pub component: ComponentName,
    /// What is missing of it.
    pub what: What,
    /// Why.
    pub cause: String,
}

/// What is missing of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// All of it.
    Component,
    /// Objects of a kind, nobody knows which; or of a group, as `*.GROUP`; or a file.
    Kind(String),
    /// One object.
    Object {
        /// Its kind: plural and group.
        kind: String,
        /// `NAMESPACE/NAME`, or its name alone.
        name: String,
    },
}

impl Gap {
    /// The kind that it is about, if it is not about a whole component.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match &self.what {
            What::Component => None,
            What::Kind(kind) | What::Object { kind, .. } => Some(kind),
        }
    }

    /// Whether objects of `kind` may be missing.
    #[must_use]
    pub fn touches(&self, kind: &str) -> bool {
        self.kind().is_none_or(|own| match own.strip_prefix('*') {
            Some(group) => kind.ends_with(group),
            None => own == kind || own == DEFINITIONS,
        })
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = &self.component;
        match &self.what {
            What::Component => write!(f, "component `{component}`"),
            What::Kind(kind) => write!(f, "objects of {kind} in `{component}`"),
            What::Object { kind, name } => write!(f, "{kind} {name} in `{component}`"),
        }
    }
}

/// What is missing, in one line; the first few by name.
#[must_use]
pub fn line(gaps: &[Gap]) -> String {
    let mut told: Vec<String> = gaps.iter().take(TOLD).map(ToString::to_string).collect();
    match gaps.len().saturating_sub(TOLD) {
        0 => {}
        more => told.push(format!("{more} more")),
    }
    told.join(", ")
}

impl Manifest {
    /// All that was asked for and is not in it.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let missing = self.missing.iter().map(|name| self.not_taken(name));
        let components = self.components.iter().flat_map(|c| self.gaps_in(c));
        missing.chain(components).collect()
    }

    /// What is missing of the component of that name; `datastores` stands for those of all DataStores.
    /// A component that was not asked for has no gaps.
    #[must_use]
    pub fn gaps_of(&self, name: &ComponentName) -> Vec<Gap> {
        let datastores = *name == ComponentName::datastores();
        let mut gaps = self.gaps();
        gaps.retain(|gap| {
            gap.component == *name || datastores && gap.component.datastore_name().is_some()
        });
        gaps
    }

    /// Whether the component is there, and whole.
    #[must_use]
    pub fn is_whole(&self, name: &ComponentName) -> bool {
        self.component(name).is_some() && self.gaps_of(name).is_empty()
    }

    /// Whether it has what `gap` says that another restore point has not.
    #[must_use]
    pub fn fills(&self, gap: &Gap) -> bool {
        let about = |other: &Gap| gap.kind().is_none_or(|kind| other.touches(kind));
        self.component(&gap.component).is_some() && !self.gaps_of(&gap.component).iter().any(about)
    }

    fn not_taken(&self, name: &ComponentName) -> Gap {
        let finding = self.findings.iter().find(|f| f.object == name.as_str());
        let cause = finding.map_or("it was asked for and could not be taken", |f| &f.cause);
        Gap {
            component: name.clone(),
            what: What::Component,
            cause: cause.to_owned(),
        }
    }

    fn gaps_in(&self, component: &Component) -> Vec<Gap> {
        let Some(archive) = &component.archive else {
            return Vec::new();
        };
        let mut found: Vec<(What, String)> = archive.kinds.iter().flat_map(of_kind).collect();
        found.extend(
            archive
                .lacks
                .iter()
                .map(|lack| (What::Kind(lack.what.clone()), lack.cause.clone())),
        );
        found.extend(self.of_findings(component, archive));
        let gap = |(what, cause)| Gap {
            component: component.name.clone(),
            what,
            cause,
        };
        found.into_iter().map(gap).collect()
    }

    /// What manifests of before `lacks` told in findings alone.
    fn of_findings(&self, component: &Component, archive: &ArchiveFacts) -> Vec<(What, String)> {
        let tells = |f: &&Finding| {
            let known = archive.lacks.iter().any(|lack| lack.what == f.object);
            let definitions =
                f.object == DEFINITIONS && component.name == ComponentName::resources();
            let file = component.name == ComponentName::kubeconfigs()
                && f.cause.starts_with("the kubeconfig was not kept");
            f.severity == Severity::Error && !known && (file || definitions && is_forbidden(f))
        };
        let told = self.findings.iter().filter(tells);
        told.map(|f| (What::Kind(f.object.clone()), f.cause.clone()))
            .collect()
    }
}

fn is_forbidden(finding: &Finding) -> bool {
    finding.cause.contains("forbids it")
}

fn of_kind(kind: &KindFacts) -> Vec<(What, String)> {
    let lost = kind.lost.iter().map(|lost| {
        let what = What::Object {
            kind: kind.resource.clone(),
            name: lost.name.clone(),
        };
        (what, lost.cause.clone())
    });
    let mut gaps: Vec<(What, String)> = lost.collect();
    let unread = kind
        .skipped
        .iter()
        .find(|s| s.reason == "it cannot be read");
    let unread = unread.map(|s| format!("{} of its objects cannot be read", s.objects));
    // Where single objects are named, that is all, unless the list did not come to its end.
    let whole = !kind.lost.is_empty()
        && kind
            .failed
            .as_ref()
            .is_none_or(|why| why.contains("of its objects could not be read"));
    // A kind whose definition went away meanwhile has no objects.
    let gone = |why: &&String| why.starts_with("its definition was deleted");
    let failed = kind.failed.as_ref().filter(|why| !whole && !gone(why));
    if let Some(why) = failed.cloned().or(unread) {
        gaps.push((What::Kind(kind.resource.clone()), why));
    }
    gaps
}

#[cfg(test)]
mod tests;
