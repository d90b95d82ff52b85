//! The objects of a component, one by one, while it is put together: neither the whole archive in
//! memory nor anything plain on a disk.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::assemble::{Assembly, assemble};
use super::fetch::find_component;
use super::keys::Unlocked;
use super::objects::Objects;
use crate::archive::{ArchiveError, StoredJson, read_objects};
use crate::catalog::RestorePoint;
use crate::id::ComponentName;
use crate::progress::Progress;
use crate::store::Store;

/// Reads this much of the pipe at once, which is what a pipe holds.
const BUFFER: usize = 64 << 10;

/// Reads the objects of one restore point. Clones read the same.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    /// Where from.
    pub store: Arc<dyn Store>,
    /// The restore point.
    pub point: Arc<RestorePoint>,
    /// What opens it.
    pub unlocked: Arc<Unlocked>,
    /// A folder with room for the largest component, used encrypted.
    pub scratch: PathBuf,
    /// Told how it goes.
    pub progress: Arc<dyn Progress>,
    /// Ends the reading early.
    pub cancel: CancellationToken,
}

/// How the reading side ended.
enum Ended {
    /// It has what it wanted, or was told to end.
    Early,
    /// It came to the end of the archive.
    AtEnd,
    /// What it read is no archive.
    Failed(ArchiveError),
}

impl ObjectReader {
    /// Gives the objects of component `name`, in the order of the archive, to `each` until it
    /// breaks, and gives back what `each` made of `state`. One object is held at a time.
    ///
    /// Every byte comes from objects whose names are their digests; who reads to the end has also
    /// had the SHA-256 of the whole compared with the manifest's.
    ///
    /// # Errors
    /// As [`RestoreError`] says; what `each` was given before that must not be used.
    pub async fn fold<T, F>(
        &self,
        name: &ComponentName,
        state: T,
        each: F,
    ) -> Result<T, RestoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut T, StoredJson) -> ControlFlow<()> + Send + 'static,
    {
        let component = find_component(&self.point, name)?;
        if component.archive.is_none() {
            return Err(RestoreError::NoObjects {
                component: name.clone(),
            });
        }
        // The kernel's buffer is the bound between the two sides.
        let (reader, writer) = std::io::pipe().map_err(|source| RestoreError::File {
            operation: "make a pipe for",
            file: format!("component `{name}`"),
            source,
        })?;
        let assembly = Assembly {
            objects: Objects {
                store: Arc::clone(&self.store),
                id: self.point.entry.id.clone(),
                folder: None,
            },
            unlocked: Arc::clone(&self.unlocked),
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
            file: None,
        };
        // When nobody waits for this any more, the reading side ends at its next object.
        let stop = self.cancel.child_token();
        let _stopped = stop.clone().drop_guard();
        let reading = spawn_blocking(move || read(reader, &stop, state, each));
        let assembled = assemble(&assembly, component, &self.scratch, writer).await;
        // Dropping the writing end is what ends the reading side.
        let assembled = assembled.map(drop);
        let (state, ended) = reading.await.map_err(RestoreError::Panicked)?;
        match ended {
            Ended::Early if self.cancel.is_cancelled() => Err(RestoreError::Cancelled),
            // The writing side has failed for want of a reader, which is no damage.
            Ended::Early => Ok(state),
            Ended::AtEnd => assembled.map(|()| state),
            // Damage below is why the archive cannot be read.
            Ended::Failed(source) => Err(assembled.err().unwrap_or_else(|| {
                let component = name.clone();
                RestoreError::Archive { component, source }
            })),
        }
    }
}

fn read<T, F>(pipe: PipeReader, stop: &CancellationToken, mut state: T, mut each: F) -> (T, Ended)
where
    F: FnMut(&mut T, StoredJson) -> ControlFlow<()>,
{
    let mut early = false;
    let mut pipe = BufReader::with_capacity(BUFFER, pipe);
    let read = read_objects::<ArchiveError, _>(&mut pipe, |object| {
        early = stop.is_cancelled() || each(&mut state, object).is_break();
        Ok(if early {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    });
    if early {
        return (state, Ended::Early);
    }
    // To the last byte, behind the end mark too, or until it is clear that they are damaged.
    while !stop.is_cancelled()
        && let Ok(rest) = pipe.fill_buf()
        && !rest.is_empty()
    {
        let length = rest.len();
        pipe.consume(length);
    }
    let ended = match read {
        _ if stop.is_cancelled() => Ended::Early,
        Ok(()) => Ended::AtEnd,
        Err(e) => Ended::Failed(e),
    };
    (state, ended)
}
