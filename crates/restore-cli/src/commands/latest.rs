//! Resolution of `latest` to the newest restore point that has the needed data.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::format::gaps::{self, Gap};
use backup_core::format::manifest::Manifest;
use backup_core::id::{ComponentName, RestorePointId};

use super::{OpenedStore, kinds, refused};

mod exclusions;

pub(super) use exclusions::TRUST;

/// Word on the command line.
pub(super) const LATEST: &str = "latest";

/// Data that a restore point must have to be the latest one.
#[derive(Debug, Clone)]
pub(super) enum Requirement {
    /// No particular data.
    Nothing,
    /// This component, whole if any restore point has it whole.
    Component(ComponentName),
    /// This component, even in part.
    Part(ComponentName),
    /// Every component with objects that exists for the cluster.
    Objects,
    /// Objects of this kind, in the component that has all of them.
    Kind(String),
    /// Objects of this kind in any component.
    SomeOfKind(String),
}

impl Requirement {
    fn words(&self) -> String {
        match self {
            Self::Nothing => "anything".to_owned(),
            Self::Component(name) | Self::Part(name) => format!("`{name}`"),
            Self::Objects => "all objects".to_owned(),
            Self::Kind(kind) | Self::SomeOfKind(kind) => format!("objects of kind `{kind}`"),
        }
    }

