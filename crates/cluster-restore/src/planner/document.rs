//! Plan document that is made from the results of a survey.

use std::collections::BTreeMap;

use super::Request;
use crate::journal::Outcome;
use crate::objects::Prediction;
use crate::plan::{KindPlan, ObjectPlan, Plan, Target};
use crate::{RecoverError, TOOL, quiesce};
use backup_core::archive::ObjectPath;
use backup_core::digest::Digest;
use backup_core::format::manifest::Finding;

/// Builds the plan from the results.
pub(super) fn document(
    request: &Request,
    target: Option<Target>,
    told: Vec<(ObjectPath, Prediction)>,
    park: Vec<quiesce::ParkedItem>,
    findings: Vec<Finding>,
) -> Result<Plan, RecoverError> {
    let mut kinds: BTreeMap<String, KindPlan> = BTreeMap::new();
    let mut objects = Vec::new();
    for (path, prediction) in told {
        let Prediction {
            outcome,
            why,
            content,
            untried,
        } = prediction;
        let resource = path.resource.to_string();
        let kind = kinds.entry(resource.clone()).or_insert_with(|| KindPlan {
            resource,
            ..KindPlan::default()
        });
        let count = kind.count(outcome);
        *count = count.saturating_add(1);
        if outcome != Outcome::Same {
            objects.push(ObjectPlan {
                object: path.to_string(),
                outcome,
                why,
                content,
                untried,
            });
        }
    }
    objects.sort_by(|a, b| a.object.cmp(&b.object));
    let plan = Plan {
        version: 1,
        tool: TOOL.to_owned(),
        made: request.now,
        cluster: request.cluster.clone(),
        mode: request.mode,
        steps: request.steps.clone(),
        restore_point: request.restore_point.clone(),
        origin: request.origin.clone(),
        base: request.base.clone(),
        etcd: None,
        cluster_facts: request.cluster_facts.clone(),
        target,
        options: request.options.clone(),
        park,
        kinds: kinds.into_values().collect(),
        objects,
        findings,
        digest: Digest::of(b""),
    };
    plan.sealed()
}

impl KindPlan {
    /// Returns the counter of an outcome.
    pub(crate) fn count(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Created => &mut self.create,
            Outcome::Changed => &mut self.change,
            Outcome::Same => &mut self.same,
            Outcome::Skipped => &mut self.skip,
            Outcome::Conflict => &mut self.conflict,
            Outcome::Pruned => &mut self.prune,
            Outcome::Failed => &mut self.fail,
        }
    }
}
