//! Writer of all objects, rank by rank; each is in the journal before and after it is written.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::super::journal::{ObjectResult, Outcome};
use super::super::objects::ObjectWriter;
use super::super::order::Rank;
use super::super::{RecoverError, exclusions, lock};
use super::link::OwnerChanges;
use super::{AT_ONCE, BATCH, Recovery};

impl Recovery {
    /// Returns the reasons for leaving objects out, by position. Reads every body.
    pub(super) fn left_out(&self) -> Result<HashMap<usize, &'static str>, RecoverError> {
        let mut found = HashMap::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            if entry.flaw.is_some() {
                continue;
            }
            let value = self.spool.value(entry)?;
            if let Some(reason) = exclusions::reason(entry, &value, self.guards) {
                found.insert(position, reason);
            }
        }
        Ok(found)
    }

    /// Writes every object in its turn. Returns the positions of objects that have all their owners.
    pub(super) async fn objects(
        &mut self,
        without: &HashMap<usize, &'static str>,
        ours: &HashSet<String>,
        relinked: &OwnerChanges,
    ) -> Result<HashSet<usize>, RecoverError> {
        let mut named = HashSet::new();
        let turns = self.positions(|rank| rank != Rank::CRDS);
        let total: usize = turns.iter().map(Vec::len).sum();
        let mut begun = 0_usize;
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
                let batch = self.open(batch, ours);
                self.begin(&batch)?;
                let now = self.uids();
                let writer = self.writer(&now, without);
                let done: Vec<(usize, ObjectResult, bool)> = stream::iter(batch)
                    .map(|(position, ours)| {
                        let writer = &writer;
                        async move {
                            let (done, late) = writer.write(position, ours).await?;
                            Ok::<_, RecoverError>((position, done, late))
                        }
                    })
                    .buffered(AT_ONCE)
                    .try_collect()
                    .await?;
                let done = done.into_iter().map(|(position, mut done, late)| {
                    if !late {
                        named.insert(position);
                    }
                    let entry = self.spool.entry(position);
                    if done.outcome == Outcome::Same
                        && let Some(why) = entry.and_then(|entry| relinked.get(&entry.path))
                    {
                        done.outcome = Outcome::Changed;
                        done.why = Some(why.clone());
                    }
                    (position, done)
                });
                let done = done.collect();
                self.end(done)?;
            }
        }
        Ok(named)
    }

    pub(super) fn writer<'a>(
        &'a self,
        now: &'a HashMap<usize, String>,
        without: &'a HashMap<usize, &'static str>,
    ) -> ObjectWriter<'a> {
        ObjectWriter {
            target: &self.target,
            spool: &self.spool,
            base: self.base.as_ref(),
            options: &self.plan.options,
            mode: self.plan.mode,
            guards: self.guards,
            now,
            without,
            last: false,
        }
    }
}
