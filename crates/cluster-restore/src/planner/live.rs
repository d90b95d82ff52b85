//! Comparison of the cluster with the archive: existing objects, missing objects, and objects it would
//! refuse.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::Survey;
use super::prune::PruneRules;
use crate::crds::{self, DefinitionChoice};
use crate::dangers::{self, CONTROL_PLANES, ControlPlane, DATASTORES};
use crate::journal::Outcome;
use crate::objects::{self, ObjectWriter, Prediction, is_managed};
use crate::pause::{self, PauseMarker};
use crate::plan::{Danger, Mode, Step};
use crate::spool::{Entry, ObjectSpool};
use crate::{RecoverError, builtin, exclusions};
use backup_core::archive::{ObjectPath, ResourceName};
use backup_core::format::manifest::{Finding, Severity};
use cluster_client::kube::KubeError;

impl Survey<'_> {
    /// Reads every kind of the archive from the cluster, a page at a time.
    pub(super) async fn live(&mut self, base: Option<&ObjectSpool>) -> Result<(), RecoverError> {
        let (target, spool) = (self.target, self.spool);
        let (without, now) = (self.without.clone(), HashMap::new());
        let writer = ObjectWriter {
            target,
            spool,
            base,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now: &now,
            without: &without,
            last: false,
        };
        for list in self.lists() {
            let (kind, version) = (list.kind.clone(), list.version.clone());
            let mut failed = None;
            let mut broken = Vec::new();
            let names = spool.entries().iter();
            let names = names.filter(|e| e.path.resource == kind && list.is_of(Some(*e)));
            let names = names.map(|e| e.path.clone());
            let take = |path: ObjectPath, object: Value| {
                let at = spool.by_path(&path);
                if failed.is_none() && list.is_of(at.and_then(|at| spool.entry(at))) {
                    failed = self.one(&writer, &path, &object).err();
                }
            };
            let unread = |path: ObjectPath, why: KubeError| broken.push((path, why));
            let listed = target
                .each_or_named((&kind, version.as_deref()), names, take, unread)
                .await?;
            if let Some(why) = listed {
                self.unlisted(&kind, &why, broken);
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Handles a kind whose list cannot be read because of an object in it.
    fn unlisted(
        &mut self,
        kind: &ResourceName,
        why: &KubeError,
        broken: Vec<(ObjectPath, KubeError)>,
    ) {
        for (path, why) in broken {
            let Some(position) = self.spool.by_path(&path) else {
                continue;
            };
            let entry = self.spool.entry(position);
            if let Some(entry) = entry.filter(|_| !self.without.contains_key(&position)) {
                let outcome = objects::unreadable(entry, &self.request.options, &why);
                self.outcomes
                    .insert(position, Prediction::new(outcome.0, outcome.1));
            }
        }
        // Which live objects the archive lacks is unknown, so none is pruned.
        self.pruned.retain(|(path, _, _)| path.resource != *kind);
        self.findings.push(Finding::warning(
            kind.to_string(),
            format!(
                "its objects cannot be listed, so only those of the restore point were looked at, one \
                 by one: {}",
                why.line()
            ),
            "each that cannot be read is planned as FAIL, with what to do",
        ));
    }

    fn one(
        &mut self,
        writer: &ObjectWriter<'_>,
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
        if self.without.contains_key(&position) || entry.flaw.is_some() {
            return Ok(());
        }
        self.named(position, object);
        self.paused(entry, object)?;
        let outcome = if path.resource.as_str() == crds::DEFINITIONS {
            let wanted = self.spool.value(entry)?;
            let (outcome, why) = self.definition(path, &wanted, object);
            let content = (outcome == Outcome::Changed)
                .then(|| self.request.key.digest(&crds::body(wanted), None));
            Prediction {
                content: content.flatten(),
                ..Prediction::new(outcome, why)
            }
        } else {
            writer.predict(entry, Some(object), &self.request.key)?
        };
        self.outcomes.insert(position, outcome);
        Ok(())
    }

    /// Reports an object that is paused now and was not paused when it was captured.
    fn paused(&mut self, entry: &Entry, live: &Value) -> Result<(), RecoverError> {
        let Some(marker @ PauseMarker::Field(_)) = pause::marker(&entry.path.resource) else {
            return Ok(());
        };
        if self.request.mode != Mode::InPlace || !pause::is_paused(marker, live) {
            return Ok(());
        }
        let wanted = self.spool.value(entry)?;
        if pause::is_paused(marker, &wanted) {
            return Ok(());
        }
        let mut finding = pause::stays(marker, &entry.path, &wanted);
        if pause::is_ours(marker, live) {
            finding.severity = Severity::Info;
            finding.cause = "it is paused by a restore that did not put it back".to_owned();
            finding.remedy = "nothing: this restore puts it back at its end".to_owned();
        }
        self.findings.push(finding);
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
            DefinitionChoice::Create => (Outcome::Created, None),
            DefinitionChoice::Same => (Outcome::Same, None),
            DefinitionChoice::Replace => {
                (Outcome::Changed, Some("the archive's is newer".to_owned()))
            }
            DefinitionChoice::Keep(why) => (Outcome::Conflict, Some(why)),
            DefinitionChoice::Clash(why) => {
                let remedy = "its objects cannot be restored into this cluster as it is; do what the \
                              cause says, or leave definitions out with `--exclude-resources \
                              customresourcedefinitions`";
                self.block(None, path.to_string(), why.clone(), remedy);
                (Outcome::Failed, Some(why))
            }
        }
    }

    /// Records facts that later checks need.
    fn note(&mut self, path: &ObjectPath, object: &Value) {
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
                        "see what holds it with `kubectl get namespace -o yaml`, wait until it is \
                         gone, then plan again; or leave it out with --exclude-namespaces",
                    );
                } else {
                    self.namespaces.insert(path.name.clone());
                }
            }
            DATASTORES => {
                let endpoints = dangers::endpoints(object);
                self.beside.stores.insert(path.name.clone(), endpoints);
            }
            "tenantclusters.butler.butlerlabs.dev" if !is_managed(object) => {
                self.foreign_tenants.push(path.object());
            }
            "secrets" => self.beside.secret(path, object),
            CONTROL_PLANES => self.beside.planes.push(ControlPlane::of(path, object)),
            _ => {}
        }
    }

    /// Plans the outcome for an object that the archive does not have.
    fn prune(&mut self, path: &ObjectPath, object: &Value) {
        let request = self.request;
        let pruning = PruneRules {
            complete: &request.complete,
            select: self.select,
            spool: self.spool,
            captured: request.captured,
        };
        if !request.options.prune
            || !request.steps.contains(&Step::Resources)
            || !pruning.may_go(path, object)
        {
            return;
        }
        let entry = Entry::placed(path.clone());
        let own = builtin::is_own(&entry, object);
        if own || exclusions::reason(&entry, object, request.guards).is_some() {
            return;
        }
        let finalizers = object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array);
        let planned = if finalizers.is_some_and(|f| !f.is_empty()) {
            let why = "not in the archive, but deleting it also deletes what it represents; delete \
                       it by hand if you want that";
            (path.clone(), Outcome::Conflict, Some(why.to_owned()))
        } else {
            let why = "not in the archive, which has all others of its kind";
            (path.clone(), Outcome::Pruned, Some(why.to_owned()))
        };
        self.pruned.push(planned);
    }

    /// Plans the outcome for objects that the cluster does not have.
    pub(super) fn absent(&mut self, base: Option<&ObjectSpool>) -> Result<(), RecoverError> {
        let now = HashMap::new();
        let writer = self.writer(base, &now);
        let mut absent = Vec::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            if let Some(reason) = self.without.get(&position) {
                let skipped = Prediction::new(Outcome::Skipped, Some((*reason).to_owned()));
                absent.push((position, skipped));
                continue;
            }
            if self.outcomes.contains_key(&position) {
                continue;
            }
            let refused = self.refused.get(&position);
            let (outcome, why) = match refused {
                Some(why) => (Outcome::Failed, Some((*why).to_owned())),
                None => self.unless_served(entry),
            };
            let why = match outcome {
                Outcome::Created => writer.notes(entry)?,
                _ => why,
            };
            let content = match outcome {
                Outcome::Created if entry.path.resource.as_str() == crds::DEFINITIONS => {
                    let body = crds::body(self.spool.value(entry)?);
                    self.request.key.digest(&body, None)
                }
                Outcome::Created => writer.content(entry, &self.request.key)?,
                _ => None,
            };
            let prediction = Prediction {
                content,
                ..Prediction::new(outcome, why)
            };
            absent.push((position, prediction));
        }
        self.outcomes.extend(absent);
        self.undefined();
        if self.request.mode == Mode::Rebuild && !self.foreign_tenants.is_empty() {
            let tenants = self.foreign_tenants.join(", ");
            self.block(
                Some(Danger::TargetNotEmpty),
                self.target.server().to_owned(),
                format!("the cluster has tenants of its own: {tenants}"),
                "restore onto a fresh cluster, or into this one with `--mode in-place`",
            );
        }
        Ok(())
    }

    /// Returns the writer that checks and tries objects. Owners that the restore creates have no UIDs yet.
    pub(super) fn writer<'w>(
        &'w self,
        base: Option<&'w ObjectSpool>,
        now: &'w HashMap<usize, String>,
    ) -> ObjectWriter<'w> {
        ObjectWriter {
            target: self.target,
            spool: self.spool,
            base,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now,
            without: &self.without,
            last: false,
        }
    }

    /// Reports kinds that neither the cluster nor this restore defines.
    fn undefined(&mut self) {
        let mut kinds: BTreeMap<ResourceName, u64> = BTreeMap::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let resource = &entry.path.resource;
            let left = self.without.contains_key(&position);
            if !left && self.target.kind(resource).is_none() && !self.defines(resource) {
                let count = kinds.entry(resource.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
        for (kind, objects) in kinds {
            self.block(
                Some(Danger::MissingDefinition),
                kind.to_string(),
                format!(
                    "the cluster does not serve it and its definition is not restored, so {objects} \
                     objects of it cannot be"
                ),
                &format!(
                    "restore its definition too, with the step `crds` and a restore point that has \
                     component `crds`, or leave it out with `--exclude-resources {kind}`"
                ),
            );
        }
    }

    /// Whether this restore defines the kind.
    fn defines(&self, resource: &ResourceName) -> bool {
        let definition = ObjectPath {
            resource: crds::DEFINITIONS.into(),
            namespace: None,
            name: resource.to_string(),
        };
        self.spool.by_path(&definition).is_some() && self.request.steps.contains(&Step::Crds)
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
        if self.defines(resource) {
            return (Outcome::Created, None);
        }
        let why = "the cluster does not serve it, and its definition is not restored";
        (Outcome::Failed, Some(why.to_owned()))
    }
}
