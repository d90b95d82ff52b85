//! Restore that was interrupted, and continues from where its journal ends.

use std::path::Path;

use backup_core::digest::Digest;
use jiff::Timestamp;

use super::execute::Execution;
use super::{
    COMPLETE, COMPLETE_OF_PARTIAL, Consent, ObjectSource, OrchestrateError, PlanRequest,
    RestoreContext, RestoreOutcome, RestoreSetup, RestoreTargets, plan_file, same_source,
};
use crate::Timeouts;
use crate::journal::{Journal, Phase, Record};
use crate::plan::{Plan, Step, admit};

/// Restore that was interrupted; see the module.
pub struct InterruptedRestore {
    journal: Journal,
    plan: Plan,
    /// Whether the journal is a copy from the store.
    copied: bool,
}

impl InterruptedRestore {
    /// Opens a journal and the plan beside it, and keeps other processes from using the journal. `copied`
    /// says whether it is a copy from the store, as [`fetch_copy`](super::fetch_copy) wrote it.
    ///
    /// # Errors
    /// When one of them cannot be used, or they do not belong together.
    pub fn open(journal: &Path, copied: bool) -> Result<Self, OrchestrateError> {
        let opened = Journal::open(journal)?;
        let plan = plan_of(journal, opened.state.plan)?;
        Ok(Self {
            journal: opened,
            plan,
            copied,
        })
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the end of a restore with nothing left to do, and its time.
    #[must_use]
    pub fn completed(&self) -> Option<(&'static str, Timestamp)> {
        let (how, at) = self.journal.state.ended.as_ref()?;
        let ends = [COMPLETE, COMPLETE_OF_PARTIAL];
        let end = ends.into_iter().find(|end| end == how)?;
        Some((end, *at))
    }

    /// Continues the restore. Asks for `consent` again if the journal is a copy: then it was given on another
    /// machine.
    ///
    /// # Errors
    /// When the targets or the source of the objects are not those of the plan, nobody consents, or the run
    /// fails; [`OrchestrateError::Unfinished`] names the journal from which it continues.
    pub async fn run(
        self,
        setup: RestoreSetup,
        consent: &dyn Consent,
        timeouts: Timeouts,
    ) -> Result<RestoreOutcome, OrchestrateError> {
        let Self {
            mut journal,
            plan,
            copied,
        } = self;
        let context = RestoreContext::of_plan(&plan, setup).await?;
        context.admit_steps(&plan.steps)?;
        // With a step on etcd the API may not be up yet; the step waits for it.
        let target = if plan.has(Step::Etcd) {
            None
        } else {
            Some(context.target().await?)
        };
        if let Some(target) = &target {
            admit(&plan, target)?;
        }
        if copied {
            let etcd = plan.etcd.as_ref();
            let etcd = etcd.filter(|_| !journal.state.is_done(Phase::Etcd));
            let targets = RestoreTargets::check(&context, (&plan, etcd), target.as_ref()).await?;
            let asked = consent.ask(&plan, &targets).await;
            asked.map_err(OrchestrateError::NoConsent)?;
        }
        let plan_request = PlanRequest {
            source: ObjectSource::begun(&plan.origin),
            ..PlanRequest::of(&plan)
        };
        let material = context.material(&plan_request, target.as_ref()).await?;
        same_source(&plan.origin, &material.origin)?;
        let at = context.setup.clock.now();
        journal.write(vec![Record::Resumed { at, copied }])?;
        let execution = Execution {
            context,
            plan,
            target,
            objects: material.objects,
            timeouts,
        };
        Box::pin(execution.run(journal)).await
    }
}

/// Reads the plan of `journal`, which must be the one that the journal began with.
fn plan_of(journal: &Path, digest: Option<Digest>) -> Result<Plan, OrchestrateError> {
    let file = plan_file(journal);
    let plan = Plan::read(&file)?;
    if Some(plan.digest) == digest {
        return Ok(plan);
    }
    Err(OrchestrateError::OtherPlan {
        plan: file.display().to_string(),
        journal: journal.display().to_string(),
    })
}
