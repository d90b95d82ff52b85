//! Writer of definitions; each is served before objects of its kind are written.

use std::collections::HashSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::super::crds::{self, DefinitionChoice, DefinitionNames, DefinitionOrder};
use super::super::journal::{ObjectResult, Outcome};
use super::super::order::Rank;
use super::super::{RecoverError, exclusions};
use super::{AT_ONCE, BATCH, Recovery};

impl Recovery {
    /// Creates the definitions and waits until each is served.
    pub(super) async fn definitions(&mut self, ours: &HashSet<String>) -> Result<(), RecoverError> {
        let all: Vec<usize> = self
            .positions(|rank| rank == Rank::CRDS)
            .into_iter()
            .flatten()
            .collect();
        let title = format!("making {} definitions", all.len());
        self.progress.step(&title, None);
        let claims = all.iter().filter_map(|position| {
            let entry = self.spool.entry(*position)?;
            // An unreadable definition claims no names, and fails in its turn.
            let value = match entry.flaw {
                Some(_) => Ok(Value::Null),
                None => self.spool.value(entry),
            };
            Some(value.map(|value| DefinitionNames::of(*position, &value)))
        });
        let DefinitionOrder { first, then } =
            crds::definition_order(claims.collect::<Result<_, _>>()?);
        let batches = first.chunks(BATCH).chain(then.chunks(1));
        for batch in batches {
            let batch = self.open(batch, ours);
            self.begin(&batch)?;
            let done: Vec<(usize, ObjectResult)> = stream::iter(batch)
                .map(|(position, ours)| self.definition(position, ours))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            self.end(done)?;
        }
        self.target.discover().await?;
        Ok(())
    }

    /// Creates one definition; `ours` means that this restore may have created it already.
    async fn definition(
        &self,
        position: usize,
        ours: bool,
    ) -> Result<(usize, ObjectResult), RecoverError> {
        let ended = |outcome, uid, why| Ok((position, ObjectResult { outcome, uid, why }));
        let Some(entry) = self.spool.entry(position) else {
            return ended(Outcome::Failed, None, None);
        };
        if entry.flaw.is_some() {
            return ended(Outcome::Failed, None, entry.flaw.clone());
        }
        let value = self.spool.value(entry)?;
        if let Some(reason) = exclusions::reason(entry, &value, self.guards) {
            return ended(Outcome::Skipped, None, Some(reason.to_owned()));
        }
        let live = match self.target.get(&entry.path, None).await {
            Ok(live) => live,
            Err(e) if self.target.is_of_the_server(&e).await => return Err(e.into()),
            Err(e) => return ended(Outcome::Failed, None, Some(e.line())),
        };
        let uid = |object: &serde_json::Value| {
            Some(object.pointer("/metadata/uid")?.as_str()?.to_owned())
        };
        let choice = crds::choose(&value, live.as_ref(), self.plan.options.overwrite_crds);
        let held = live.as_ref().and_then(uid);
        let outcome = match choice {
            DefinitionChoice::Same if ours => return ended(Outcome::Created, held, None),
            DefinitionChoice::Same => return ended(Outcome::Same, held, None),
            DefinitionChoice::Keep(why) => return ended(Outcome::Conflict, held, Some(why)),
            DefinitionChoice::Clash(why) => return ended(Outcome::Failed, held, Some(why)),
            DefinitionChoice::Create => Outcome::Created,
            DefinitionChoice::Replace => Outcome::Changed,
        };
        let converts = crds::converts(&value);
        let refused = crds::refused(&value);
        let notes = crds::notes(&value);
        let body = crds::body(value);
        match self.target.apply(&entry.path, &body, false).await {
            // The captured definition was not served either, so nothing waits for it.
            Ok(made) if refused => {
                let why = "another definition has names of it, as when it was captured";
                ended(outcome, uid(&made), Some(why.to_owned()))
            }
            Ok(made) => match crds::served(&self.target, &body).await {
                Ok(()) => {
                    let converts = converts.then(|| {
                        "its versions are converted by a webhook, which must run before objects of \
                         another version are read"
                            .to_owned()
                    });
                    let told: Vec<String> = converts.into_iter().chain(notes).collect();
                    let why = (!told.is_empty()).then(|| told.join("; "));
                    ended(outcome, uid(&made), why)
                }
                Err(why) => ended(Outcome::Failed, uid(&made), Some(why)),
            },
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(e) => ended(Outcome::Failed, None, Some(e.line())),
        }
    }
}
