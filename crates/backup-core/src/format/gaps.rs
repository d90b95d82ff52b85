//! Gaps of a restore point: requested parts that it lacks.
//!
//! Only this module decides whether a component is whole. A component is whole if it was taken, each of its
//! kinds was listed to its end, and no object or file that belongs in it is missing.

use std::fmt;

use super::export::{ArchiveFacts, KindFacts};
use super::manifest::{Component, Finding, Manifest, Severity};
use crate::id::ComponentName;
use crate::shortlist::shorten_evenly;

/// Number of gaps named in one line.
const MAX_LISTED: usize = 3;
/// Kind of the definitions: without read access to them custom resources are unknown.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Requested part that a restore point lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Component that it belongs to.
    pub component: ComponentName,
    /// Missing part of the component.
    pub what: MissingPart,
    /// Cause of the gap.
    pub cause: String,
}

/// Missing part of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingPart {
    /// The whole component.
    Component,
    /// Unknown objects of a kind; or of a group, as `*.GROUP`; or a file.
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
    /// Returns the kind concerned; `None` for a whole component.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match &self.what {
            MissingPart::Component => None,
            MissingPart::Kind(kind) | MissingPart::Object { kind, .. } => Some(kind),
        }
    }

    /// Reports whether objects of `kind` may be missing.
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
            MissingPart::Component => write!(f, "component `{component}`"),
            MissingPart::Kind(kind) => write!(f, "objects of {kind} in `{component}`"),
            MissingPart::Object { kind, name } => write!(f, "{kind} {name} in `{component}`"),
        }
    }
}

/// Describes the gaps in one line; the first few by name.
#[must_use]
pub fn line(gaps: &[Gap]) -> String {
    shorten_evenly(gaps.iter().map(ToString::to_string), MAX_LISTED)
}

impl Manifest {
    /// Returns every requested part that the restore point lacks.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let missing = self.missing.iter().map(|name| self.not_taken(name));
        let components = self.components.iter().flat_map(|c| self.gaps_in(c));
        missing.chain(components).collect()
    }

    /// Returns the gaps of the component `name`; `datastores` stands for the components of all DataStores. A
    /// component that was not requested has no gaps.
    #[must_use]
    pub fn gaps_of(&self, name: &ComponentName) -> Vec<Gap> {
        let datastores = *name == ComponentName::datastores();
        let mut gaps = self.gaps();
        gaps.retain(|gap| {
            gap.component == *name || datastores && gap.component.datastore_name().is_some()
        });
        gaps
    }

    /// Reports whether the component exists and is whole.
    #[must_use]
    pub fn is_whole(&self, name: &ComponentName) -> bool {
        self.component(name).is_some() && self.gaps_of(name).is_empty()
    }

    /// Reports whether it contains what another restore point lacks according to `gap`.
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
            what: MissingPart::Component,
            cause: cause.to_owned(),
        }
    }

    fn gaps_in(&self, component: &Component) -> Vec<Gap> {
        let Some(archive) = &component.archive else {
            return Vec::new();
        };
        let mut found: Vec<(MissingPart, String)> =
            archive.kinds.iter().flat_map(of_kind).collect();
        found.extend(
            archive
                .lacks
                .iter()
                .map(|lack| (MissingPart::Kind(lack.what.clone()), lack.cause.clone())),
        );
        found.extend(self.of_findings(component, archive));
        let gap = |(what, cause)| Gap {
            component: component.name.clone(),
            what,
            cause,
        };
        found.into_iter().map(gap).collect()
    }

    /// Returns gaps of manifests older than `lacks`, which recorded them as findings only.
    fn of_findings(
        &self,
        component: &Component,
        archive: &ArchiveFacts,
    ) -> Vec<(MissingPart, String)> {
        let tells = |f: &&Finding| {
            let known = archive.lacks.iter().any(|lack| lack.what == f.object);
            let definitions =
                f.object == DEFINITIONS && component.name == ComponentName::resources();
            let file = component.name == ComponentName::kubeconfigs()
                && f.cause.starts_with("the kubeconfig was not kept");
            f.severity == Severity::Error && !known && (file || definitions && is_forbidden(f))
        };
        let told = self.findings.iter().filter(tells);
        told.map(|f| (MissingPart::Kind(f.object.clone()), f.cause.clone()))
            .collect()
    }
}

fn is_forbidden(finding: &Finding) -> bool {
    finding.cause.contains("forbids it")
}

fn of_kind(kind: &KindFacts) -> Vec<(MissingPart, String)> {
    let lost = kind.lost.iter().map(|lost| {
        let what = MissingPart::Object {
            kind: kind.resource.clone(),
            name: lost.name.clone(),
        };
        (what, lost.cause.clone())
    });
    let mut gaps: Vec<(MissingPart, String)> = lost.collect();
    let unread = kind
        .skipped
        .iter()
        .find(|s| s.reason == "it cannot be read");
    let unread = unread.map(|s| format!("{} of its objects cannot be read", s.objects));
    // Where single objects are named, nothing else is missing, unless the list did not reach its end.
    let whole = !kind.lost.is_empty()
        && kind
            .failed
            .as_ref()
            .is_none_or(|why| why.contains("of its objects could not be read"));
    // A kind whose definition was deleted during the run has no objects.
    let gone = |why: &&String| why.starts_with("its definition was deleted");
    let failed = kind.failed.as_ref().filter(|why| !whole && !gone(why));
    if let Some(why) = failed.cloned().or(unread) {
        gaps.push((MissingPart::Kind(kind.resource.clone()), why));
    }
    gaps
}

#[cfg(test)]
mod tests;
