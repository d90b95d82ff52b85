//! What a restore stands on: the restore point that was judged, its objects, the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_cli::config::Given;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::open::kube_options;
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::{EtcdFacts, Finding, Parent};
use backup_core::id::ComponentName;
use backup_core::recover::plan::{Mode, Options, Origin, Plan, Step};
use backup_core::recover::spool::Spool;
use backup_core::recover::velero::read_velero;
use backup_core::recover::{RecoverError, Request, Select, foresee, lineage, read_archive, survey};
use backup_core::source::kube::KubeOptions;
use backup_core::source::kube::target::KubeTarget;

use super::{Objects, Source, failed};
use crate::args::{ReadFlags, ScratchFlags};
use crate::commands::latest::{LATEST, Needs, has_objects};
use crate::commands::{Opened, Reading, open, refuse_untrusted};

/// See the module.
pub(crate) struct Ground {
    pub(crate) opened: Opened,
    pub(crate) point: RestorePoint,
    /// The restore point that objects come from, if it is another one.
    forward: Option<RestorePoint>,
    /// The restore point whose objects are those of the restored etcd, or come near to them.
    base: Option<RestorePoint>,
    /// What is done.
    pub(crate) steps: Vec<Step>,
    kube: Option<KubeOptions>,
    reading: Reading,
    /// The SHA-256 of the prefix's claim, if it could be read.
    claim: Option<Digest>,
}

/// Which restore points a restore stands on.
pub(crate) struct Wanted<'a> {
    pub(crate) point: &'a str,
    pub(crate) forward: Option<&'a str>,
    pub(crate) steps: Vec<Step>,
    pub(crate) source: &'a Source,
}

/// How everything is reached.
pub(crate) type Flags<'a> = (&'a ReadFlags, &'a KubeFlags, &'a ScratchFlags);

impl Ground {
    /// Opens the store and finds what is wanted, which must be trusted. With `latest` a step on etcd
    /// takes the newest that has etcd, and objects are brought forward to the newest that has them.
    pub(crate) async fn open(
        wanted: Wanted<'_>,
        flags: Flags<'_>,
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let mut ground = Self::begin(wanted.point, &needs(&wanted), flags, frame).await?;
        ground.steps = wanted.steps;
        let etcd = ground.steps.contains(&Step::Etcd);
        let forward = match (wanted.forward, wanted.source) {
            (_, Source::Velero(_)) => None,
            (Some(forward), _) => Some(forward),
            (None, _) if wanted.point == LATEST && etcd && ground.writes_objects() => Some(LATEST),
            (None, _) => None,
        };
        match forward {
            Some(LATEST) => ground.forward = ground.newer(frame).await?,
            Some(forward) => {
                let found = ground.opened.find(forward, &Needs::Nothing, frame).await?;
                refuse_untrusted(&found)?;
                if found.entry.id < ground.point.entry.id {
                    let told =
                        format!("{} is older than {}", found.entry.id, ground.point.entry.id);
                    return Err(Failure::message(Exit::Usage, told).hint(
                        "objects are brought forward in time; plan the older one by itself",
                    ));
                }
                let other = found.entry.digest != ground.point.entry.digest;
                ground.forward = other.then_some(found);
            }
            None => {}
        }
        let own = has_objects(&ground.point.manifest);
        if own {
            ground.base = Some(ground.point.clone());
        } else if etcd && (ground.forward.is_some() || *wanted.source != Source::Archive) {
            ground.base = ground.opened.objects_before(&ground.point, frame).await?;
        } else if *wanted.source == Source::Archive
            && ground.forward.is_none()
            && (etcd || wanted.forward.is_some())
        {
            ground.leaves_objects(frame);
        }
        Ok(ground)
    }

