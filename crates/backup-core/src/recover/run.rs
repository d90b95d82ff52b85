//! Running a plan: phase by phase, each thing in the journal before and after it is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::crds::{self, Choice};
use super::guards::{Guard, Guards};
use super::journal::{Done, Journal, Outcome, Phase, Record};
use super::objects::Writer;
use super::order::Rank;
use super::owners::with_uid;
use super::plan::{Plan, Step};
use super::spool::Spool;
use super::{RecoverError, leave, lock, quiesce};
use crate::archive::ObjectPath;
use crate::clock::Clock;
use crate::format::manifest::{Finding, Severity};
use crate::progress::Progress;
use crate::source::kube::target::KubeTarget;

mod resume;
mod settle;

/// Objects written at the same time. An API server gives one client about as many seats; answers of
/// 429 are waited for.
const AT_ONCE: usize = 24;
/// Objects between two lines of the journal that are forced to disk.
const BATCH: usize = 96;

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After the last create, before losses are looked for: a garbage collector reads its kinds anew
    /// every 30 s.
    pub settle: Duration,
    /// For controllers to be ready again.
    pub ready: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(45),
            ready: Duration::from_secs(300),
        }
    }
}

/// A plan that is being run.
pub struct Recovery {
    /// The plan.
    pub plan: Plan,
    /// The cluster.
    pub target: KubeTarget,
    /// What is written.
    pub spool: Spool,
    /// What the restored etcd has.
    pub base: Option<Spool>,
    /// What was done.
    pub journal: Journal,
    /// Precautions.
    pub guards: Guards,
    /// Waiting times.
    pub patience: Patience,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Told how it goes.
    pub progress: Arc<dyn Progress>,
    /// Ends it between two objects.
    pub cancel: CancellationToken,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// Objects by what became of them.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// What a person should know.
    pub findings: Vec<Finding>,
    /// What is still stopped.
    pub parked: Vec<quiesce::Parked>,
}

impl Ended {
    /// Whether everything is as planned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parked.is_empty()
            && !self.outcomes.contains_key(&Outcome::Failed)
            && self.findings.iter().all(|f| f.severity != Severity::Error)
    }
}

impl Recovery {
    /// Runs the steps on objects, from wherever the journal ends. What was stopped is put back also
    /// when a step fails, unless the cluster does not answer.
    ///
    /// # Errors
    /// When the cluster, the journal or the scratch file fails; the same journal goes on from there.
    pub async fn run(&mut self) -> Result<Ended, RecoverError> {
        let mut ended = Ended::default();
        lock::hold(
            &self.target,
            &self.journal.state.restore.clone(),
            self.clock.now(),
        )
        .await?;
        let steps = self.plan.steps.clone();
        if steps.contains(&Step::Resources) && self.guards.has(Guard::Quiesce) {
            self.phase(Phase::Quiesce)?;
            self.quiesce().await?;
            self.finished(Phase::Quiesce)?;
        }
        if steps.contains(&Step::Crds) {
            self.phase(Phase::Crds)?;
            self.definitions().await?;
            self.finished(Phase::Crds)?;
        }
        if steps.contains(&Step::Resources) {
            self.phase(Phase::Objects)?;
            self.objects().await?;
            self.prune().await?;
            self.finished(Phase::Objects)?;
            self.phase(Phase::Link)?;
            ended.findings.extend(self.link().await?);
            self.finished(Phase::Link)?;
            self.phase(Phase::Settle)?;
            ended.findings.extend(self.settle().await?);
            self.finished(Phase::Settle)?;
            self.phase(Phase::Resume)?;
            ended.findings.extend(self.resume().await?);
            self.finished(Phase::Resume)?;
        }
        lock::release(&self.target, &self.journal.state.restore.clone()).await?;
        ended.outcomes = self.journal.state.outcomes();
        ended.parked = self.journal.state.parked.clone();
        ended.findings.extend(self.told());
        Ok(ended)
    }

    fn phase(&mut self, phase: Phase) -> Result<(), RecoverError> {
        if self.cancel.is_cancelled() {
            return Err(RecoverError::Cancelled);
        }
        let at = self.clock.now();
        self.journal.write(vec![Record::PhaseBegun { phase, at }])
    }

    fn finished(&mut self, phase: Phase) -> Result<(), RecoverError> {
        let at = self.clock.now();
        self.journal.write(vec![Record::PhaseDone { phase, at }])
    }

