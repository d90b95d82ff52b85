//! Context of a restore: the checked restore points, their objects, the cluster.

mod api;
mod material;
mod request;

use std::sync::Arc;

use backup_core::catalog::RestorePoint;
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::Parent;
use backup_core::id::ComponentName;
use backup_core::progress::Progress;

pub(super) use self::api::only_etcd;
pub(super) use self::material::ObjectSpools;
pub use self::request::PlanRequest;
use super::{LATEST, ObjectSource, OrchestrateError, Requirement, RestoreSetup, has_objects};
use crate::plan::{Origin, Plan, Step};

/// Context of a restore; see the module.
pub struct RestoreContext {
    pub(super) setup: RestoreSetup,
    pub(super) point: RestorePoint,
    /// Restore point of the objects, if it is another one.
    forward: Option<RestorePoint>,
    /// Restore point whose objects are those of the restored etcd, or close to them.
    base: Option<RestorePoint>,
    /// Steps of the restore.
    steps: Vec<Step>,
    /// SHA-256 of the prefix's owner marker, if it could be read.
    owner_marker: Option<Digest>,
    pub(super) progress: Arc<dyn Progress>,
}

/// Restore points that a restore uses.
#[derive(Debug, Clone)]
pub struct PointSelection<'a> {
    /// Restore point that is restored first, by its id, the beginning of one, or [`LATEST`].
    pub point: &'a str,
    /// Restore point of the objects, if another one is named.
    pub forward: Option<&'a str>,
    /// Steps of the restore.
    pub steps: Vec<Step>,
    /// Source of the objects.
    pub source: &'a ObjectSource,
}

impl RestoreContext {
    /// Finds the wanted restore point, which must be trusted. With `latest` a step on etcd takes the newest
    /// with etcd, and objects are brought forward to the newest that has them.
    ///
    /// # Errors
    /// If a named restore point does not exist, or two named ones do not fit each other.
    pub async fn open(
        wanted: PointSelection<'_>,
        setup: RestoreSetup,
    ) -> Result<Self, OrchestrateError> {
        let mut context = Self::begin(wanted.point, &needs(&wanted), setup).await?;
        context.steps = wanted.steps;
        let etcd = context.steps.contains(&Step::Etcd);
        let forward = match (wanted.forward, wanted.source) {
            (_, ObjectSource::Velero(_)) => None,
            (Some(forward), _) => Some(forward),
            (None, _) if wanted.point == LATEST && etcd && context.writes_objects() => Some(LATEST),
            (None, _) => None,
        };
        match forward {
            Some(LATEST) => context.forward = context.newer().await?,
            Some(forward) => {
                let points = &context.setup.points;
                let found = points.find(forward, &Requirement::Nothing).await?;
                if found.entry.id < context.point.entry.id {
                    return Err(OrchestrateError::Backward {
                        forward: found.entry.id,
                        point: context.point.entry.id,
                    });
                }
                let other = found.entry.digest != context.point.entry.digest;
                context.forward = other.then_some(found);
            }
            None => {}
        }
        let own = has_objects(&context.point.manifest);
        if own {
            context.base = Some(context.point.clone());
        } else if etcd && (context.forward.is_some() || *wanted.source != ObjectSource::Archive) {
            let points = &context.setup.points;
            context.base = points.objects_before(&context.point).await?;
        } else if *wanted.source == ObjectSource::Archive
            && context.forward.is_none()
            && (etcd || wanted.forward.is_some())
        {
            context.drop_object_steps();
        }
        Ok(context)
    }

    /// Opens the context of a plan: the same restore points, by their digests.
    pub(super) async fn of_plan(
        plan: &Plan,
        setup: RestoreSetup,
    ) -> Result<Self, OrchestrateError> {
        let id = plan.restore_point.id.to_string();
        let mut context = Self::begin(&id, &Requirement::Nothing, setup).await?;
        same_point(&context.point, &plan.restore_point)?;
        context.steps.clone_from(&plan.steps);
        if let Origin::Archive { restore_point } | Origin::Git { restore_point, .. } = &plan.origin
            && *restore_point != plan.restore_point
        {
            let id = restore_point.id.to_string();
            let points = &context.setup.points;
            let found = points.find(&id, &Requirement::Nothing).await?;
            same_point(&found, restore_point)?;
            context.forward = Some(found);
        }
        // A base that is only close serves for the forecast: differences from it are not conflicts.
        if plan.base.as_ref() == Some(&plan.restore_point) {
            context.base = Some(context.point.clone());
        }
        Ok(context)
    }