    /// The newest restore point with objects, if it is newer than etcd's snapshot: one that has all of
    /// them, or else any. What is older, etcd has already.
    async fn newer(&self, frame: &Frame) -> Result<Option<RestorePoint>, Failure> {
        for needs in [Needs::Objects, Needs::Component(ComponentName::resources())] {
            match self.opened.find(LATEST, &needs, frame).await {
                Ok(found) if found.entry.id > self.point.entry.id => {
                    refuse_untrusted(&found)?;
                    return Ok(Some(found));
                }
                Ok(_) => {}
                Err(failure) if failure.exit() == Exit::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// A snapshot without objects, and nothing newer: they are as it has them.
    fn leaves_objects(&mut self, frame: &Frame) {
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
        needs: &Needs,
        (read, kube, scratch): Flags<'_>,
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let given = Given {
            kube: kube.clone(),
            ..read.given()
        };
        let opened = open(&given, frame).await?;
        let point = opened.find(point, needs, frame).await?;
        refuse_untrusted(&point)?;
        // Whoever may not read it, or finds none, is told by an audit.
        let claim = opened.store.get(&layout::claim()).await.ok();
        let claim = claim.map(|bytes| Digest::of(&bytes));
        let kube = kube_options(&opened.config, &frame.environment);
        let reading = Reading {
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

    /// What a plan stands on: the same restore points, by their digests.
    pub(crate) async fn of_plan(
        plan: &Plan,
        flags: Flags<'_>,
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let id = plan.restore_point.id.to_string();
        let mut ground = Self::begin(&id, &Needs::Nothing, flags, frame).await?;
        same_point(&ground.point, &plan.restore_point)?;
        ground.steps.clone_from(&plan.steps);
        if let Origin::Archive { restore_point } | Origin::Git { restore_point, .. } = &plan.origin
            && *restore_point != plan.restore_point
        {
            let id = restore_point.id.to_string();
            let found = ground.opened.find(&id, &Needs::Nothing, frame).await?;
            refuse_untrusted(&found)?;
            same_point(&found, restore_point)?;
            ground.forward = Some(found);
        }
        // One that only comes near is for foreseeing: what changed in between is no conflict.
        if plan.base.as_ref() == Some(&plan.restore_point) {
            ground.base = Some(ground.point.clone());
        }
        Ok(ground)
    }

    /// The restore point that objects come from.
    pub(crate) fn objects(&self) -> &RestorePoint {
        self.forward.as_ref().unwrap_or(&self.point)
    }

    /// The restore point that tenants are compared with: where objects come from, or the newest one
    /// with tenants.
    pub(crate) async fn baseline(&self, frame: &Frame) -> Result<RestorePoint, Failure> {
        let objects = self.objects();
        if has_objects(&objects.manifest) {
            return Ok(objects.clone());
        }
        let needs = Needs::Component(ComponentName::resources());
        let found = self.opened.find(LATEST, &needs, frame).await?;
        refuse_untrusted(&found)?;
        Ok(found)
    }

    /// The objects of `point` that `options` choose.
    pub(crate) async fn spool(
        &self,
        point: &RestorePoint,
        options: &Options,
        frame: &Frame,
    ) -> Result<Spool, Failure> {
        let select = select(point, options)?;
        let identities = self
            .opened
            .config
            .identities(|text| frame.terminal.warn(text))?;
        let reader = self
            .opened
            .reader(point, &identities, &self.reading, frame)
            .await?;
        match read_archive(&reader, &select).await {
            Ok(spool) => Ok(spool),
            Err(RecoverError::Archive(source)) => Err(self
                .opened
                .not_read(
                    *source,
                    (point, &identities),
                    &self.reading.scratch,
                    "restore-cli plan",
                    frame,
                )
                .await),
            Err(e) => Err(failed(e)),
        }
    }

    /// What is written, from wherever it is asked for. `target` tells kinds that nothing else
    /// defines.
    pub(crate) async fn material(
        &self,
        asked: &Asked,
        target: Option<&KubeTarget>,
        frame: &Frame,
    ) -> Result<Material, Failure> {
        let options = &asked.options;
        let objects = self.objects();
        let scratch = self.reading.scratch.as_path();
        if !self.writes_objects() {
            return Ok(Material {
                objects: Objects {
                    spool: Spool::create(scratch, 0).map_err(failed)?,
                    base: None,
                },
                origin: Origin::Archive {
                    restore_point: named(objects),
                },
                findings: Vec::new(),
            });
        }
        let (spool, origin, findings) = match &asked.source {
            Source::Archive => {
                let spool = self.spool(objects, options, frame).await?;
                let restore_point = named(objects);
                (spool, Origin::Archive { restore_point }, Vec::new())
            }
            Source::Git(git) => {
                // First what may fail at once.
                let fetched = async { git.checkout(scratch).await.map_err(git_failed) };
                let checkout = frame.or_cancelled(fetched).await?;
                let archive = self.spool(objects, options, frame).await?;
                let select = select(objects, options)?;
                let laid = checkout.over(&archive, target, &select, scratch);
                let laid = async { laid.await.map_err(failed) };
                let taken = frame.or_cancelled(laid).await?;
                let origin = Origin::Git {
                    repository: checkout.repository.clone(),
                    commit: checkout.commit.clone(),
                    reference: git.reference.clone(),
                    path: git.path.clone(),
                    restore_point: named(objects),
                };
                (taken.spool, origin, taken.findings)
            }
            Source::Velero(path) => {
                let select = select(objects, options)?;
                let read = read_velero(path, scratch, &select);
                let read = async { read.await.map_err(failed) };
                let taken = frame.or_cancelled(read).await?;
                let origin = Origin::Velero {
                    path: path.display().to_string(),
                    sha256: taken.sha256,
                };
                (taken.spool, origin, taken.findings)
            }
        };
        // Objects as the restored etcd has them, where others are brought forward from there.
        let from_elsewhere = asked.source != Source::Archive && asked.mode == Mode::InPlace;
        let base = self.base.as_ref().filter(|base| {
            // One that only comes near tells nothing that a living cluster does not.
            let exact = base.entry.digest == self.point.entry.digest;
            (self.forward.is_some() || from_elsewhere) && (exact || target.is_none())
        });
        let base = match base {
            Some(base) => Some((self.spool(base, options, frame).await?, named(base))),
            None => None,
        };
        Ok(Material {
            objects: Objects { spool, base },
            origin,
            findings,
        })
    }

    /// Connects to the cluster that is written to.
    pub(crate) async fn target(&self) -> Result<KubeTarget, Failure> {
        let Some(options) = &self.kube else {
            let told = "no way to the Kubernetes API is configured";
            let hint = "give --kubeconfig FILE, the key `kubernetes.kubeconfig`, or KUBECONFIG";
            return Err(Failure::message(Exit::Usage, told.to_owned()).hint(hint));
        };
        Ok(KubeTarget::connect(options)
            .await
            .map_err(anyhow::Error::new)?)
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
                Err(failure) if failure.exit() == Exit::Interrupted => return Err(failure),
                Err(failure) if began.elapsed() >= limit => {
                    let hint =
                        "see whether kube-apiserver runs on the node that etcd was restored on";
                    return Err(failure.hint(hint));
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(2)).await,
            }
        }
    }

    /// Makes the plan of a restore that begins with etcd.
    pub(crate) async fn foresee(
        &self,
        asked: &Asked,
        material: &Material,
        frame: &Frame,
    ) -> Result<Plan, Failure> {
        let Objects { spool, base } = &material.objects;
        let request = self.request(asked, material, frame);
        let base = base.as_ref().map(|(base, _)| base);
        let foreseen = foresee(&request, spool, base);
        frame
            .or_cancelled(async { foreseen.await.map_err(failed) })
            .await
    }

    /// Makes a plan of these objects for this cluster.
    pub(crate) async fn survey(
        &self,
        asked: &Asked,
        target: &KubeTarget,
        material: &Material,
        frame: &Frame,
    ) -> Result<Plan, Failure> {
        let Objects { spool, base } = &material.objects;
        let request = self.request(asked, material, frame);
        let planned = survey(
            &request,
            target,
            spool,
            base.as_ref().map(|(base, _)| base),
            self.reading.progress.as_ref(),
        );
        frame
            .or_cancelled(async { planned.await.map_err(failed) })
            .await
    }

    /// What a plan is made of.
    fn request(&self, asked: &Asked, material: &Material, frame: &Frame) -> Request {
        let objects = self.objects();
        let kubernetes = objects.manifest.kubernetes.as_ref();
        let archives = objects
            .manifest
            .components
            .iter()
            .filter_map(|c| c.archive.as_ref());
        let whole = archives
            .flat_map(|a| &a.kinds)
            .filter(|k| k.failed.is_none() && !matches!(asked.source, Source::Velero(_)));
        let (point, forward) = (&self.point, self.forward.as_ref());
        let lineage = lineage(point, forward, self.claim, &asked.options);
        let findings = material.findings.iter().cloned().chain(lineage);
        Request {
            cluster: self.point.manifest.cluster.clone(),
            mode: asked.mode,
            steps: asked.steps.clone(),
            restore_point: named(&self.point),
            origin: material.origin.clone(),
            findings: findings.collect(),
            base: material.objects.base.as_ref().map(|(_, of)| of.clone()),
            captured_uid: kubernetes.map(|k| k.uid.clone()),
            captured: objects.manifest.began,
            datastores: datastores(&[&self.point, objects]),
            tenants: kubernetes.map(|k| k.tenants.clone()).unwrap_or_default(),
            whole_kinds: whole.map(|k| k.resource.clone()).collect(),
            options: asked.options.clone(),
            dry_run: asked.dry_run,
            guards: backup_core::recover::guards::Guards::default(),
            now: frame.clock.now(),
        }
    }

    /// Told how it goes.
    pub(crate) fn progress(&self) -> Arc<dyn backup_core::progress::Progress> {
        Arc::clone(&self.reading.progress)
    }
}

/// What is written, and where it was taken from.
pub(crate) struct Material {
    pub(crate) objects: Objects,
    pub(crate) origin: Origin,
    /// What a person should know of the source.
    findings: Vec<Finding>,
}

/// What the restore point must have if the newest is asked for.
fn needs(wanted: &Wanted<'_>) -> Needs {
    let has = |step| wanted.steps.contains(&step);
    if has(Step::Etcd) {
        return Needs::Component(ComponentName::etcd());
    }
    match wanted.source {
        Source::Velero(_) => Needs::Nothing,
        _ if has(Step::Resources) => Needs::Objects,
        _ if has(Step::Crds) => Needs::Component(ComponentName::crds()),
        _ => Needs::Component(ComponentName::resources()),
    }
}

/// Refuses a restore point that is another one than the plan's.
fn same_point(found: &RestorePoint, planned: &Parent) -> Result<(), Failure> {
    if found.entry.digest == planned.manifest {
        return Ok(());
    }
    let told = format!(
        "restore point {} is another one than the plan's",
        planned.id
    );
    Err(Failure::message(Exit::Refused, told).hint("plan again"))
}

/// The choice of `options` among the tenants of `point`.
fn select(point: &RestorePoint, options: &Options) -> Result<Select, Failure> {
    let kubernetes = point.manifest.kubernetes.as_ref();
    let tenants = kubernetes.map(|k| k.tenants.as_slice());
    Select::new(options, tenants.unwrap_or_default()).map_err(failed)
}

/// What was read out of each DataStore's etcd; a later restore point has the last word.
fn datastores(points: &[&RestorePoint]) -> BTreeMap<String, EtcdFacts> {
    let components = points.iter().flat_map(|point| &point.manifest.components);
    let known = components.filter_map(|component| {
        let name = component.name.datastore_name()?;
        Some((name.to_owned(), component.etcd.clone()?))
    });
    known.collect()
}

fn git_failed(error: backup_core::recover::git::GitError) -> Failure {
    failed(RecoverError::Git(error))
}

/// What a plan was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) mode: Mode,
    pub(crate) steps: Vec<Step>,
    pub(crate) options: Options,
    pub(crate) source: Source,
    /// Whether creates are tried with dry runs.
    pub(crate) dry_run: bool,
}

impl Asked {
    /// What `plan` was asked for, to see whether it would be the same now.
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            mode: plan.mode,
            steps: plan.steps.clone(),
            options: plan.options.clone(),
            source: Source::of(&plan.origin),
            dry_run: false,
        }
    }
}

/// A restore point as plans name it.
pub(crate) fn named(point: &RestorePoint) -> Parent {
    Parent {
        id: point.entry.id.clone(),
        manifest: point.entry.digest,
    }
}
