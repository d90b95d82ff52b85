//! Survey that compares the archive with the cluster and makes a plan; it only reads and makes dry runs.

mod document;
mod dry_runs;
mod lists;
mod live;
mod owners;
mod prune;
mod uids;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::json;

use self::document::document;
use super::contents::ContentKey;
use super::dangers::{DangerChecker, LiveObjects, SEALED_SECRETS};
use super::desired::{OwnerReference, comparable};
use super::guards::Guards;
use super::journal::Outcome;
use super::objects::Prediction;
use super::plan::{ClusterFacts, Danger, Mode, Options, Origin, Plan, Step, Target};
use super::select::Selection;
use super::spool::ObjectSpool;
use super::{RecoverError, datastore_check, exclusions, quiesce};
use backup_core::archive::{ObjectPath, same};
use backup_core::format::export::{CompleteIn, TenantFacts};
use backup_core::format::manifest::{EtcdFacts, Finding, Parent, Severity};
use backup_core::id::ClusterName;
use backup_core::progress::Progress;
use cluster_client::kube::target::KubeTarget;

/// Reason why nothing is tried before etcd is restored.
const AFTER_ETCD: &str = "etcd comes back first";

/// Inputs of a plan.
#[derive(Debug, Clone)]
pub struct Request {
    /// Name of the cluster.
    pub cluster: ClusterName,
    /// Mode of the restore.
    pub mode: Mode,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Restore point that is restored.
    pub restore_point: Parent,
    /// Source of the objects.
    pub origin: Origin,
    /// Findings from reading the objects.
    pub findings: Vec<Finding>,
    /// Restore point whose etcd the objects are brought forward from.
    pub base: Option<Parent>,
    /// Facts that identify the captured cluster.
    pub cluster_facts: ClusterFacts,
    /// Cluster at the current kubeconfig, if it answers; for steps that begin with etcd.
    pub answer: Option<Target>,
    /// Time of the capture.
    pub captured: Timestamp,
    /// Facts read from the etcd of each DataStore, by its name.
    pub datastores: BTreeMap<String, EtcdFacts>,
    /// Tenants as the restore point recorded them.
    pub tenants: Vec<TenantFacts>,
    /// Kinds that were captured completely, and where: for pruning.
    pub complete: BTreeMap<String, CompleteIn>,
    /// Options that were requested.
    pub options: Options,
    /// Whether creates and changes are tried with dry runs.
    pub dry_run: bool,
    /// Key for digests of the content to write.
    pub key: ContentKey,
    /// Precautions that are active.
    pub guards: Guards,
    /// Current time.
    pub now: Timestamp,
}

/// State of a survey.
struct Survey<'a> {
    request: &'a Request,
    target: &'a KubeTarget,
    spool: &'a ObjectSpool,
    select: &'a Selection,
    outcomes: HashMap<usize, Prediction>,
    without: HashMap<usize, &'static str>,
    pruned: Vec<(ObjectPath, Outcome, Option<String>)>,
    namespaces: BTreeSet<String>,
    beside: LiveObjects,
    foreign_tenants: Vec<String>,
    /// Volumes that cannot be created safely.
    refused: HashMap<usize, &'static str>,
    /// UIDs of live objects, by position.
    there: HashMap<usize, String>,
    /// Owners that live objects name, by position.
    owned: HashMap<usize, Vec<OwnerReference>>,
    findings: Vec<Finding>,
}