    async fn begin(
        point: &str,
        needs: &Requirement,
        setup: RestoreSetup,
    ) -> Result<Self, OrchestrateError> {
        let point = setup.points.find(point, needs).await?;
        // An audit reports a marker that is missing or cannot be read.
        let marker = setup.points.store.get(&layout::owner_marker()).await.ok();
        let owner_marker = marker.map(|bytes| Digest::of(&bytes));
        let progress = setup.reporter.progress();
        Ok(Self {
            setup,
            point,
            forward: None,
            base: None,
            steps: Vec::new(),
            owner_marker,
            progress,
        })
    }

    /// Finds the newest restore point with objects that is newer than etcd's snapshot: one with all objects,
    /// or any other. The restored etcd already has the objects of older ones.
    async fn newer(&self) -> Result<Option<RestorePoint>, OrchestrateError> {
        for needs in [
            Requirement::Objects,
            Requirement::Component(ComponentName::resources()),
        ] {
            match self.setup.points.find(LATEST, &needs).await {
                Ok(found) if found.entry.id > self.point.entry.id => {
                    return Ok(Some(found));
                }
                Ok(_) => {}
                Err(error) if error.is_absence() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Drops the steps on objects, because the snapshot has none besides etcd and nothing is newer.
    fn drop_object_steps(&mut self) {
        if !self.writes_objects() {
            return;
        }
        self.steps
            .retain(|step| !matches!(step, Step::Crds | Step::Resources));
        self.setup.reporter.status(&format!(
            "{} has no objects besides etcd, and none are brought forward: they come back as etcd \
             has them",
            self.point.entry.id
        ));
    }

    fn writes_objects(&self) -> bool {
        let is = |step: &Step| matches!(step, Step::Crds | Step::Resources);
        self.steps.iter().any(is)
    }

    /// Returns the steps of the restore, without those for which the restore points have no data.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the setup of the restore.
    #[must_use]
    pub fn setup(&self) -> &RestoreSetup {
        &self.setup
    }

    /// Returns the restore point of the objects.
    fn objects(&self) -> &RestorePoint {
        self.forward.as_ref().unwrap_or(&self.point)
    }

    /// Finds the restore point that tenants are compared with: that of the objects, or the newest one with
    /// tenants.
    pub(super) async fn baseline(&self) -> Result<RestorePoint, OrchestrateError> {
        let objects = self.objects();
        if has_objects(&objects.manifest) {
            return Ok(objects.clone());
        }
        let needs = Requirement::Component(ComponentName::resources());
        Ok(self.setup.points.find(LATEST, &needs).await?)
    }
}

/// Returns the data that the restore point must have if the newest is requested.
fn needs(wanted: &PointSelection<'_>) -> Requirement {
    let has = |step| wanted.steps.contains(&step);
    if has(Step::Etcd) {
        return Requirement::Component(ComponentName::etcd());
    }
    match wanted.source {
        ObjectSource::Velero(_) => Requirement::Nothing,
        _ if has(Step::Resources) => Requirement::Objects,
        _ if has(Step::Crds) => Requirement::Component(ComponentName::crds()),
        _ => Requirement::Component(ComponentName::resources()),
    }
}

/// Refuses a restore point that differs from the plan's.
fn same_point(found: &RestorePoint, planned: &Parent) -> Result<(), OrchestrateError> {
    if found.entry.digest == planned.manifest {
        return Ok(());
    }
    let id = planned.id.clone();
    Err(OrchestrateError::OtherPoint { id })
}

/// Converts a restore point into the form that plans use.
fn named(point: &RestorePoint) -> Parent {
    Parent {
        id: point.entry.id.clone(),
        manifest: point.entry.digest,
    }
}
