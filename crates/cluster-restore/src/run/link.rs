//! Owner references of live and restored objects: missing owners that live objects name are created first,
//! and owners that are written after the objects they own are added to these at the end.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::super::desired::desired;
use super::super::journal::{ObjectResult, Outcome, Record};
use super::super::owners::{Dependants, references_of, relink};
use super::super::plan::Mode;
use super::super::{RecoverError, guards::Guard};
use super::{AT_ONCE, BATCH, Recovery};
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::Finding;

/// Live objects whose owner was created again, each with the changes made to it.
pub(super) type OwnerChanges = BTreeMap<ObjectPath, String>;

/// Result for the owners of one object.
enum LinkResult {
    /// The references were already right; the text lists the owners that cannot be named.
    Unchanged(Vec<String>),
    /// The references were written; the text lists the owners that cannot be named.
    Linked(Vec<String>),
    /// The object was gone and was created again.
    Recreated(ObjectResult),
    Failed(String),
}

impl Recovery {
    /// Creates missing owners that live objects name, before everything else: a garbage collector may delete
    /// those live objects at any moment. Each is linked as soon as its owner exists.
    pub(super) async fn owners_first(
        &mut self,
        without: &HashMap<usize, &'static str>,
        ours: &HashSet<String>,
    ) -> Result<(OwnerChanges, Vec<Finding>), RecoverError> {
        let (mut relinked, mut findings) = (OwnerChanges::new(), Vec::new());
        if self.plan.mode != Mode::InPlace || !self.guards.has(Guard::Owners) {
            return Ok((relinked, findings));
        }
        let planned = self.plan.objects.iter();
        let made = planned.filter(|o| o.outcome == Outcome::Created);
        let made: HashSet<usize> = made
            .filter_map(|o| self.spool.by_path(&o.object.parse().ok()?))
            .filter(|position| !without.contains_key(position))
            .collect();
        let found = Dependants::find(&self.target, &self.spool, &made).await?;
        for (kind, why) in &found.unread {
            findings.push(unread(kind, why));
        }
        if found.of.is_empty() {
            return Ok((relinked, findings));
        }
        let title = format!("making {} owners that live objects name", found.of.len());
        self.progress.step(&title, None);
        for position in self.positions(|_| true).into_iter().flatten() {
            let Some(dependants) = found.of.get(&position) else {
                continue;
            };
            for (position, ours) in self.open(&[position], ours) {
                self.begin(&[(position, ours)])?;
                let now = self.uids();
                let (done, _) = self.writer(&now, without).write(position, ours).await?;
                self.end(vec![(position, done)])?;
            }
            let now = self.uids();
            let writer = self.writer(&now, without);
            let owners = writer.owners();
            let linked: Vec<_> = stream::iter(dependants)
                .map(|path| {
                    let owners = &owners;
                    async move { Ok::<_, RecoverError>((path, relink(owners, path).await?)) }
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let mut records = Vec::new();
            for (path, linked) in linked {
                let object = path.to_string();
                match linked {
                    Ok(changes) if changes.is_empty() => {}
                    Ok(changes) => {
                        let why = changes.join("; ");
                        if self.spool.by_path(path).is_none() {
                            records.push(Record::Written {
                                object: object.clone(),
                                outcome: Outcome::Changed,
                                uid: None,
                                why: Some(why.clone()),
                            });
                        }
                        records.push(Record::Linked { object });
                        relinked.insert(path.clone(), why);
                    }
                    // The restore creates the object again in its turn.
                    Err(_) if self.spool.by_path(path).is_some() => {}
                    Err(why) => findings.push(Finding::error(
                        object,
                        format!("its owner was gone and could not be named again: {why}"),
                        "the restore point does not have it; see whether it is still \
                         there, and plan again",
                    )),
                }
            }
            self.journal.write(records)?;
        }
        Ok((relinked, findings))
    }

    /// Adds owners that were written after the objects they own. Objects at the positions in `named` have all
    /// their owners.
    pub(super) async fn link(
        &mut self,
        without: &HashMap<usize, &'static str>,
        named: &HashSet<usize>,
    ) -> Result<Vec<Finding>, RecoverError> {
        let mut findings = Vec::new();
        let mut now = self.uids();
        let mut late = Vec::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let made = now.contains_key(&position) && !without.contains_key(&position);
            if made && !entry.owners.is_empty() && !named.contains(&position) {
                late.push(position);
            }
        }
        if late.is_empty() || !self.guards.has(Guard::Owners) {
            return Ok(findings);
        }
        let title = format!("naming the owners of {} objects", late.len());
        self.progress.step(&title, None);
        for batch in late.chunks(BATCH) {
            let linked: Vec<(usize, LinkResult)> = stream::iter(batch.to_vec())
                .map(|position| self.link_one(position, &now, without))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let mut records = Vec::new();
            for (position, linked) in linked {
                let Some(entry) = self.spool.entry(position) else {
                    continue;
                };
                let object = entry.path.to_string();
                let left = match linked {
                    LinkResult::Unchanged(left) => left,
                    LinkResult::Linked(left) => {
                        records.push(Record::Linked {
                            object: object.clone(),
                        });
                        left
                    }
                    LinkResult::Recreated(done) => {
                        if let Some(uid) = &done.uid {
                            now.insert(position, uid.clone());
                        }
                        records.push(Record::Written {
                            object: object.clone(),
                            outcome: done.outcome,
                            uid: done.uid,
                            why: done.why,
                        });
                        Vec::new()
                    }
                    LinkResult::Failed(why) => vec![format!("its owner could not be named: {why}")],
                };
                let done = self.journal.state.written.get(&object);
                let told = done.and_then(|done| done.why.clone()).unwrap_or_default();
                let left = left
                    .into_iter()
                    .filter(|left| !told.contains(left.as_str()));
                findings.extend(left.map(|cause| {
                    Finding::warning(
                        object.clone(),
                        cause,
                        "continue with `restore-cli resume`; Steward adopts its own Secrets \
                         automatically",
                    )
                }));
            }
            self.journal.write(records)?;
        }
        Ok(findings)
    }

    async fn link_one(
        &self,
        position: usize,
        now: &HashMap<usize, String>,
        without: &HashMap<usize, &'static str>,
    ) -> Result<(usize, LinkResult), RecoverError> {
        /// Attempts at one write: somebody else may write at the same time.
        const TRIES: usize = 5;
        let failed = |why: String| Ok((position, LinkResult::Failed(why)));
        let Some(entry) = self.spool.entry(position) else {
            return Ok((position, LinkResult::Unchanged(Vec::new())));
        };
        if entry.flaw.is_some() {
            return Ok((position, LinkResult::Unchanged(Vec::new())));
        }
        let captured = desired(entry, self.spool.value(entry)?, false, self.guards).owners;
        let mut writer = self.writer(now, without);
        writer.last = true;
        for _ in 0..TRIES {
            let live = match self.target.get(&entry.path, None).await {
                Ok(Some(live)) => live,
                Ok(None) => {
                    // A garbage collector was faster; with living owners the object stays.
                    let (mut done, _) = writer.write(position, true).await?;
                    done.why = Some(
                        "it was gone when its owners were named, and was made again".to_owned(),
                    )
                    .filter(|_| done.outcome == Outcome::Created)
                    .or(done.why);
                    return Ok((position, LinkResult::Recreated(done)));
                }
                Err(e) if e.is_of_the_server() => return Err(e.into()),
                Err(e) => return failed(e.line()),
            };
            let owners = writer.owners();
            let held = references_of(&live);
            let resolved = owners.resolve(&entry.path, &held, &captured);
            let to = match resolved.await {
                Ok(to) => to,
                Err(e) if e.is_of_the_server() => return Err(e.into()),
                Err(e) => return failed(e.line()),
            };
            if !to.differs {
                return Ok((position, LinkResult::Unchanged(to.left)));
            }
            let patch = json!({ "metadata": {
                "resourceVersion": live.pointer("/metadata/resourceVersion"),
                "ownerReferences": to.references,
            }});
            match self.target.patch(&entry.path, &patch, false).await {
                Ok(_) => return Ok((position, LinkResult::Linked(to.left))),
                Err(e) if e.is_conflict() || e.is_not_found() => {}
                Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
                Err(e) => return failed(e.line()),
            }
        }
        failed("another writer keeps changing it".to_owned())
    }
}

/// Returns the finding for a kind whose objects cannot be read.
pub(crate) fn unread(kind: &str, why: &str) -> Finding {
    Finding::warning(
        kind,
        format!(
            "it is not known whether its objects name owners that are created again: \
             {why}"
        ),
        "see why it cannot be listed, and look at its objects' ownerReferences",
    )
}
