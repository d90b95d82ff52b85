//! Dry runs of every write of a plan; a write that cannot be tried is marked.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt as _, stream};

use super::Survey;
use crate::RecoverError;
use crate::crds::DEFINITIONS;
use crate::journal::Outcome;
use crate::objects::{DryRunResult, Prediction, schema_of};
use crate::spool::{Entry, ObjectSpool};
use backup_core::archive::{ResourceName, Schema};
use backup_core::format::manifest::Finding;

/// Dry runs at the same time: they hide round trips, and API Priority and Fairness slows them down if there
/// are too many.
const AT_ONCE: usize = 16;
/// Largest number of refused dry runs that are listed one by one.
const MAX_REFUSED: usize = 20;

impl Survey<'_> {
    /// Tries every create and every change. An object that the server refuses in any case fails in the plan
    /// too.
    pub(super) async fn dry_runs(
        &mut self,
        base: Option<&ObjectSpool>,
    ) -> Result<(), RecoverError> {
        let defined = self.definitions();
        let mut schemas = HashMap::new();
        let mut trials: Vec<(usize, DryRunResult)> = Vec::new();
        let mut tried = Vec::new();
        for (position, prediction) in &self.outcomes {
            let writes = matches!(prediction.outcome, Outcome::Created | Outcome::Changed);
            let Some(entry) = self.spool.entry(*position).filter(|_| writes) else {
                continue;
            };
            match self.untried(entry, &defined) {
                Some(why) => trials.push((*position, self.unfit(entry, why, &mut schemas)?)),
                None => tried.push((*position, prediction.outcome)),
            }
        }
        let now = HashMap::new();
        let writer = self.writer(base, &now);
        let mut running = stream::iter(tried)
            .map(|(position, outcome)| {
                let writer = &writer;
                async move { (position, writer.attempt(position, outcome).await) }
            })
            .buffer_unordered(AT_ONCE);
        while let Some((position, trial)) = running.next().await {
            trials.push((position, trial?));
        }
        drop(running);
        trials.sort_by_key(|(position, _)| *position);
        let mut told = 0_usize;
        for (position, trial) in trials {
            match trial {
                DryRunResult::Passed => {}
                DryRunResult::Same => {
                    let same = Prediction::new(Outcome::Same, None);
                    self.outcomes.insert(position, same);
                }
                DryRunResult::Altered(how) => {
                    if let Some(prediction) = self.outcomes.get_mut(&position) {
                        let why = prediction.why.take().map(|why| format!("{why}; {how}"));
                        prediction.why = Some(why.unwrap_or(how));
                    }
                }
                DryRunResult::Untried(why) => {
                    if let Some(prediction) = self.outcomes.get_mut(&position) {
                        prediction.untried = Some(why);
                    }
                }
                DryRunResult::Refused(why) => {
                    let failed = Prediction::new(Outcome::Failed, Some(why));
                    self.outcomes.insert(position, failed);
                }
                DryRunResult::RefusedNow(why) => {
                    told = told.saturating_add(1);
                    if told <= MAX_REFUSED {
                        self.refused_now(position, &why);
                    }
                }
            }
        }
        if told > MAX_REFUSED {
            let more = told.saturating_sub(MAX_REFUSED);
            self.findings.push(Finding::warning(
                self.target.server(),
                format!("as things are now it refuses {more} more objects in a dry run"),
                "resolve those that are listed, then plan again",
            ));
        }
        Ok(())
    }

    /// Returns the kinds whose definition is created or changed first.
    fn definitions(&self) -> BTreeSet<ResourceName> {
        let written = self.outcomes.iter().filter(|(_, prediction)| {
            matches!(prediction.outcome, Outcome::Created | Outcome::Changed)
        });
        let paths = written.filter_map(|(position, _)| Some(&self.spool.entry(*position)?.path));
        let paths = paths.filter(|path| path.resource.as_str() == DEFINITIONS);
        paths.map(|path| path.name.as_str().into()).collect()
    }

    /// Returns why a write of the object cannot be tried before the restore; `None` if it can.
    fn untried(&self, entry: &Entry, defined: &BTreeSet<ResourceName>) -> Option<&'static str> {
        if defined.contains(&entry.path.resource) {
            return Some("its definition is written first");
        }
        if self.target.kind(&entry.path.resource).is_none() {
            return Some("its kind is not served yet");
        }
        let namespace = entry.path.namespace.as_ref();
        let placed = namespace.is_none_or(|n| self.namespaces.contains(n));
        (!placed).then_some("its namespace is made first")
    }

    /// Checks an object against the definition in the archive, while the server cannot check it yet.
    fn unfit(
        &self,
        entry: &Entry,
        untried: &str,
        schemas: &mut HashMap<(ResourceName, String), Option<Schema>>,
    ) -> Result<DryRunResult, RecoverError> {
        let resource = &entry.path.resource;
        let kind = (resource.clone(), entry.api_version.clone());
        let schema = match schemas.entry(kind) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(place) => {
                place.insert(schema_of(self.spool, resource, &entry.api_version)?)
            }
        };
        let Some(schema) = schema else {
            return Ok(DryRunResult::Untried(untried.to_owned()));
        };
        let now = HashMap::new();
        let value = self.writer(None, &now).value(entry)?;
        Ok(match schema.violation(&value) {
            Some(violation) => DryRunResult::Refused(format!(
                "its definition does not admit it: {violation}; give it a value with `--fill \
                 {resource}.FIELD=VALUE`, or leave it out"
            )),
            None => DryRunResult::Untried(untried.to_owned()),
        })
    }

    fn refused_now(&mut self, position: usize, why: &str) {
        let Some(entry) = self.spool.entry(position) else {
            return;
        };
        self.findings.push(Finding::warning(
            entry.path.to_string(),
            format!("as things are now {why}"),
            "what it needs may come with the restore; if not, it is reported and the rest \
             continues",
        ));
    }
}
