//! Finder of restore points for one reader, which reports each reason against restore points once.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use backup_core::catalog::{Catalog, CatalogError, ReadPolicy, RestorePoint};
use backup_core::format::gaps::{self, Gap};
use backup_core::id::{ComponentName, RestorePointId};
use backup_core::store::Store;
use tokio_util::sync::CancellationToken;

use super::passed::SkippedPoints;
use super::requirement::{Fit, gaps_of_objects, object_components};
use super::{LATEST, PointError, Requirement, has_objects};
use crate::orchestrate::{LocatedGap, Reporter};

/// Finder of restore points; see the module.
#[derive(Debug)]
pub struct PointFinder {
    /// Store of the restore points.
    pub store: Arc<dyn Store>,
    /// Rules by which restore points count.
    pub view: ReadPolicy,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) cancel: CancellationToken,
    /// Reasons for which restore points do not count, as far as they were reported.
    pub(super) reported: Mutex<HashSet<String>>,
}

impl PointFinder {
    /// Creates a finder of restore points of `store`; `cancel` ends every search.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        view: ReadPolicy,
        reporter: Arc<dyn Reporter>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            store,
            view,
            reporter,
            cancel,
            reported: Mutex::default(),
        }
    }

    async fn or_cancelled<T>(
        &self,
        search: impl Future<Output = Result<T, PointError>>,
    ) -> Result<T, PointError> {
        tokio::select! {
            ended = search => ended,
            () = self.cancel.cancelled() => Err(PointError::Interrupted),
        }
    }

    /// Finds the restore point that `wanted` names, if it counts. For `latest` it finds the newest that has
    /// the needed data, and reports the restore points that were passed over.
    ///
    /// # Errors
    /// When there is none, or the catalogue cannot be read.
    pub async fn find(
        &self,
        wanted: &str,
        needs: &Requirement,
    ) -> Result<RestorePoint, PointError> {
        // However many names there are, a cancellation ends the search.
        self.or_cancelled(Box::pin(self.found(wanted, needs))).await
    }

    async fn found(&self, wanted: &str, needs: &Requirement) -> Result<RestorePoint, PointError> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        if wanted != LATEST {
            let entry = catalog.named(wanted, &self.view.trust).await?;
            let point = catalog.trusted(&entry, &self.view.trust).await;
            return Ok(point?);
        }
        let mut found = match needs {
            Requirement::Nothing => self.any(&catalog).await?,
            Requirement::Objects => self.whole(&catalog).await?,
            needs => self.newest(&catalog, needs, None).await?,
        };
        if let (None, Requirement::Kind(kind)) = (&found, needs) {
            let some = Requirement::SomeOfKind(kind.clone());
            found = self.newest(&catalog, &some, None).await?;
        }
        let Some(found) = found else {
            // The error of the newest restore point is the best description of what exists.
            return match self.any(&catalog).await? {
                None => Err(self.none(&catalog).await),
                Some(newest) if matches!(needs, Requirement::Kind(_)) => Ok(newest),
                Some(_) => Err(self.no_such_data(needs)),
            };
        };
        let entries = catalog.list().await?;
        let listed = entries.iter().map(|entry| entry.digest).collect();
        if let Some(parent) = found.lost_parent(&listed) {
            self.reporter
                .warn(&lost_parent_warning(&found.entry.id, parent));
        }
        // `restore-cli audit` reports older ones.
        let newest = Some(&found.entry.id);
        for hidden in catalog.hidden(&entries, newest).await? {
            if hidden.id > found.entry.id {
                self.reporter.warn(&hidden.describe());
            }
        }
        Ok(found)
    }

    /// Locates `gaps` of `point`: finds for each the newest older restore point that has the missing data.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn locate(
        &self,
        point: &RestorePoint,
        gaps: &[Gap],
    ) -> Result<Vec<LocatedGap>, CatalogError> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        let whole = catalog.whole_before(&self.view, &point.entry.id, gaps);
        Ok(LocatedGap::locate(gaps, &whole.await?))
    }

    /// Finds the newest restore point with custom resources that is older than `point`.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn objects_before(
        &self,
        point: &RestorePoint,
    ) -> Result<Option<RestorePoint>, PointError> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        let needs = Requirement::Part(ComponentName::resources());
        let before = Some(&point.entry.id);
        let newest = self.newest(&catalog, &needs, before);
        self.or_cancelled(newest).await
    }

    async fn newest(
        &self,
        catalog: &Catalog,
        needs: &Requirement,
        before: Option<&RestorePointId>,
    ) -> Result<Option<RestorePoint>, PointError> {
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
        self.warn_of(&left_out);
        if let Some(told) = found
            .as_ref()
            .and_then(|found| passed.warning(found, needs))
        {
            self.reporter.status(&told);
        }
        if let (None, Some((point, gaps))) = (&found, part) {
            self.reporter.warn(&format!(
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
    async fn whole(&self, catalog: &Catalog) -> Result<Option<RestorePoint>, PointError> {
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
        self.warn_of(&left_out);
        if let Some(found) = found {
            if let Some(told) = passed.warning(&found, &Requirement::Objects) {
                self.reporter.status(&told);
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
            self.reporter.warn(&format!(
                "no restore point has all objects whole: {id} has the most, and lacks {}",
                gaps::line(&gaps)
            ));
        }
        if !lacks.is_empty() {
            self.reporter.warn(&format!(
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
            self.reporter
                .status(&format!("latest with all objects is {id}{newer}"));
        }
        Ok(Some(found))
    }
}

/// Returns the warning about a restore point whose parent is not listed.
#[must_use]
pub fn lost_parent_warning(id: &RestorePointId, parent: &RestorePointId) -> String {
    format!(
        "Restore point {parent}, which {id} was built upon, is not listed: somebody deleted it, or \
         the store cuts its listings short, and later ones may be missing too. `restore-cli audit` \
         says more."
    )
}
