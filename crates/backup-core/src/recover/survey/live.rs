//! Reading the cluster beside the archive: what is there, what is not, what would be refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;

use super::Survey;
use crate::archive::{ObjectPath, ResourceName};
use crate::format::manifest::{Finding, Severity};
use crate::recover::crds::{self, Choice};
use crate::recover::dangers::{self, CONTROL_PLANES, ControlPlane, DATASTORES};
use crate::recover::journal::Outcome;
use crate::recover::objects::{Tried, Writer, known_by};
use crate::recover::plan::{Danger, Mode, Step};
use crate::recover::spool::{Entry, Spool};
use crate::recover::{RecoverError, leave, own};

/// Dry runs at the same time: they hide round trips, and API Priority and Fairness slows them if
/// they are too many.
const AT_ONCE: usize = 16;
/// Refusals of dry runs that are told one by one.
const MAX_REFUSED: usize = 20;

impl Survey<'_> {
    /// Reads every kind of the archive from the cluster, a page at a time.
    pub(super) async fn live(&mut self, base: Option<&Spool>) -> Result<(), RecoverError> {
        let entries = self.spool.entries().iter();
        // In the version that the archive has, or all of it would differ.
        let mut kinds: BTreeMap<ResourceName, Option<String>> = entries
            .map(|e| (e.path.resource.clone(), Some(e.api_version.clone())))
            .collect();
        for also in [
            "namespaces",
            DATASTORES,
            "tenantclusters.butler.butlerlabs.dev",
            CONTROL_PLANES,
        ] {
            kinds.entry(also.into()).or_default();
        }
        let (target, spool) = (self.target, self.spool);
        let (without, now) = (self.without.clone(), HashMap::new());
        let parked = HashSet::new();
        let writer = Writer {
            target,
            spool,
            base,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now: &now,
            without: &without,
            parked: &parked,
        };
        for (kind, version) in kinds {
            let mut failed = None;
            target
                .each_in(&kind, version.as_deref(), |path, object| {
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
                let remedy = "as it is its objects cannot be restored into this cluster; do what \
                              is said here, or leave it out with --exclude-resources";
                self.block(None, path.to_string(), why.clone(), remedy);
                (Outcome::Failed, Some(why))
            }
        }
    }

    /// Keeps what later judgements need.
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
                        "see what holds it with `kubectl get namespace -o yaml`, wait for its end, \
                         then plan again; or leave it out with --exclude-namespaces",
                    );
                } else {
                    self.namespaces.insert(path.name.clone());
                }
            }
            DATASTORES => {
                let endpoints = dangers::endpoints(object);
                self.beside.stores.insert(path.name.clone(), endpoints);
            }
            "tenantclusters.butler.butlerlabs.dev" if !known_by(object) => {
                self.foreign_tenants.push(path.object());
            }
            CONTROL_PLANES => self.beside.planes.push(ControlPlane::of(path, object)),
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
        let own = own::is_own(&entry, object);
        if own || leave::reason(&entry, object, request.guards).is_some() {
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
    pub(super) fn absent(&mut self) -> Result<(), RecoverError> {
        let (without, now) = (HashMap::new(), HashMap::new());
        let parked = HashSet::new();
        let writer = Writer {
            target: self.target,
            spool: self.spool,
            base: None,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now: &now,
            without: &without,
            parked: &parked,
        };
        for (position, entry) in self.spool.entries().iter().enumerate() {
            if let Some(reason) = self.without.get(&position) {
                let skipped = (Outcome::Skipped, Some((*reason).to_owned()));
                self.outcomes.insert(position, skipped);
                continue;
            }
            if self.outcomes.contains_key(&position) {
                continue;
            }
            let mut outcome = self.unless_served(entry);
            if outcome.0 == Outcome::Created {
                outcome.1 = writer.notes(entry)?;
            }
            self.outcomes.insert(position, outcome);
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
        Ok(())
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

    /// Tries changes, and, if that was asked for, creates whose kind and namespace are there already.
    pub(super) async fn try_writes(&mut self, base: Option<&Spool>) -> Result<(), RecoverError> {
        let (now, parked) = (HashMap::new(), HashSet::new());
        let writer = Writer {
            target: self.target,
            spool: self.spool,
            base,
            options: &self.request.options,
            mode: self.request.mode,
            guards: self.request.guards,
            now: &now,
            without: &self.without,
            parked: &parked,
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
            self.request.dry_run && *outcome == Outcome::Created && there
        });
        let tried: Vec<usize> = tried.map(|(position, _)| *position).collect();
        let mut refused = stream::iter(tried)
            .map(|position| {
                let writer = &writer;
                async move { (position, writer.try_create(position).await) }
            })
            .buffer_unordered(AT_ONCE);
        let mut found = Vec::new();
        while let Some((position, tried)) = refused.next().await {
            found.extend(tried?.map(|tried| (position, tried)));
        }
        drop(refused);
        found.extend(self.try_changes(&writer).await?);
        let mut told = Vec::new();
        for (position, tried) in found {
            match tried {
                Tried::Refused(why) => told.push((position, why)),
                Tried::Fixed(why) => {
                    self.outcomes.insert(position, (Outcome::Failed, Some(why)));
                }
                Tried::Same => {
                    self.outcomes.insert(position, (Outcome::Same, None));
                }
                Tried::Otherwise(how) => {
                    if let Some((_, why)) = self.outcomes.get_mut(&position) {
                        let notes = why.take().map(|why| format!("{why}; {how}"));
                        *why = Some(notes.unwrap_or(how));
                    }
                }
            }
        }
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

    /// Tries changes of objects that are there.
    async fn try_changes(&self, writer: &Writer<'_>) -> Result<Vec<(usize, Tried)>, RecoverError> {
        let tried = self.outcomes.iter().filter(|(position, (outcome, _))| {
            let entry = self.spool.entry(**position);
            let defines = entry.is_some_and(|e| e.path.resource.as_str() == crds::DEFINITIONS);
            *outcome == Outcome::Changed && !defines
        });
        let tried: Vec<usize> = tried.map(|(position, _)| *position).collect();
        let mut tried = stream::iter(tried)
            .map(|position| async move { (position, writer.try_change(position).await) })
            .buffer_unordered(AT_ONCE);
        let mut found = Vec::new();
        while let Some((position, tried)) = tried.next().await {
            found.extend(tried?.map(|tried| (position, tried)));
        }
        Ok(found)
    }
}
