//! Request for a plan, and the plan.

use std::collections::BTreeMap;

use backup_core::catalog::RestorePoint;
use backup_core::format::manifest::{EtcdFacts, Finding, Severity};
use cluster_client::kube::target::KubeTarget;

use super::material::Material;
use super::{ObjectSpools, RestoreContext, named};
use crate::guards::Guards;
use crate::orchestrate::{LocatedGap, ObjectSource, OrchestrateError, etcd};
use crate::plan::{ClusterFacts, Mode, Options, Plan, Step, Target};
use crate::spool::ObjectSpool;
use crate::{Request, gaps, lineage, predict, survey};

/// Parameters of a plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// Mode of the restore.
    pub mode: Mode,
    /// Steps of the restore.
    pub steps: Vec<Step>,
    /// Choice of objects, and what becomes of existing ones.
    pub options: Options,
    /// Source of the objects.
    pub source: ObjectSource,
    /// Whether writes are tried with dry runs.
    pub dry_run: bool,
}

impl PlanRequest {
    /// Returns the parameters of `plan`, to check whether it would be the same now.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            mode: plan.mode,
            steps: plan.steps.clone(),
            options: plan.options.clone(),
            source: ObjectSource::of(&plan.origin),
            // A write that a dry run refused must be refused again.
            dry_run: true,
        }
    }
}

impl RestoreContext {
    /// Makes the plan of a restore, and checks the nodes if it begins with etcd. Changes nothing.
    ///
    /// # Errors
    /// When the restore points, the cluster or the nodes cannot be read.
    pub async fn plan(&self, plan_request: &PlanRequest) -> Result<Plan, OrchestrateError> {
        if !plan_request.steps.contains(&Step::Etcd) {
            let target = self.target().await?;
            let material = self.material(plan_request, Some(&target)).await?;
            return self.survey(plan_request, &target, &material).await;
        }
        let look = etcd::look(self, &plan_request.options.allow);
        let etcd = self.setup.or_cancelled(look).await?;
        let material = self.material(plan_request, None).await?;
        let answer = self.answer().await?.ok();
        let plan = self
            .predict(plan_request, &material, answer.as_ref())
            .await?;
        Ok(plan.with_etcd(etcd)?)
    }

    /// Makes the plan of a restore that begins with etcd. `answer` is the cluster that answers at the
    /// kubeconfig's address now, if any.
    pub(in super::super) async fn predict(
        &self,
        plan_request: &PlanRequest,
        material: &Material,
        answer: Option<&Target>,
    ) -> Result<Plan, OrchestrateError> {
        let ObjectSpools { spool, base } = &material.objects;
        let mut request = self.request(plan_request, material, answer);
        let lacks = self.lacks_of(
            &plan_request.steps,
            &plan_request.options,
            &plan_request.source,
        );
        request.findings.extend(lacks.await);
        let base = base.as_ref().map(|(base, _)| base);
        let prediction = predict(&request, spool, base);
        let predicting = async { Ok(prediction.await?) };
        self.setup.or_cancelled(predicting).await
    }

    /// Makes a plan of these objects for this cluster.
    pub(in super::super) async fn survey(
        &self,
        plan_request: &PlanRequest,
        target: &KubeTarget,
        material: &Material,
    ) -> Result<Plan, OrchestrateError> {
        let ObjectSpools { spool, base } = &material.objects;
        let mut request = self.request(plan_request, material, None);
        let lacks = self.lacks_of(
            &plan_request.steps,
            &plan_request.options,
            &plan_request.source,
        );
        request.findings.extend(lacks.await);
        // The future is too large for a caller's stack.
        let planned = Box::pin(survey(
            &request,
            target,
            spool,
            base.as_ref().map(|(base, _)| base),
            self.progress.as_ref(),
        ));
        let planning = async { Ok(planned.await?) };
        self.setup.or_cancelled(planning).await
    }

    /// Returns the facts that identify the restored cluster. When etcd comes back, only its restore point
    /// counts.
    fn cluster_facts(&self, plan_request: &PlanRequest, spool: &ObjectSpool) -> ClusterFacts {
        if plan_request.steps.contains(&Step::Etcd) {
            return ClusterFacts::of([&self.point], None);
        }
        ClusterFacts::of([&self.point, self.objects()], Some(spool))
    }

    /// Returns the gaps of the restore point of the plan's objects, as far as the plan restores them.
    pub(in super::super) async fn lacks(&self, plan: &Plan) -> Vec<Finding> {
        let source = ObjectSource::of(&plan.origin);
        self.lacks_of(&plan.steps, &plan.options, &source).await
    }

    async fn lacks_of(
        &self,
        steps: &[Step],
        options: &Options,
        source: &ObjectSource,
    ) -> Vec<Finding> {
        // A Velero backup does not use the restore point.
        if matches!(source, ObjectSource::Velero(_)) {
            return Vec::new();
        }
        let objects = self.objects();
        let gaps = gaps(&objects.manifest, steps, options);
        // Gaps are reported even if the store cannot be queried for older restore points.
        let lacked = self.setup.points.locate(objects, &gaps).await;
        let lacked = lacked.unwrap_or_else(|_| LocatedGap::unlocated(&gaps));
        let findings = lacked.iter();
        let findings = findings.map(|one| one.finding(Severity::Warning, "restore-cli plan"));
        findings.collect()
    }

    /// Returns the request for a plan.
    fn request(
        &self,
        plan_request: &PlanRequest,
        material: &Material,
        answer: Option<&Target>,
    ) -> Request {
        let objects = self.objects();
        let kubernetes = objects.manifest.kubernetes.as_ref();
        let archives = objects
            .manifest
            .components
            .iter()
            .filter_map(|c| c.archive.as_ref());
        // A Velero tarball does not prove that a kind is complete.
        let complete = archives
            .flat_map(|a| &a.kinds)
            .filter(|_| !matches!(plan_request.source, ObjectSource::Velero(_)))
            .filter_map(|k| Some((k.resource.clone(), k.complete.clone()?)));
        let (point, forward) = (&self.point, self.forward.as_ref());
        let spool = &material.objects.spool;
        let lineage = lineage(
            point,
            forward,
            self.owner_marker,
            spool,
            &plan_request.options,
        );
        let findings = material.findings.iter().cloned().chain(lineage);
        Request {
            cluster: self.point.manifest.cluster.clone(),
            mode: plan_request.mode,
            steps: plan_request.steps.clone(),
            restore_point: named(&self.point),
            origin: material.origin.clone(),
            findings: findings.collect(),
            base: material.objects.base.as_ref().map(|(_, of)| of.clone()),
            cluster_facts: self.cluster_facts(plan_request, spool),
            answer: answer.cloned(),
            captured: objects.manifest.began,
            datastores: datastores(&[&self.point, objects]),
            tenants: kubernetes.map(|k| k.tenants.clone()).unwrap_or_default(),
            complete: complete.collect(),
            options: plan_request.options.clone(),
            dry_run: plan_request.dry_run,
            key: material.key.clone(),
            guards: Guards::default(),
            now: self.setup.clock.now(),
        }
    }
}

/// Returns the facts about each DataStore's etcd; a later restore point replaces an earlier one.
fn datastores(points: &[&RestorePoint]) -> BTreeMap<String, EtcdFacts> {
    let components = points.iter().flat_map(|point| &point.manifest.components);
    let known = components.filter_map(|component| {
        let name = component.name.datastore_name()?;
        Some((name.to_owned(), component.etcd.clone()?))
    });
    known.collect()
}
