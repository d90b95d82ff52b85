//! Merge of two archives. Both are in the same order, so only a few objects of each are held.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use anyhow::Context as _;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_core::archive::{ObjectPath, StoredJson};
use backup_core::id::ComponentName;
use backup_core::read::{ObjectReader, RestoreError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::compare::{Comparison, ComparisonError};
use super::plan::ComponentPair;
use crate::commands::read_failure;

/// Objects of a side that wait for the other side: one could be 16 MiB, and more would not be faster.
const WAITING: usize = 2;

/// Readers of the two restore points.
pub(super) struct ReaderPair {
    pub(super) before: ObjectReader,
    pub(super) after: ObjectReader,
}

impl ReaderPair {
    /// Compares the objects of one component; returns `comparison` with the results.
    pub(super) async fn compare(
        &self,
        pair: &ComponentPair<'_>,
        comparison: Comparison,
    ) -> Result<Comparison, Failure> {
        let (was, from_before) = channel(WAITING);
        let (is, from_after) = channel(WAITING);
        let name = pair.name.clone();
        let merging = tokio::task::spawn_blocking(move || {
            merge(
                &name,
                MergeInput::new("A", from_before),
                MergeInput::new("B", from_after),
                comparison,
            )
        });
        let (before, after, merged) = tokio::join!(
            send(&self.before, pair.name, was),
            send(&self.after, pair.name, is),
            merging,
        );
        let merged = merged.context("compare objects")?;
        // If a side could not be read to its end, the merge has no value.
        before.map_err(read_failure)?;
        after.map_err(read_failure)?;
        merged
    }
}

/// Sends all objects of a component, until the receiver is gone.
async fn send(
    reader: &ObjectReader,
    name: &ComponentName,
    to: Sender<StoredJson>,
) -> Result<(), RestoreError> {
    let each = move |(): &mut (), object| match to.blocking_send(object) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    reader.fold(name, (), each).await
}

/// One side of a merge.
struct MergeInput {
    name: &'static str,
    objects: Receiver<StoredJson>,
    next: Option<StoredJson>,
}

/// Returns the sort key of objects in an archive: the kind, then the name in the API server's order.
fn place(path: &ObjectPath) -> (&str, String) {
    (path.resource.as_str(), path.object())
}

impl MergeInput {
    fn new(name: &'static str, objects: Receiver<StoredJson>) -> Self {
        Self {
            name,
            objects,
            next: None,
        }
    }

    /// Takes the next object out of the channel, which must come after the previous one.
    fn advance(&mut self) -> Result<Option<StoredJson>, Failure> {
        let before = std::mem::replace(&mut self.next, self.objects.blocking_recv());
        if let (Some(before), Some(next)) = (&before, &self.next)
            && place(&before.path) >= place(&next.path)
        {
            let disorder = format!(
                "the objects of {} are not in order: {} comes after {}",
                self.name, next.path, before.path
            );
            let failure = Failure::message(Exit::Failed, disorder);
            return Err(failure.hint(
                "fetch the component of both restore points with `restore-cli fetch` and compare \
                 the unpacked folders",
            ));
        }
        Ok(before)
    }
}

fn merge(
    name: &ComponentName,
    mut before: MergeInput,
    mut after: MergeInput,
    mut comparison: Comparison,
) -> Result<Comparison, Failure> {
    before.advance()?;
    after.advance()?;
    let told = |told| match told {
        ComparisonError::Failure(failure) => failure,
        ComparisonError::Archive(source) => read_failure(RestoreError::Archive {
            component: name.clone(),
            source,
        }),
    };
    loop {
        let order = match (&before.next, &after.next) {
            (Some(was), Some(is)) => place(&was.path).cmp(&place(&is.path)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(comparison),
        };
        let was = if order.is_le() {
            before.advance()?
        } else {
            None
        };
        let is = if order.is_ge() {
            after.advance()?
        } else {
            None
        };
        let seen = comparison.object(name.as_str(), was.as_ref(), is.as_ref());
        seen.map_err(told)?;
    }
}