/// Makes the plan. Changes nothing.
///
/// # Errors
/// When the cluster or the scratch file cannot be read.
pub async fn survey(
    request: &Request,
    target: &KubeTarget,
    spool: &ObjectSpool,
    base: Option<&ObjectSpool>,
    progress: &dyn Progress,
) -> Result<Plan, RecoverError> {
    progress.step("looking at the archive and the cluster", None);
    let select = Selection::new(&request.options, &request.tenants)?;
    let mut survey = Survey {
        request,
        target,
        spool,
        select: &select,
        outcomes: HashMap::new(),
        without: HashMap::new(),
        pruned: Vec::new(),
        namespaces: BTreeSet::new(),
        beside: LiveObjects::default(),
        foreign_tenants: Vec::new(),
        refused: HashMap::new(),
        there: HashMap::new(),
        owned: HashMap::new(),
        findings: request.findings.clone(),
    };
    let mut dangers = survey.archive()?;
    survey.same_cluster();
    survey.fills();
    survey.live(base).await?;
    survey.absent(base)?;
    survey.not_pruned();
    survey.owners().await?;
    survey.fields().await?;
    if request.dry_run {
        survey.dry_runs(base).await?;
    }
    progress.step("looking into the tenants' DataStores", None);
    // Boxed, because the future would be too large for a caller's stack.
    let data = Box::pin(datastore_check::check(
        request,
        dangers.planes(),
        spool,
        Some(target),
    ))
    .await;
    dangers.add(data);
    survey.prove(&mut dangers)?;
    let found = dangers.finish(&request.options, request.mode, &survey.beside);
    survey.findings.extend(found);
    let park = if request.steps.contains(&Step::Resources) {
        let webhooks = !request.options.keep_webhooks;
        let found = quiesce::find(target, spool, webhooks).await?;
        survey.findings.extend(found.findings);
        found.parked
    } else {
        Vec::new()
    };
    survey.plan(park)
}

impl Survey<'_> {
    /// Checks every object that may be written.
    fn archive(&mut self) -> Result<DangerChecker, RecoverError> {
        let mut dangers = DangerChecker::default();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            if entry.flaw.is_some() {
                let failed = Prediction::new(Outcome::Failed, entry.flaw.clone());
                self.outcomes.insert(position, failed);
                continue;
            }
            let value = self.spool.value(entry)?;
            if let Some(reason) = exclusions::reason(entry, &value, self.request.guards) {
                self.without.insert(position, reason);
                continue;
            }
            if let Some(reason) = super::volumes::refused(entry, &value) {
                self.refused.insert(position, reason);
            }
            dangers.inspect(entry, &value, self.request.mode, self.request.now);
        }
        Ok(dangers)
    }

    /// Tries the sealing keys of archive and cluster on every SealedSecret that may be written.
    fn prove(&self, dangers: &mut DangerChecker) -> Result<(), RecoverError> {
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let is = entry.path.resource.as_str() == SEALED_SECRETS;
            if is && entry.flaw.is_none() && !self.without.contains_key(&position) {
                dangers.prove(entry, &self.spool.value(entry)?, &self.beside);
            }
        }
        Ok(())
    }

    /// Refuses a `--fill` that no object of the archive can take.
    fn fills(&mut self) {
        for fill in &self.request.options.fill {
            let mut kinds = self.spool.entries().iter().map(|e| &e.path.resource);
            if !kinds.any(|kind| fill.field(kind).is_some()) {
                self.block(
                    None,
                    format!("--fill {}", fill.place()),
                    "what is restored has no object of this kind".to_owned(),
                    "give the full name of a kind, as `restore-cli resources ls` prints it, then the field",
                );
            }
        }
    }

    fn same_cluster(&mut self) {
        let Request {
            mode,
            cluster_facts,
            options,
            ..
        } = self.request;
        let refusal = cluster_facts.refuse(*mode, false, self.target.uid());
        let finding = refusal.map(|r| r.finding(self.target.server(), &options.allow));
        self.findings.extend(finding);
    }

    fn block(&mut self, danger: Option<Danger>, object: String, cause: String, remedy: &str) {
        let allowed = danger.is_some_and(|d| self.request.options.allow.contains(&d));
        let by_name = danger.map(|d| format!("; `--allow {}` continues anyway", d.name()));
        self.findings.push(Finding::new(
            if allowed {
                Severity::Warning
            } else {
                Severity::Error
            },
            object,
            cause,
            format!("{remedy}{}", by_name.unwrap_or_default()),
        ));
    }

    fn plan(self, park: Vec<quiesce::ParkedItem>) -> Result<Plan, RecoverError> {
        let Self {
            request,
            target,
            spool,
            outcomes,
            pruned,
            findings,
            ..
        } = self;
        let planned = outcomes.into_iter().filter_map(|(position, prediction)| {
            Some((spool.entry(position)?.path.clone(), prediction))
        });
        let pruned = pruned.into_iter().map(|(path, outcome, why)| {
            let content = (outcome == Outcome::Changed).then(|| json!(why));
            let content = content.and_then(|what| request.key.digest(&what, None));
            let prediction = Prediction::new(outcome, why);
            (
                path,
                Prediction {
                    content,
                    ..prediction
                },
            )
        });
        let told = planned.chain(pruned).collect();
        let target = Target::from(target);
        document(request, Some(target), told, park, findings)
    }
}