    /// Stops what has to stand still.
    async fn quiesce(&mut self) -> Result<(), RecoverError> {
        let known = |parked: &quiesce::Parked, journal: &Journal| {
            journal
                .state
                .parked
                .iter()
                .any(|p| p.place() == parked.place())
        };
        // A plan may be older than a controller.
        let groups: BTreeSet<String> = self
            .spool
            .entries()
            .iter()
            .map(|e| e.path.resource.group().to_owned())
            .collect();
        let webhooks = !self.plan.options.keep_webhooks;
        let mut all = quiesce::find(&self.target, &groups, webhooks).await?;
        if self.journal.state.is_done(Phase::Resume) {
            all.clear();
        }
        for parked in all {
            self.progress.note(&format!("stopping {}", parked.place()));
            if !known(&parked, &self.journal) {
                self.journal.write(vec![Record::Parking {
                    parked: parked.clone(),
                }])?;
            }
            quiesce::park(&self.target, &parked).await?;
        }
        Ok(())
    }

    /// Makes definitions, and waits until each is served.
    async fn definitions(&mut self) -> Result<(), RecoverError> {
        let all: Vec<usize> = self
            .positions(|rank| rank == Rank::CRDS)
            .into_iter()
            .flatten()
            .collect();
        let title = format!("making {} definitions", all.len());
        self.progress.step(&title, None);
        for batch in all.chunks(BATCH) {
            self.begin(batch)?;
            let done: Vec<(usize, Done)> = stream::iter(batch.to_vec())
                .map(|position| self.definition(position))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            self.end(done)?;
        }
        self.target.discover().await?;
        Ok(())
    }

    async fn definition(&self, position: usize) -> Result<(usize, Done), RecoverError> {
        let ended = |outcome, uid, why| Ok((position, Done { outcome, uid, why }));
        let Some(entry) = self.spool.entry(position) else {
            return ended(Outcome::Failed, None, None);
        };
        let value = self.spool.value(entry)?;
        if let Some(reason) = leave::reason(entry, &value, self.guards) {
            return ended(Outcome::Skipped, None, Some(reason.to_owned()));
        }
        let live = self.target.get(&entry.path, None).await?;
        let uid = |object: &serde_json::Value| {
            Some(object.pointer("/metadata/uid")?.as_str()?.to_owned())
        };
        let choice = crds::choose(&value, live.as_ref(), self.plan.options.overwrite_crds);
        let held = live.as_ref().and_then(uid);
        let outcome = match choice {
            Choice::Same => return ended(Outcome::Same, held, None),
            Choice::Keep(why) => return ended(Outcome::Conflict, held, Some(why)),
            Choice::Clash(why) => return ended(Outcome::Failed, held, Some(why)),
            Choice::Create => Outcome::Created,
            Choice::Replace => Outcome::Changed,
        };
        let converts = crds::converts(&value);
        let body = crds::body(value);
        match self.target.apply(&entry.path, &body).await {
            Ok(made) => match crds::served(&self.target, &body).await {
                Ok(()) => {
                    let why = converts.then(|| {
                        "its versions are converted by a webhook, which must run before objects of \
                         another version are read"
                            .to_owned()
                    });
                    ended(outcome, uid(&made), why)
                }
                Err(why) => ended(Outcome::Failed, uid(&made), Some(why)),
            },
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(e) => ended(Outcome::Failed, None, Some(e.line())),
        }
    }

    /// Positions in order, of the ranks that are `wanted`.
    fn positions(&self, wanted: impl Fn(Rank) -> bool) -> Vec<Vec<usize>> {
        let mut order = self.spool.order();
        if !self.guards.has(Guard::Order) {
            order.reverse();
        }
        let is = |position: &usize| self.spool.entry(*position).is_some_and(|e| wanted(e.rank));
        for turn in &mut order {
            turn.retain(is);
        }
        order.retain(|turn| !turn.is_empty());
        order
    }