    /// Returns how much of the needed data `manifest` has. `whole` judges all objects.
    fn fit(&self, manifest: &Manifest) -> Fit {
        let there = |is: bool| if is { Fit::Whole } else { Fit::No };
        match self {
            Self::Nothing => Fit::Whole,
            Self::Part(name) => there(manifest.component(name).is_some()),
            Self::Component(name) if manifest.component(name).is_some() => {
                Fit::of(manifest.gaps_of(name))
            }
            Self::Component(_) => Fit::No,
            Self::Objects => there(has_objects(manifest)),
            Self::SomeOfKind(kind) => there(kinds::resolve(&[manifest], kind).is_ok()),
            Self::Kind(kind) => {
                let Ok(resource) = kinds::resolve(&[manifest], kind) else {
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
enum Fit {
    No,
    Partial(Vec<Gap>),
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
fn object_components() -> [ComponentName; 5] {
    [
        ComponentName::crds(),
        ComponentName::resources(),
        ComponentName::sealed_secrets(),
        ComponentName::kubeconfigs(),
        ComponentName::secrets(),
    ]
}

/// Returns the gaps of a restore point's components with objects.
fn gaps_of_objects(manifest: &Manifest) -> Vec<Gap> {
    let mut gaps = manifest.gaps();
    gaps.retain(|gap| object_components().contains(&gap.component));
    gaps
}

/// Reports whether a restore point has custom resources, and so can stand for the objects of its time.
pub(super) fn has_objects(manifest: &Manifest) -> bool {
    manifest.component(&ComponentName::resources()).is_some()
}

/// Returns the warning about a restore point whose parent is not listed.
pub(super) fn gap(id: &RestorePointId, parent: &RestorePointId) -> String {
    format!(
        "Restore point {parent}, which {id} was built upon, is not listed: somebody deleted it, or \
         the store cuts its listings short, and later ones may be missing too. `restore-cli audit` \
         says more."
    )
}

/// Newer restore points that were passed over because of gaps.
#[derive(Default)]
struct SkippedPoints {
    count: usize,
    /// Newest of them, with the reason.
    newest: Option<(RestorePointId, String)>,
}

impl SkippedPoints {
    /// Records a restore point that was passed over; `gaps` are its gaps.
    fn over(&mut self, point: &RestorePoint, gaps: &[Gap]) {
        self.count += 1;
        let told = || {
            if !gaps.is_empty() {
                return format!("lacks {}", gaps::line(gaps));
            }
            let components = point.manifest.components.iter();
            let has: Vec<_> = components.map(|c| c.name.to_string()).collect();
            if has.is_empty() {
                "has nothing alone".to_owned()
            } else {
                format!("has {} alone", has.join(", "))
            }
        };
        self.newest
            .get_or_insert_with(|| (point.entry.id.clone(), told()));
    }

    fn warning(&self, found: &RestorePoint, needs: &Requirement) -> Option<String> {
        let (newest, told) = self.newest.as_ref()?;
        let (id, words) = (&found.entry.id, needs.words());
        let newer = if self.count == 1 {
            format!("newer {newest}, which {told}")
        } else {
            format!("{} newer ones, as {newest}, which {told}", self.count)
        };
        Some(format!("latest with {words} is {id}; passed over {newer}"))
    }
}

impl OpenedStore {
    /// Finds the restore point that `wanted` names, if it counts. For `latest` it finds the newest that has
    /// the needed data, and reports the restore points that were passed over.
    pub(super) async fn find(
        &self,
        wanted: &str,
        needs: &Requirement,
        frame: &Frame,
    ) -> Result<RestorePoint, Failure> {
        // However many names there are, a cancellation ends the search.
        let found = Box::pin(self.found(wanted, needs, frame));
        frame.or_cancelled(found).await
    }

    async fn found(
        &self,
        wanted: &str,
        needs: &Requirement,
        frame: &Frame,
    ) -> Result<RestorePoint, Failure> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        if wanted != LATEST {
            let entry = catalog.named(wanted, &self.view.trust).await?;
            let point = catalog.trusted(&entry, &self.view.trust).await;
            return point.map_err(refused);
        }
        let mut found = match needs {
            Requirement::Nothing => self.any(&catalog, frame).await?,
            Requirement::Objects => self.whole(&catalog, frame).await?,
            needs => self.newest(&catalog, needs, None, frame).await?,
        };
        if let (None, Requirement::Kind(kind)) = (&found, needs) {
            let some = Requirement::SomeOfKind(kind.clone());
            found = self.newest(&catalog, &some, None, frame).await?;
        }
        let Some(found) = found else {
            // The error of the newest restore point is the best description of what exists.
            return match self.any(&catalog, frame).await? {
                None => Err(self.none(&catalog).await),
                Some(newest) if matches!(needs, Requirement::Kind(_)) => Ok(newest),
                Some(_) => Err(self.no_such_data(needs)),
            };
        };
        let entries = catalog.list().await?;
        let listed = entries.iter().map(|entry| entry.digest).collect();
        if let Some(parent) = found.lost_parent(&listed) {
            frame.terminal.warn(&gap(&found.entry.id, parent));
        }
        // `restore-cli audit` reports older ones.
        let newest = Some(&found.entry.id);
        for hidden in catalog.hidden(&entries, newest).await? {
            if hidden.id > found.entry.id {
                frame.terminal.warn(&hidden.describe());
            }
        }
        Ok(found)
    }

    /// Finds the newest restore point with custom resources that is older than `point`.
    pub(super) async fn objects_before(
        &self,
        point: &RestorePoint,
        frame: &Frame,
    ) -> Result<Option<RestorePoint>, Failure> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        let needs = Requirement::Part(ComponentName::resources());
        let before = Some(&point.entry.id);
        let newest = self.newest(&catalog, &needs, before, frame);
        frame.or_cancelled(newest).await
    }

    async fn newest(
        &self,
        catalog: &Catalog,
        needs: &Requirement,
        before: Option<&RestorePointId>,
        frame: &Frame,
    ) -> Result<Option<RestorePoint>, Failure> {
        let mut passed = SkippedPoints::default();
        // Newest restore point with a part of the data, used if none has it whole.
        let mut part: Option<(RestorePoint, Vec<Gap>)> = None;
        let (found, left_out) = catalog
            .look_back(&self.view, before, |point| {
                match needs.fit(&point.manifest) {
                    Fit::Whole => ControlFlow::Break(point),
                    Fit::Partial(gaps) => {
                        passed.over(&point, &gaps);
                        part.get_or_insert((point, gaps));
                        ControlFlow::Continue(())
                    }
                    Fit::No => {
                        passed.over(&point, &[]);
                        ControlFlow::Continue(())
                    }
                }
            })
            .await?;
        self.warn_of(&left_out, frame);
        if let Some(told) = found
            .as_ref()
            .and_then(|found| passed.warning(found, needs))
        {
            frame.terminal.status(&told);
        }
        if let (None, Some((point, gaps))) = (&found, part) {
            frame.terminal.warn(&format!(
                "no restore point has {} whole: {} is the newest with a part of it, and lacks {}",
                needs.words(),
                point.entry.id,
                gaps::line(&gaps)
            ));
            return Ok(Some(point));
        }
        Ok(found)
    }

    /// Finds the newest restore point with every component of objects that any restore point has; there may
    /// be none.
    async fn whole(
        &self,
        catalog: &Catalog,
        frame: &Frame,
    ) -> Result<Option<RestorePoint>, Failure> {
        let known: BTreeSet<ComponentName> = object_components().into();
        let (mut there, mut passed) = (BTreeSet::new(), SkippedPoints::default());
        // Newest restore point of each set of components; there are 31 sets at most.
        let mut candidates: Vec<(BTreeSet<ComponentName>, RestorePoint)> = Vec::new();
        let (found, left_out) = catalog
            .look_back(&self.view, None, |point| {
                let gaps = gaps_of_objects(&point.manifest);
                let components = point.manifest.components.iter().map(|c| &c.name);
                let whole = |name: &&ComponentName| {
                    known.contains(name) && gaps.iter().all(|gap| gap.component != **name)
                };
                let has: BTreeSet<ComponentName> = components.filter(whole).cloned().collect();
                if has == known {
                    return ControlFlow::Break(point);
                }
                passed.over(&point, &gaps);
                there.extend(has.iter().cloned());
                let is_more = !candidates.iter().any(|(newer, _)| newer.is_superset(&has));
                if is_more && has_objects(&point.manifest) {
                    candidates.push((has, point));
                }
                ControlFlow::Continue(())
            })
            .await?;
        self.warn_of(&left_out, frame);
        if let Some(found) = found {
            if let Some(told) = passed.warning(&found, &Requirement::Objects) {
                frame.terminal.status(&told);
            }
            return Ok(Some(found));
        }
        // The newest of those with the most components.
        let most = candidates
            .into_iter()
            .rev()
            .max_by_key(|(has, _)| has.len());
        let Some((has, found)) = most else {
            return Ok(None);
        };
        let lacks: Vec<String> = there.difference(&has).map(ToString::to_string).collect();
        let id = &found.entry.id;
        let gaps = gaps_of_objects(&found.manifest);
        if !gaps.is_empty() {
            frame.terminal.warn(&format!(
                "no restore point has all objects whole: {id} has the most, and lacks {}",
                gaps::line(&gaps)
            ));
        }
        if !lacks.is_empty() {
            frame.terminal.warn(&format!(
                "no restore point has all objects at once: {id} has the most, and lacks {}; others \
                 of `restore-cli list` have that",
                lacks.join(", ")
            ));
        } else if passed
            .newest
            .as_ref()
            .is_some_and(|(newest, _)| newest != id)
        {
            let newer = passed.newest.map_or_else(String::new, |(newest, told)| {
                format!("; passed over newer ones with less, as {newest}, which {told}")
            });
            frame
                .terminal
                .status(&format!("latest with all objects is {id}{newer}"));
        }
        Ok(Some(found))
    }
}
