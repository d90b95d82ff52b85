//! Making a plan: the archive beside the cluster, with reads and dry runs alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;

use super::crds::{self, Choice};
use super::dangers::Dangers;
use super::desired::comparable;
use super::guards::Guards;
use super::journal::Outcome;
use super::objects::{Writer, known_by};
use super::plan::{Danger, KindPlan, Mode, ObjectPlan, Options, Origin, Plan, Step, Target};
use super::spool::{Entry, Spool};
use super::{RecoverError, TOOL, leave, quiesce};
use crate::archive::{ObjectPath, ResourceName};
use crate::digest::Digest;
use crate::format::manifest::{Finding, Parent, Severity};
use crate::id::ClusterName;
use crate::progress::Progress;
use crate::source::kube::target::KubeTarget;

/// Dry runs at the same time: they hide round trips, and API Priority and Fairness slows them if
/// they are too many.
const AT_ONCE: usize = 16;
/// Refusals of dry runs that are told one by one.
const MAX_REFUSED: usize = 20;

/// What a plan is to be made of.
#[derive(Debug, Clone)]
pub struct Request {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// How.
    pub mode: Mode,
    /// What is done.
    pub steps: Vec<Step>,
    /// What is restored.
    pub restore_point: Parent,
    /// Where objects come from.
    pub origin: Origin,
    /// What was found while they were read from there.
    pub findings: Vec<Finding>,
    /// The restore point whose etcd they are brought forward from.
    pub base: Option<Parent>,
    /// The UID of the cluster that was captured, if it is known.
    pub captured_uid: Option<String>,
    /// When it was captured.
    pub captured: Timestamp,
    /// Kinds that were listed whole, for pruning.
    pub whole_kinds: BTreeSet<String>,
    /// What was asked for.
    pub options: Options,
    /// Whether objects are tried with dry runs.
    pub dry_run: bool,
    /// Precautions.
    pub guards: Guards,
    /// Now.
    pub now: Timestamp,
}

/// What the survey finds out on its way.
struct Survey<'a> {
    request: &'a Request,
    target: &'a KubeTarget,
    spool: &'a Spool,
    outcomes: HashMap<usize, (Outcome, Option<String>)>,
    without: HashMap<usize, &'static str>,
    pruned: Vec<(ObjectPath, Outcome, Option<String>)>,
    namespaces: BTreeSet<String>,
    datastores: BTreeSet<String>,
    planes: Vec<(String, String, String, String)>,
    foreign_tenants: Vec<String>,
    findings: Vec<Finding>,
}

/// Makes the plan. Changes nothing.
///
/// # Errors
/// When the cluster or the scratch file cannot be read.
pub async fn survey(
    request: &Request,
    target: &KubeTarget,
    spool: &Spool,
    base: Option<&Spool>,
    progress: &dyn Progress,
) -> Result<Plan, RecoverError> {
    progress.step("looking at the archive and the cluster", None);
    let mut survey = Survey {
        request,
        target,
        spool,
        outcomes: HashMap::new(),
        without: HashMap::new(),
        pruned: Vec::new(),
        namespaces: BTreeSet::new(),
        datastores: BTreeSet::new(),
        planes: Vec::new(),
        foreign_tenants: Vec::new(),
        findings: request.findings.clone(),
    };
    let dangers = survey.archive()?;
    survey.same_cluster();
    survey.live(base).await?;
    survey.absent();
    if request.dry_run {
        survey.try_creates(base).await?;
    }
    let datastores = std::mem::take(&mut survey.datastores);
    let found = dangers.finish(&request.options, request.mode, &survey.planes, |name| {
        datastores.contains(name)
    });
    survey.findings.extend(found);
    let park = if request.steps.contains(&Step::Resources) {
        let groups = spool
            .entries()
            .iter()
            .map(|e| e.path.resource.group().to_owned());
        quiesce::find(target, &groups.collect(), !request.options.keep_webhooks).await?
    } else {
        Vec::new()
    };
    survey.plan(park)
}

