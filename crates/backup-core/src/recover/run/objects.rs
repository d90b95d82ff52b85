//! Objects, turn by turn, each in the journal before and after it is written.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::super::journal::Done;
use super::super::objects::Writer;
use super::super::order::Rank;
use super::super::quiesce::Parked;
use super::super::{RecoverError, leave, lock};
use super::{AT_ONCE, BATCH, Recovery};

impl Recovery {
    /// Why objects are left out, by their positions. Reads every body.
    pub(super) fn left_out(&self) -> Result<HashMap<usize, &'static str>, RecoverError> {
        let mut found = HashMap::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let value = self.spool.value(entry)?;
            if let Some(reason) = leave::reason(entry, &value, self.guards) {
                found.insert(position, reason);
            }
        }
        Ok(found)
    }

    /// Writes every object in its turn.
    pub(super) async fn objects(
        &mut self,
        without: &HashMap<usize, &'static str>,
        ours: &HashSet<String>,
    ) -> Result<(), RecoverError> {
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
                let state = &self.journal.state;
                let parked = state.parked.iter().map(Parked::place).collect();
                let writer = self.writer(&now, without, &parked);
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

    fn writer<'a>(
        &'a self,
        now: &'a HashMap<usize, String>,
        without: &'a HashMap<usize, &'static str>,
        parked: &'a HashSet<String>,
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
            parked,
        }
    }
}
