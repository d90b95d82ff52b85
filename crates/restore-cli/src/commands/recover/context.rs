//! Context of a restore: the checked restore point, its objects, the cluster.

mod material;
mod request;

use std::sync::Arc;
use std::time::Duration;

use backup_cli::config::ConfigFlags;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::open::kube_options;
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::Parent;
use backup_core::id::ComponentName;
use cluster_client::kube::KubeOptions;
use cluster_client::kube::target::KubeTarget;
use cluster_restore::orchestrate::{LATEST, ObjectSource, Requirement, has_objects};
use cluster_restore::plan::{Origin, Plan, Step, Target};

pub(crate) use self::request::PlanRequest;
use crate::commands::latest::not_found;
use crate::commands::{OpenedStore, ReadSettings, open};
use crate::flags::{ReadFlags, ScratchFlags};

/// Time in which a running API server answers; one whose etcd is gone does not.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Context of a restore; see the module.
pub(crate) struct RestoreContext {
    pub(crate) opened: OpenedStore,
    pub(crate) point: RestorePoint,
    /// Restore point of the objects, if it is another one.
    forward: Option<RestorePoint>,
    /// Restore point whose objects are those of the restored etcd, or close to them.
    base: Option<RestorePoint>,
    /// Steps of the restore.
    pub(crate) steps: Vec<Step>,
    kube: Option<KubeOptions>,
    reading: ReadSettings,
    /// SHA-256 of the prefix's claim, if it could be read.
    claim: Option<Digest>,
}

/// Restore points that a restore uses.
pub(crate) struct PointSelection<'a> {
    pub(crate) point: &'a str,
    pub(crate) forward: Option<&'a str>,
    pub(crate) steps: Vec<Step>,
    pub(crate) source: &'a ObjectSource,
}

/// Flags for the store, the cluster and scratch files.
pub(crate) type ContextFlags<'a> = (&'a ReadFlags, &'a KubeFlags, &'a ScratchFlags);

impl RestoreContext {
    /// Opens the store and finds the wanted restore point, which must be trusted. With `latest` a step on
    /// etcd takes the newest with etcd, and objects are brought forward to the newest that has them.
    pub(crate) async fn open(
        wanted: PointSelection<'_>,
        flags: ContextFlags<'_>,
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let mut context = Self::begin(wanted.point, &needs(&wanted), flags, frame).await?;
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
                let found = context.opened.find(forward, &Requirement::Nothing).await?;
                if found.entry.id < context.point.entry.id {
                    let told = format!(
                        "{} is older than {}",
                        found.entry.id, context.point.entry.id
                    );
                    return Err(Failure::message(Exit::Usage, told)
                        .hint("objects are brought forward in time; plan the older one alone"));
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
            let older = context.opened.points.objects_before(&context.point);
            context.base = older.await.map_err(not_found)?;
        } else if *wanted.source == ObjectSource::Archive
            && context.forward.is_none()
            && (etcd || wanted.forward.is_some())
        {
            context.drop_object_steps(frame);
        }
        Ok(context)
    }

