//! Owner references in a plan: dead ones, those that get a new UID, and those that are added again.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::Survey;
use crate::RecoverError;
use crate::desired::desired;
use crate::guards::Guard;
use crate::journal::Outcome;
use crate::owners::{Dependants, OwnerResolver, references_of};
use crate::plan::Mode;

impl Survey<'_> {
    /// Records the UID and the owners of a live object.
    pub(super) fn named(&mut self, position: usize, object: &Value) {
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        if let Some(uid) = uid {
            self.there.insert(position, uid.to_owned());
        }
        let owners = references_of(object);
        if !owners.is_empty() {
            self.owned.insert(position, owners);
        }
    }

    /// Adds changes of owner references to the plan.
    pub(super) async fn owners(&mut self) -> Result<(), RecoverError> {
        let guards = self.request.guards;
        if !guards.has(Guard::Owners) {
            return Ok(());
        }
        // An object that cannot be created gets no UID, so it cannot be an owner.
        let mut without = self.without.clone();
        let failed = self.outcomes.iter();
        let failed = failed.filter(|(_, prediction)| prediction.outcome == Outcome::Failed);
        without.extend(failed.map(|(position, _)| (*position, "it cannot be made")));
        let seen = Mutex::new(HashMap::new());
        let owners = OwnerResolver {
            spool: self.spool,
            target: self.target,
            now: &self.there,
            without: &without,
            last: false,
            guards,
            seen: Some(&seen),
        };
        let mut told = Vec::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let held = self.owned.get(&position);
            if !self.there.contains_key(&position) || (held.is_none() && entry.owners.is_empty()) {
                continue;
            }
            let captured = desired(entry, self.spool.value(entry)?, false, guards).owners;
            let held = held.map(Vec::as_slice).unwrap_or_default();
            match owners.resolve(&entry.path, held, &captured).await {
                Ok(to) if to.differs || to.late => {
                    let dead = to.dead || to.changes.iter().any(|c| c.ends_with("new UID"));
                    let mut changes = to.changes;
                    changes.extend(to.left);
                    told.push((position, dead, changes.join("; ")));
                }
                Ok(_) => {}
                Err(e) if e.is_of_the_server() => return Err(e.into()),
                // The error is reported where the object is read for writing.
                Err(_) => {}
            }
        }
        for (position, dead, why) in told {
            let Some(prediction) = self.outcomes.get_mut(&position) else {
                continue;
            };
            let add = match prediction.outcome {
                Outcome::Same => {
                    prediction.outcome = Outcome::Changed;
                    // The new UID is known only when the owner is created.
                    prediction.content = self.request.key.digest(&json!(why), None);
                    true
                }
                Outcome::Changed => true,
                Outcome::Conflict => dead,
                _ => false,
            };
            if add {
                prediction.why = Some(match prediction.why.take() {
                    Some(held) => format!("{held}; {why}"),
                    None => why,
                });
            }
        }
        self.dependants().await
    }

    /// Adds live objects that are not in the archive and name an owner that is created again.
    async fn dependants(&mut self) -> Result<(), RecoverError> {
        if self.request.mode != Mode::InPlace {
            return Ok(());
        }
        let made = self.outcomes.iter();
        let made: HashSet<usize> = made
            .filter(|(_, prediction)| prediction.outcome == Outcome::Created)
            .map(|(position, _)| *position)
            .collect();
        let found = Dependants::find(self.target, self.spool, &made).await?;
        for (kind, why) in &found.unread {
            self.findings.push(crate::run::unread(kind, why));
        }
        for (position, paths) in found.of {
            let Some(owner) = self.spool.entry(position) else {
                continue;
            };
            for path in paths {
                let planned = self.pruned.iter().any(|(pruned, _, _)| *pruned == path);
                if planned || self.spool.by_path(&path).is_some() {
                    continue;
                }
                let why = format!("owner {} {} by its new UID", owner.kind, owner.path.name);
                self.pruned.push((path, Outcome::Changed, Some(why)));
            }
        }
        Ok(())
    }
}