impl Survey<'_> {
    /// Looks at every object that may be written.
    fn archive(&mut self) -> Result<Dangers, RecoverError> {
        let mut dangers = Dangers::default();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let value = self.spool.value(entry)?;
            if let Some(reason) = leave::reason(entry, &value, self.request.guards) {
                self.without.insert(position, reason);
                continue;
            }
            dangers.look(entry, &value, self.request.mode, self.request.now);
        }
        Ok(dangers)
    }

    fn same_cluster(&mut self) {
        let Some(captured) = &self.request.captured_uid else {
            return;
        };
        let same = captured == self.target.uid();
        match (self.request.mode, same) {
            (Mode::Rebuild, true) => self.block(
                None,
                self.target.server().to_owned(),
                "this is the very cluster that the restore point is of".to_owned(),
                "plan with `--mode in-place`",
            ),
            (Mode::InPlace, false) => self.block(
                Some(Danger::OtherLineage),
                self.target.server().to_owned(),
                format!(
                    "it is another cluster than the restore point's: its kube-system has UID {}, \
                     the captured one had {captured}",
                    self.target.uid()
                ),
                "give the kubeconfig of the right cluster, or plan with `--mode rebuild`",
            ),
            _ => {}
        }
    }

    fn block(&mut self, danger: Option<Danger>, object: String, cause: String, remedy: &str) {
        let allowed = danger.is_some_and(|d| self.request.options.allow.contains(&d));
        let by_name = danger.map(|d| format!("; `--allow {}` goes on all the same", d.name()));
        self.findings.push(Finding {
            severity: if allowed {
                Severity::Warning
            } else {
                Severity::Error
            },
            object,
            cause,
            remedy: format!("{remedy}{}", by_name.unwrap_or_default()),
        });
    }

    /// Reads every kind of the archive from the cluster, a page at a time.
    async fn live(&mut self, base: Option<&Spool>) -> Result<(), RecoverError> {
        let mut kinds: BTreeSet<ResourceName> = self
            .spool
            .entries()
            .iter()
            .map(|e| e.path.resource.clone())
            .collect();
        for also in [
            "namespaces",
            "datastores.steward.butlerlabs.dev",
            "tenantclusters.butler.butlerlabs.dev",
            "tenantcontrolplanes.steward.butlerlabs.dev",
        ] {
            kinds.insert(also.into());
        }
        let (target, spool) = (self.target, self.spool);
        let (without, now) = (self.without.clone(), HashMap::new());
        let writer = Writer {
            target,
            spool,
            base,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now: &now,
            without: &without,
        };
        for kind in kinds {
            let mut failed = None;
            target
                .each(&kind, |path, object| {
                    if failed.is_none() {
                        failed = self.one(&writer, &path, &object).err();
                    }
                })
                .await?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        writer: &Writer<'_>,
        path: &ObjectPath,
        object: &Value,
    ) -> Result<(), RecoverError> {
        self.note(path, object);
        let Some(position) = self.spool.by_path(path) else {
            self.prune(path, object);
            return Ok(());
        };
        let Some(entry) = self.spool.entry(position) else {
            return Ok(());
        };
        if self.without.contains_key(&position) {
            return Ok(());
        }
        let outcome = if path.resource.as_str() == crds::DEFINITIONS {
            let wanted = self.spool.value(entry)?;
            self.definition(path, &wanted, object)
        } else {
            writer.foresee(entry, Some(object))?
        };
        self.outcomes.insert(position, outcome);
        Ok(())
    }

    fn definition(
        &mut self,
        path: &ObjectPath,
        wanted: &Value,
        live: &Value,
    ) -> (Outcome, Option<String>) {
        let overwrite = self.request.options.overwrite_crds;
        match crds::choose(wanted, Some(live), overwrite) {
            Choice::Create => (Outcome::Created, None),
            Choice::Same => (Outcome::Same, None),
            Choice::Replace => (Outcome::Changed, Some("the archive's is newer".to_owned())),
            Choice::Keep(why) => (Outcome::Conflict, Some(why)),
            Choice::Clash(why) => {
                self.block(
                    None,
                    path.to_string(),
                    why.clone(),
                    "its objects cannot be restored into this cluster as it is",
                );
                (Outcome::Failed, Some(why))
            }
        }
    }

    /// Keeps what later judgements need.
    fn note(&mut self, path: &ObjectPath, object: &Value) {
        let text = |pointer: &str| {
            let held = object.pointer(pointer).and_then(Value::as_str);
            held.filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let namespace = || path.namespace.clone().unwrap_or_default();
        match path.resource.as_str() {
            "namespaces" => {
                let going = object.pointer("/metadata/deletionTimestamp").is_some();
                if going
                    && self
                        .spool
                        .entries()
                        .iter()
                        .any(|e| e.path.namespace.as_deref() == Some(&path.name))
                {
                    self.block(
                        None,
                        path.to_string(),
                        "it is being deleted in the cluster, so nothing can be made in it"
                            .to_owned(),
                        "see what holds it with `kubectl get namespace -o yaml`, wait for its end, \
                         then plan again; or leave it out with --exclude-namespaces",
                    );
                } else {
                    self.namespaces.insert(path.name.clone());
                }
            }
            "datastores.steward.butlerlabs.dev" => drop(self.datastores.insert(path.name.clone())),
            "tenantclusters.butler.butlerlabs.dev" if !known_by(object) => {
                self.foreign_tenants.push(path.object());
            }
            "tenantcontrolplanes.steward.butlerlabs.dev" => {
                let schema = text("/status/storage/setup/schema")
                    .or_else(|| text("/spec/dataStoreSchema"))
                    .unwrap_or_else(|| format!("{}_{}", namespace(), path.name).replace('-', "_"));
                let store =
                    text("/status/storage/dataStoreName").or_else(|| text("/spec/dataStore"));
                let plane = (
                    namespace(),
                    path.name.clone(),
                    store.unwrap_or_default(),
                    schema,
                );
                self.planes.push(plane);
            }
            _ => {}
        }
    }

    /// What is to become of an object that the archive does not have.
    fn prune(&mut self, path: &ObjectPath, object: &Value) {
        let request = self.request;
        let is_newer = || {
            let made = object
                .pointer("/metadata/creationTimestamp")
                .and_then(Value::as_str);
            let made = made.and_then(|t| t.parse::<Timestamp>().ok());
            made.is_none_or(|made| made > request.captured)
        };
        if !request.options.prune
            || !request.whole_kinds.contains(path.resource.as_str())
            || path.resource.as_str() == crds::DEFINITIONS
            || path.resource.as_str() == "namespaces"
            || is_newer()
        {
            return;
        }
        let entry = Entry::placed(path.clone());
        if leave::reason(&entry, object, request.guards).is_some() {
            return;
        }
        let finalizers = object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array);
        let planned = if finalizers.is_some_and(|f| !f.is_empty()) {
            let why = "not in the archive, but deleting it cleans up what it stands for; delete it \
                       by hand if that is meant";
            (path.clone(), Outcome::Conflict, Some(why.to_owned()))
        } else {
            let why = "not in the archive, which lists its kind whole";
            (path.clone(), Outcome::Pruned, Some(why.to_owned()))
        };
        self.pruned.push(planned);
    }

    /// Objects that the cluster does not have.
    fn absent(&mut self) {
        for (position, entry) in self.spool.entries().iter().enumerate() {
            if let Some(reason) = self.without.get(&position) {
                let skipped = (Outcome::Skipped, Some((*reason).to_owned()));
                self.outcomes.insert(position, skipped);
                continue;
            }
            let outcome = self.unless_served(entry);
            self.outcomes.entry(position).or_insert(outcome);
        }
        if self.request.mode == Mode::Rebuild && !self.foreign_tenants.is_empty() {
            let tenants = self.foreign_tenants.join(", ");
            self.block(
                Some(Danger::TargetNotEmpty),
                self.target.server().to_owned(),
                format!("the cluster has tenants of its own: {tenants}"),
                "restore onto a fresh cluster, or into this one with `--mode in-place`",
            );
        }
    }

    fn unless_served(&self, entry: &Entry) -> (Outcome, Option<String>) {
        let resource = &entry.path.resource;
        let version = entry.api_version.rsplit('/').next().unwrap_or_default();
        if let Some(kind) = self.target.kind(resource) {
            if kind.served.iter().any(|v| v == version) {
                return (Outcome::Created, None);
            }
            let served = kind.served.join(", ");
            let why = format!("the cluster serves it as {served}, not as {version}");
            return (Outcome::Failed, Some(why));
        }
        let definition = ObjectPath {
            resource: crds::DEFINITIONS.into(),
            namespace: None,
            name: resource.to_string(),
        };
        if self.spool.by_path(&definition).is_some() && self.request.steps.contains(&Step::Crds) {
            return (Outcome::Created, None);
        }
        let why = "the cluster does not serve it, and its definition is not restored";
        (Outcome::Failed, Some(why.to_owned()))
    }

    /// Tries creates whose kind and namespace are there already.
    async fn try_creates(&mut self, base: Option<&Spool>) -> Result<(), RecoverError> {
        let now = HashMap::new();
        let writer = Writer {
            target: self.target,
            spool: self.spool,
            base,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now: &now,
            without: &self.without,
        };
        let tried = self.outcomes.iter().filter(|(position, (outcome, _))| {
            let entry = self.spool.entry(**position);
            let there = entry.is_some_and(|e| {
                let placed = e
                    .path
                    .namespace
                    .as_ref()
                    .is_none_or(|n| self.namespaces.contains(n));
                placed && self.target.kind(&e.path.resource).is_some()
            });
            *outcome == Outcome::Created && there
        });
        let tried: Vec<usize> = tried.map(|(position, _)| *position).collect();
        let mut refused = stream::iter(tried)
            .map(|position| {
                let writer = &writer;
                async move { (position, writer.try_create(position).await) }
            })
            .buffer_unordered(AT_ONCE);
        let mut told = Vec::new();
        while let Some((position, refused)) = refused.next().await {
            if let Some(why) = refused? {
                told.push((position, why));
            }
        }
        drop(refused);
        told.sort();
        for (position, why) in told.iter().take(MAX_REFUSED) {
            if let Some(entry) = self.spool.entry(*position) {
                self.findings.push(Finding {
                    severity: Severity::Warning,
                    object: entry.path.to_string(),
                    cause: format!("as things are now {why}"),
                    remedy: "what it needs may come with the restore; if not, it is told and the \
                             rest goes on"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    fn plan(self, park: Vec<quiesce::Parked>) -> Result<Plan, RecoverError> {
        let Self {
            request,
            target,
            spool,
            outcomes,
            pruned,
            findings,
            ..
        } = self;
        let planned = outcomes
            .into_iter()
            .filter_map(|(position, (outcome, why))| {
                Some((spool.entry(position)?.path.clone(), outcome, why))
            });
        let told = planned.chain(pruned).collect();
        let target = Target {
            uid: target.uid().to_owned(),
            server: target.server().to_owned(),
            version: target.version().to_owned(),
        };
        document(request, Some(target), told, park, findings)
    }
}

/// The plan as a document.
fn document(
    request: &Request,
    target: Option<Target>,
    told: Vec<(ObjectPath, Outcome, Option<String>)>,
    park: Vec<quiesce::Parked>,
    findings: Vec<Finding>,
) -> Result<Plan, RecoverError> {
    let mut kinds: BTreeMap<String, KindPlan> = BTreeMap::new();
    let mut objects = Vec::new();
    for (path, outcome, why) in told {
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

/// Makes the plan of a restore that begins with etcd: the cluster will be what the snapshot holds,
/// whatever it is now, so objects are foreseen from the archives alone. `base` is what the snapshot
/// holds, where objects are brought forward to a later restore point.
///
/// # Errors
/// When the scratch file cannot be read.
pub fn foresee(
    request: &Request,
    spool: &Spool,
    base: Option<&Spool>,
) -> Result<Plan, RecoverError> {
    let mut dangers = Dangers::default();
    let mut told = Vec::new();
    for entry in spool.entries() {
        let value = spool.value(entry)?;
        let path = entry.path.clone();
        if let Some(reason) = leave::reason(entry, &value, request.guards) {
            told.push((path, Outcome::Skipped, Some(reason.to_owned())));
            continue;
        }
        dangers.look(entry, &value, request.mode, request.now);
        let before = match base {
            // The snapshot and the archive are of one restore point.
            None => Some(value.clone()),
            Some(base) => match base.by_path(&path).and_then(|p| base.entry(p)) {
                Some(entry) => Some(base.value(entry)?),
                None => None,
            },
        };
        let outcome = match before {
            None => Outcome::Created,
            Some(before) if comparable(before.clone()) == comparable(value) => Outcome::Same,
            Some(_) => Outcome::Changed,
        };
        told.push((path, outcome, None));
    }
    let mut findings = request.findings.clone();
    findings.extend(dangers.finish(&request.options, request.mode, &[], |_| true));
    document(request, None, told, Vec::new(), findings)
}

impl KindPlan {
    /// The count of an outcome.
    pub(super) fn count(&mut self, outcome: Outcome) -> &mut u64 {
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
