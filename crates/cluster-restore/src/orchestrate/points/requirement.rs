//! Data that a restore point must have, and how much of it one has.

use std::fmt;

use backup_core::archive::ResourceName;
use backup_core::format::gaps::Gap;
use backup_core::format::manifest::Manifest;
use backup_core::id::ComponentName;

/// Data that a restore point must have to be the latest one.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// No particular data.
    Nothing,
    /// This component, whole if any restore point has it whole.
    Component(ComponentName),
    /// This component, even in part.
    Part(ComponentName),
    /// Every component with objects that exists for the cluster.
    Objects,
    /// Objects of this kind, in the component that has all of them.
    Kind(KindRequirement),
    /// Objects of this kind in any component.
    SomeOfKind(KindRequirement),
}

/// Kind as a person names it, with the way to resolve the name.
#[derive(Clone)]
pub struct KindRequirement {
    /// Name of the kind.
    pub name: String,
    /// Function that resolves the name to a kind that a manifest lists.
    pub resolve: fn(&Manifest, &str) -> Option<ResourceName>,
}

impl fmt::Debug for KindRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KindRequirement").field(&self.name).finish()
    }
}

impl KindRequirement {
    fn resource(&self, manifest: &Manifest) -> Option<ResourceName> {
        (self.resolve)(manifest, &self.name)
    }
}

impl Requirement {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Nothing => "anything".to_owned(),
            Self::Component(name) | Self::Part(name) => format!("`{name}`"),
            Self::Objects => "all objects".to_owned(),
            Self::Kind(kind) | Self::SomeOfKind(kind) => format!("objects of kind `{}`", kind.name),
        }
    }

    /// Returns how much of the needed data `manifest` has. `whole` judges all objects.
    pub(super) fn fit(&self, manifest: &Manifest) -> Fit {
        let there = |is: bool| if is { Fit::Whole } else { Fit::No };
        match self {
            Self::Nothing => Fit::Whole,
            Self::Part(name) => there(manifest.component(name).is_some()),
            Self::Component(name) if manifest.component(name).is_some() => {
                Fit::of(manifest.gaps_of(name))
            }
            Self::Component(_) => Fit::No,
            Self::Objects => there(has_objects(manifest)),
            Self::SomeOfKind(kind) => there(kind.resource(manifest).is_some()),
            Self::Kind(kind) => {
                let Some(resource) = kind.resource(manifest) else {
                    return Fit::No;
                };
                let home = match resource.as_str() {
                    "secrets" | "configmaps" => ComponentName::secrets(),
                    "customresourcedefinitions.apiextensions.k8s.io" => ComponentName::crds(),
                    _ => ComponentName::resources(),
                };
                if manifest.component(&home).is_none() {
                    return Fit::No;
                }
                let mut gaps = manifest.gaps_of(&home);
                gaps.retain(|gap| gap.touches(resource.as_str()));
                Fit::of(gaps)
            }
        }
    }
}

/// Extent to which a restore point has the needed data.
pub(super) enum Fit {
    /// It has nothing of it.
    No,
    /// It has a part, with these gaps.
    Partial(Vec<Gap>),
    /// It has all of it.
    Whole,
}

impl Fit {
    fn of(gaps: Vec<Gap>) -> Self {
        if gaps.is_empty() {
            Self::Whole
        } else {
            Self::Partial(gaps)
        }
    }
}

/// Returns the components that contain objects.
pub(super) fn object_components() -> [ComponentName; 5] {
    [
        ComponentName::crds(),
        ComponentName::resources(),
        ComponentName::sealed_secrets(),
        ComponentName::kubeconfigs(),
        ComponentName::secrets(),
    ]
}

/// Returns the gaps of a restore point's components with objects.
pub(super) fn gaps_of_objects(manifest: &Manifest) -> Vec<Gap> {
    let mut gaps = manifest.gaps();
    gaps.retain(|gap| object_components().contains(&gap.component));
    gaps
}

/// Reports whether a restore point has custom resources, and so can stand for the objects of its time.
#[must_use]
pub fn has_objects(manifest: &Manifest) -> bool {
    manifest.component(&ComponentName::resources()).is_some()
}
