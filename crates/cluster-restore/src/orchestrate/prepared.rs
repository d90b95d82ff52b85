//! Plan that was checked against the cluster and its nodes as they are now, ready to run.

use std::path::Path;

use cluster_client::kube::target::KubeTarget;

use super::context::ObjectSpools;
use super::execute::Execution;
use super::{
    Consent, OrchestrateError, PlanRequest, RestoreContext, RestoreOutcome, RestoreSetup,
    RestoreTargets, same_source,
};
use crate::Timeouts;
use crate::plan::{Plan, Step, admit_answer};

/// Largest number of differences that are listed one by one.
const LISTED: usize = 12;

/// Plan that is ready to run; see the module.
pub struct PreparedRestore {
    context: RestoreContext,
    plan: Plan,
    /// Cluster that is written to; `None` before its etcd is back.
    target: Option<KubeTarget>,
    objects: ObjectSpools,
    /// Whether the plan itself must have no blockers; those of an earlier plan were checked against the
    /// present state.
    is_new: bool,
}

impl PreparedRestore {
    /// Makes a plan without a step on etcd, and keeps the objects and the cluster that it was made for.
    ///
    /// # Errors
    /// When the restore points or the cluster cannot be read.
    pub async fn new(
        context: RestoreContext,
        plan_request: &PlanRequest,
    ) -> Result<Self, OrchestrateError> {
        let target = context.target().await?;
        let material = context.material(plan_request, Some(&target)).await?;
        let plan = context.survey(plan_request, &target, &material).await?;
        Ok(Self {
            context,
            plan,
            target: Some(target),
            objects: material.objects,
            is_new: true,
        })
    }

    /// Checks an earlier plan against the present state.
    ///
    /// # Errors
    /// When the plan has blockers, or the restore points, the source of the objects or the cluster differ from
    /// those that it was made for.
    pub async fn of_plan(plan: Plan, setup: RestoreSetup) -> Result<Self, OrchestrateError> {
        let context = RestoreContext::of_plan(&plan, setup).await?;
        context.admit_steps(&plan.steps)?;
        let plan_request = PlanRequest::of(&plan);
        // The objects of etcd's snapshot exist only after its restore.
        if plan.has(Step::Etcd) {
            if let Some(blocker) = plan.blockers().first() {
                return Err(OrchestrateError::PlannedBlocker {
                    cause: blocker.cause.clone(),
                    remedy: blocker.remedy.clone(),
                });
            }
            let material = context.material(&plan_request, None).await?;
            same_source(&plan.origin, &material.origin)?;
            // Tenants' data may be gone since the plan. The outcome of objects was only forecast, and is
            // determined later.
            let now = context.predict(&plan_request, &material, None).await?;
            check_blockers(&now)?;
            return Ok(Self {
                context,
                plan,
                target: None,
                objects: material.objects,
                is_new: false,
            });
        }
        let target = context.target().await?;
        let material = context.material(&plan_request, Some(&target)).await?;
        same_source(&plan.origin, &material.origin)?;
        let now = context.survey(&plan_request, &target, &material).await?;
        check_unchanged(&plan, &now)?;
        Ok(Self {
            context,
            plan,
            target: Some(target),
            objects: material.objects,
            is_new: false,
        })
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Asks for consent and runs the plan, with a journal in the folder `journals`.
    ///
    /// # Errors
    /// When the plan has blockers, the targets are not those of the plan, nobody consents, or the run fails;
    /// [`OrchestrateError::Unfinished`] names the journal from which it continues.
    pub async fn run(
        self,
        consent: &dyn Consent,
        journals: &Path,
        timeouts: Timeouts,
    ) -> Result<RestoreOutcome, OrchestrateError> {
        if self.is_new {
            check_blockers(&self.plan)?;
        }
        let etcd = self.plan.etcd.as_ref();
        let target = self.target.as_ref();
        let targets = RestoreTargets::check(&self.context, (&self.plan, etcd), target).await?;
        let asked = consent.ask(&self.plan, &targets).await;
        asked.map_err(OrchestrateError::NoConsent)?;
        let execution = Execution {
            context: self.context,
            plan: self.plan,
            target: self.target,
            objects: self.objects,
            timeouts,
        };
        Box::pin(execution.begin(journals)).await
    }
}

/// Refuses a plan that does not fit the present state.
fn check_unchanged(plan: &Plan, now: &Plan) -> Result<(), OrchestrateError> {
    if let Some(answer) = &now.target {
        admit_answer(plan, answer)?;
    }
    let differences = plan.differences(now, LISTED);
    if !differences.is_empty() {
        return Err(OrchestrateError::Changed { differences });
    }
    check_blockers(now)
}

/// Refuses a plan that has blockers now.
fn check_blockers(now: &Plan) -> Result<(), OrchestrateError> {
    let blockers = now.blockers();
    let Some(first) = blockers.first() else {
        return Ok(());
    };
    Err(OrchestrateError::Blocked {
        count: blockers.len(),
        object: first.object.clone(),
        cause: first.cause.clone(),
        remedy: first.remedy.clone(),
    })
}