    /// Writes every object in its turn.
    async fn objects(&mut self) -> Result<(), RecoverError> {
        let turns = self.positions(|rank| rank != Rank::CRDS);
        let total: usize = turns.iter().map(Vec::len).sum();
        let mut begun = 0_usize;
        let without = self.left_out()?;
        for turn in turns {
            let title = format!("writing objects: {begun} of {total} done");
            self.progress.step(&title, None);
            begun = begun.saturating_add(turn.len());
            for batch in turn.chunks(BATCH) {
                if self.cancel.is_cancelled() {
                    return Err(RecoverError::Cancelled);
                }
                lock::hold(
                    &self.target,
                    &self.journal.state.restore.clone(),
                    self.clock.now(),
                )
                .await?;
                let batch: Vec<(usize, bool)> = self.open(batch);
                let positions: Vec<usize> = batch.iter().map(|(position, _)| *position).collect();
                self.begin(&positions)?;
                let now = self.uids();
                let writer = self.writer(&now, &without);
                let done: Vec<(usize, Done)> = stream::iter(batch)
                    .map(|(position, ours)| {
                        let writer = &writer;
                        async move {
                            let done = writer.write(position, ours).await?;
                            Ok::<_, RecoverError>((position, done))
                        }
                    })
                    .buffered(AT_ONCE)
                    .try_collect()
                    .await?;
                self.end(done)?;
            }
        }
        Ok(())
    }