    /// Finds the newest restore point with objects that is newer than etcd's snapshot: one with all objects,
    /// or any other. The restored etcd already has the objects of older ones.
    async fn newer(&self) -> Result<Option<RestorePoint>, Failure> {
        for needs in [
            Requirement::Objects,
            Requirement::Component(ComponentName::resources()),
        ] {
            match self.opened.find(LATEST, &needs).await {
                Ok(found) if found.entry.id > self.point.entry.id => {
                    return Ok(Some(found));
                }
                Ok(_) => {}
                Err(failure) if failure.exit() == Exit::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// Drops the steps on objects, because the snapshot has none besides etcd and nothing is newer.
    fn drop_object_steps(&mut self, frame: &Frame) {
        if !self.writes_objects() {
            return;
        }
        self.steps
            .retain(|step| !matches!(step, Step::Crds | Step::Resources));
        frame.terminal.status(&format!(
            "{} has no objects besides etcd, and none are brought forward: they come back as etcd \
             has them",
            self.point.entry.id
        ));
    }

    fn writes_objects(&self) -> bool {
        let is = |step: &Step| matches!(step, Step::Crds | Step::Resources);
        self.steps.iter().any(is)
    }

    async fn begin(
        point: &str,
        needs: &Requirement,
        (read, kube, scratch): ContextFlags<'_>,
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let given = ConfigFlags {
            kube: kube.clone(),
            ..read.given()
        };
        let opened = open(&given, frame).await?;
        let point = opened.find(point, needs).await?;
        // An audit reports a claim that is missing or cannot be read.
        let claim = opened.store.get(&layout::claim()).await.ok();
        let claim = claim.map(|bytes| Digest::of(&bytes));
        let kube = kube_options(&opened.config, &frame.environment);
        let reading = ReadSettings {
            scratch: scratch.folder(frame),
            progress: frame.terminal.progress(),
        };
        Ok(Self {
            opened,
            point,
            forward: None,
            base: None,
            steps: Vec::new(),
            kube,
            reading,
            claim,
        })
    }

    /// Opens the context of a plan: the same restore points, by their digests.
    pub(crate) async fn of_plan(
        plan: &Plan,
        flags: ContextFlags<'_>,
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let id = plan.restore_point.id.to_string();
        let mut context = Self::begin(&id, &Requirement::Nothing, flags, frame).await?;
        same_point(&context.point, &plan.restore_point)?;
        context.steps.clone_from(&plan.steps);
        if let Origin::Archive { restore_point } | Origin::Git { restore_point, .. } = &plan.origin
            && *restore_point != plan.restore_point
        {
            let id = restore_point.id.to_string();
            let found = context.opened.find(&id, &Requirement::Nothing).await?;
            same_point(&found, restore_point)?;
            context.forward = Some(found);
        }
        // A base that is only close serves for the forecast: differences from it are not conflicts.
        if plan.base.as_ref() == Some(&plan.restore_point) {
            context.base = Some(context.point.clone());
        }
        Ok(context)
    }

    /// Returns the restore point of the objects.
    pub(crate) fn objects(&self) -> &RestorePoint {
        self.forward.as_ref().unwrap_or(&self.point)
    }

    /// Finds the restore point that tenants are compared with: that of the objects, or the newest one with
    /// tenants.
    pub(crate) async fn baseline(&self) -> Result<RestorePoint, Failure> {
        let objects = self.objects();
        if has_objects(&objects.manifest) {
            return Ok(objects.clone());
        }
        let needs = Requirement::Component(ComponentName::resources());
        let found = self.opened.find(LATEST, &needs).await?;
        Ok(found)
    }

    /// Reports whether access to the Kubernetes API is configured.
    pub(crate) fn has_api(&self) -> bool {
        self.kube.is_some()
    }

    /// Refuses steps that need the Kubernetes API if no access to it is configured, before the first of them
    /// begins.
    pub(crate) fn admit_steps(&self, steps: &[Step]) -> Result<(), Failure> {
        if self.has_api() || only_etcd(steps) {
            return Ok(());
        }
        Err(no_api())
    }

    /// Connects to the cluster that is written to.
    pub(crate) async fn target(&self) -> Result<KubeTarget, Failure> {
        let Some(options) = &self.kube else {
            return Err(no_api());
        };
        Ok(KubeTarget::connect(options)
            .await
            .map_err(anyhow::Error::new)?)
    }

    /// Returns the cluster that answers at the kubeconfig's address, or why none answers. Does not wait for a
    /// cluster whose etcd is gone.
    pub(crate) async fn answer(&self, frame: &Frame) -> Result<Result<Target, String>, Failure> {
        let Some(options) = &self.kube else {
            return Ok(Err("no kubeconfig is given".to_owned()));
        };
        let options = options.clone().within(ANSWERS_WITHIN);
        let connected = async { Ok(KubeTarget::connect(&options).await) };
        let answer = frame.or_cancelled(connected).await?;
        Ok(answer
            .map(|target| target_of(&target))
            .map_err(|e| e.line()))
    }

    /// Connects when the API answers, which it does some time after its etcd is back.
    pub(crate) async fn target_within(
        &self,
        limit: Duration,
        frame: &Frame,
    ) -> Result<KubeTarget, Failure> {
        let began = tokio::time::Instant::now();
        frame.terminal.status("waiting for the Kubernetes API");
        loop {
            match frame.or_cancelled(self.target()).await {
                Ok(target) if target.is_ready().await => return Ok(target),
                Ok(_) if began.elapsed() >= limit => {
                    let told = "the Kubernetes API answers and is not ready";
                    return Err(Failure::message(Exit::Failed, told)
                        .hint("see `kubectl get --raw '/readyz?verbose'`"));
                }
                Ok(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                // An error on this side does not pass.
                Err(failure) if matches!(failure.exit(), Exit::Interrupted | Exit::Usage) => {
                    return Err(failure);
                }
                Err(failure) if began.elapsed() >= limit => {
                    let hint =
                        "see whether kube-apiserver runs on the node that etcd was restored on";
                    return Err(failure.hint(hint));
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(2)).await,
            }
        }
    }

    /// Returns the progress display.
    pub(crate) fn progress(&self) -> Arc<dyn backup_core::progress::Progress> {
        Arc::clone(&self.reading.progress)
    }
}

/// Reports whether only etcd is restored, which needs no Kubernetes API.
pub(crate) fn only_etcd(steps: &[Step]) -> bool {
    steps == [Step::Etcd]
}

fn no_api() -> Failure {
    let told = "no way to the Kubernetes API is configured";
    let hint = "give --kubeconfig FILE, the key `kubernetes.kubeconfig`, or KUBECONFIG";
    Failure::message(Exit::Usage, told.to_owned()).hint(hint)
}

/// Converts a cluster into the form that plans use.
pub(crate) fn target_of(target: &KubeTarget) -> Target {
    Target {
        uid: target.uid().to_owned(),
        server: target.server().to_owned(),
        version: target.version().to_owned(),
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
fn same_point(found: &RestorePoint, planned: &Parent) -> Result<(), Failure> {
    if found.entry.digest == planned.manifest {
        return Ok(());
    }
    let told = format!("restore point {} is not the one of the plan", planned.id);
    Err(Failure::message(Exit::Refused, told).hint("plan again"))
}

/// Converts a restore point into the form that plans use.
pub(crate) fn named(point: &RestorePoint) -> Parent {
    Parent {
        id: point.entry.id.clone(),
        manifest: point.entry.digest,
    }
}