/// Makes the plan of a restore that begins with etcd: the cluster will contain the snapshot, whatever it
/// contains now, so outcomes are predicted from the archives alone. `base` has the objects of the snapshot if
/// they are brought forward to a later restore point.
///
/// # Errors
/// When the scratch file cannot be read.
pub async fn predict(
    request: &Request,
    spool: &ObjectSpool,
    base: Option<&ObjectSpool>,
) -> Result<Plan, RecoverError> {
    let mut dangers = DangerChecker::default();
    let mut told = Vec::new();
    for entry in spool.entries() {
        let path = entry.path.clone();
        if entry.flaw.is_some() {
            let failed = Prediction::new(Outcome::Failed, entry.flaw.clone());
            told.push((path, failed));
            continue;
        }
        let value = spool.value(entry)?;
        if let Some(reason) = exclusions::reason(entry, &value, request.guards) {
            let skipped = Prediction::new(Outcome::Skipped, Some(reason.to_owned()));
            told.push((path, skipped));
            continue;
        }
        dangers.inspect(entry, &value, request.mode, request.now);
        let before = match base {
            // The snapshot and the archive are of one restore point.
            None => Some(value.clone()),
            Some(base) => match base.by_path(&path).and_then(|p| base.entry(p)) {
                Some(entry) if entry.flaw.is_none() => Some(base.value(entry)?),
                _ => None,
            },
        };
        // Digest of the whole object: the patch is known only when the cluster is.
        let content = request.key.digest(&value, None);
        let outcome = match before {
            None => Outcome::Created,
            Some(before) if same(&comparable(before.clone()), &comparable(value)) => Outcome::Same,
            Some(_) => Outcome::Changed,
        };
        let writes = matches!(outcome, Outcome::Created | Outcome::Changed);
        told.push((
            path,
            Prediction {
                untried: writes.then(|| AFTER_ETCD.to_owned()),
                content: content.filter(|_| writes),
                ..Prediction::new(outcome, None)
            },
        ));
    }
    let mut findings = request.findings.clone();
    findings.extend(answer(request));
    let data = Box::pin(datastore_check::check(
        request,
        dangers.planes(),
        spool,
        None,
    ))
    .await;
    dangers.add(data);
    let live = LiveObjects {
        assumed: true,
        ..LiveObjects::default()
    };
    findings.extend(dangers.finish(&request.options, request.mode, &live));
    document(request, None, told, Vec::new(), findings)
}

/// Returns the objection to the cluster that will be written to after etcd is restored. While the API is
/// down, the objection is checked once it answers.
fn answer(request: &Request) -> Option<Finding> {
    let facts = &request.cluster_facts;
    let allow = &request.options.allow;
    let Some(answer) = &request.answer else {
        let unknown = facts.kube_system.is_empty();
        let refusal = unknown.then(|| facts.refuse(request.mode, true, "not known yet"))??;
        let server = format!("restore point {}", request.restore_point.id);
        return Some(refusal.finding(&server, allow));
    };
    let refusal = facts.refuse(request.mode, true, &answer.uid)?;
    Some(refusal.finding(&answer.server, allow))
}