    fn left_out(&self) -> Result<HashMap<usize, &'static str>, RecoverError> {
        let mut found = HashMap::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let value = self.spool.value(entry)?;
            if let Some(reason) = leave::reason(entry, &value, self.guards) {
                found.insert(position, reason);
            }
        }
        Ok(found)
    }

    fn writer<'a>(
        &'a self,
        now: &'a HashMap<usize, String>,
        without: &'a HashMap<usize, &'static str>,
    ) -> Writer<'a> {
        Writer {
            target: &self.target,
            spool: &self.spool,
            base: self.base.as_ref(),
            options: &self.plan.options,
            mode: self.plan.mode,
            guards: self.guards,
            now,
            without,
        }
    }

    /// Those of a batch that are not done, each with whether it was begun before.
    fn open(&self, batch: &[usize]) -> Vec<(usize, bool)> {
        let state = &self.journal.state;
        let place = |position: usize| self.spool.entry(position).map(|e| e.path.to_string());
        let open = batch.iter().filter_map(|position| {
            let place = place(*position)?;
            let done = state.written.get(&place);
            // What failed is tried again.
            let is_done = done.is_some_and(|done| done.outcome != Outcome::Failed);
            (!is_done).then(|| (*position, state.open.contains(&place)))
        });
        open.collect()
    }

    /// The UIDs that written objects have.
    fn uids(&self) -> HashMap<usize, String> {
        let written = self.journal.state.written.iter();
        let known = written.filter_map(|(place, done)| {
            let path: ObjectPath = place.parse().ok()?;
            Some((self.spool.by_path(&path)?, done.uid.clone()?))
        });
        known.collect()
    }

    fn begin(&mut self, batch: &[usize]) -> Result<(), RecoverError> {
        let records = batch.iter().filter_map(|position| {
            let object = self.spool.entry(*position)?.path.to_string();
            Some(Record::Writing { object })
        });
        let records = records.collect();
        self.journal.write(records)
    }

    fn end(&mut self, done: Vec<(usize, Done)>) -> Result<(), RecoverError> {
        let records = done.into_iter().filter_map(|(position, done)| {
            let object = self.spool.entry(position)?.path.to_string();
            Some(Record::Written {
                object,
                outcome: done.outcome,
                uid: done.uid,
                why: done.why,
            })
        });
        let records = records.collect();
        self.journal.write(records)
    }

    /// Takes away what the plan says, if nobody wrote it since.
    async fn prune(&mut self) -> Result<(), RecoverError> {
        let pruned = self
            .plan
            .objects
            .iter()
            .filter(|o| o.outcome == Outcome::Pruned);
        let pruned: Vec<String> = pruned.map(|o| o.object.clone()).collect();
        for object in pruned {
            let Ok(path) = object.parse::<ObjectPath>() else {
                continue;
            };
            let Some(live) = self.target.get(&path, None).await? else {
                continue;
            };
            let text = |pointer: &str| live.pointer(pointer).and_then(|v| v.as_str());
            let (Some(uid), Some(version)) =
                (text("/metadata/uid"), text("/metadata/resourceVersion"))
            else {
                continue;
            };
            self.journal.write(vec![Record::Writing {
                object: object.clone(),
            }])?;
            let (outcome, why) = match self.target.delete(&path, uid, version).await {
                Ok(()) => (Outcome::Pruned, None),
                Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
                Err(e) => (Outcome::Failed, Some(e.line())),
            };
            self.journal.write(vec![Record::Written {
                object,
                outcome,
                uid: None,
                why,
            }])?;
        }
        Ok(())
    }

    /// Names owners that were written after what they own.
    async fn link(&mut self) -> Result<Vec<Finding>, RecoverError> {
        let mut findings = Vec::new();
        let now = self.uids();
        let without = self.left_out()?;
        let mut late = Vec::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let is_late = entry.owners.iter().any(|uid| {
                let owner = self.spool.by_uid(uid).and_then(|o| self.spool.entry(o));
                owner.is_some_and(|owner| owner.rank > entry.rank)
            });
            let made = now.contains_key(&position) && !without.contains_key(&position);
            if is_late && made && !self.journal.state.linked.contains(&entry.path.to_string()) {
                late.push(position);
            }
        }
        if late.is_empty() || !self.guards.has(Guard::Owners) {
            return Ok(findings);
        }
        let title = format!("naming the owners of {} objects", late.len());
        self.progress.step(&title, None);
        for batch in late.chunks(BATCH) {
            let linked: Vec<(usize, Option<String>)> = stream::iter(batch.to_vec())
                .map(|position| self.link_one(position, &now))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let mut records = Vec::new();
            for (position, failed) in linked {
                let Some(entry) = self.spool.entry(position) else {
                    continue;
                };
                match failed {
                    None => records.push(Record::Linked {
                        object: entry.path.to_string(),
                    }),
                    Some(why) => findings.push(Finding {
                        severity: Severity::Warning,
                        object: entry.path.to_string(),
                        cause: format!("its owner could not be named: {why}"),
                        remedy: "go on with `restore-cli resume`; Steward adopts its own Secrets \
                                 by itself"
                            .to_owned(),
                    }),
                }
            }
            self.journal.write(records)?;
        }
        Ok(findings)
    }

    async fn link_one(
        &self,
        position: usize,
        now: &HashMap<usize, String>,
    ) -> Result<(usize, Option<String>), RecoverError> {
        /// Somebody else may write at the same time.
        const TRIES: usize = 5;
        let Some(entry) = self.spool.entry(position) else {
            return Ok((position, None));
        };
        let value = self.spool.value(entry)?;
        let wanted = super::desired::desired(entry, value, false, self.guards);
        let owners: Vec<_> = wanted
            .owners
            .iter()
            .filter_map(|owner| {
                let uid = now.get(&self.spool.by_uid(&owner.uid)?)?;
                Some(with_uid(owner, uid.clone()))
            })
            .collect();
        for _ in 0..TRIES {
            let Some(live) = self.target.get(&entry.path, None).await? else {
                return Ok((position, Some("it is gone".to_owned())));
            };
            let held = live.pointer("/metadata/ownerReferences").cloned();
            let mut references = held.and_then(|h| h.as_array().cloned()).unwrap_or_default();
            let lacking = owners.iter().filter(|owner| {
                !references
                    .iter()
                    .any(|r| r.get("uid") == Some(&json!(owner.uid)))
            });
            let lacking: Vec<_> = lacking.map(|owner| json!(owner)).collect();
            if lacking.is_empty() {
                return Ok((position, None));
            }
            references.extend(lacking);
            let patch = json!({ "metadata": {
                "resourceVersion": live.pointer("/metadata/resourceVersion"),
                "ownerReferences": references,
            }});
            match self.target.patch(&entry.path, &patch, false).await {
                Ok(_) => return Ok((position, None)),
                Err(e) if e.is_conflict() => {}
                Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
                Err(e) => return Ok((position, Some(e.line()))),
            }
        }
        Ok((
            position,
            Some("somebody else writes it all the time".to_owned()),
        ))
    }

    /// Objects that are not as planned, as findings.
    fn told(&self) -> Vec<Finding> {
        let written = self.journal.state.written.iter();
        let told = written.filter_map(|(object, done)| {
            let severity = match done.outcome {
                Outcome::Failed => Severity::Error,
                Outcome::Conflict => Severity::Warning,
                Outcome::Created if done.why.is_some() => Severity::Info,
                _ => return None,
            };
            let remedy = match done.outcome {
                Outcome::Failed => "see why, then go on with `restore-cli resume`",
                Outcome::Conflict => "compare it with `restore-cli resources get`",
                _ => "nothing has to be done unless it surprises you",
            };
            Some(Finding {
                severity,
                object: object.clone(),
                cause: done.why.clone().unwrap_or_default(),
                remedy: remedy.to_owned(),
            })
        });
        told.collect()
    }
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recovery({})", self.journal.state.restore)
    }
}
