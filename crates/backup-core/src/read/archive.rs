//! Reader of a component's objects, one by one, while it is assembled: it holds neither the whole archive in
//! memory nor plain bytes on a disk.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::assemble::{Assembly, assemble};
use super::fetch::find_component;
use super::keys::PointKeys;
use super::objects::PointObjects;
use crate::archive::{ArchiveError, StoredJson, read_objects};
use crate::catalog::RestorePoint;
use crate::id::ComponentName;
use crate::progress::Progress;
use crate::store::Store;

/// Bytes read at once from the pipe, equal to its capacity.
const BUFFER: usize = 64 << 10;

/// Reader of the objects of one restore point. Clones read the same restore point.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    /// Store of the restore point.
    pub store: Arc<dyn Store>,
    /// The restore point.
    pub point: Arc<RestorePoint>,
    /// Keys that open the restore point.
    pub unlocked: Arc<PointKeys>,
    /// Folder with room for the largest component; the files in it are encrypted.
    pub scratch: PathBuf,
    /// Receiver of progress reports.
    pub progress: Arc<dyn Progress>,
    /// Token that ends the reading early.
    pub cancel: CancellationToken,
}

/// End of the reading side.
enum ReadEnd {
    /// `each` stopped it, or it was cancelled.
    Early,
    /// It reached the end of the archive.
    AtEnd,
    /// The bytes are not a valid archive.
    Failed(ArchiveError),
}

impl ObjectReader {
    /// Passes the objects of component `name`, in the order of the archive, to `each` until it breaks, and
    /// returns the `state` that `each` built. Only one object is held at a time.
    ///
    /// Every byte comes from objects whose names are their digests. A caller that reads to the end also has
    /// the SHA-256 of the whole compared with the manifest's.
    ///
    /// # Errors
    /// See [`RestoreError`]; objects that `each` got before the error must not be used.
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
        // The kernel's buffer limits how far the writing side is ahead.
        let (reader, writer) = std::io::pipe().map_err(|source| RestoreError::File {
            operation: "make a pipe for",
            file: format!("component `{name}`"),
            source,
        })?;
        let assembly = Assembly {
            objects: PointObjects {
                store: Arc::clone(&self.store),
                id: self.point.entry.id.clone(),
                folder: None,
            },
            unlocked: Arc::clone(&self.unlocked),
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
            file: None,
        };
        // If the caller goes away, the reading side ends at its next object.
        let stop = self.cancel.child_token();
        let _stopped = stop.clone().drop_guard();
        let reading = spawn_blocking(move || read(reader, &stop, state, each));
        let assembled = assemble(&assembly, component, &self.scratch, writer).await;
        // Dropping the writing end ends the reading side.
        let assembled = assembled.map(drop);
        let (state, ended) = reading.await.map_err(RestoreError::Panicked)?;
        match ended {
            ReadEnd::Early if self.cancel.is_cancelled() => Err(RestoreError::Cancelled),
            // The writing side failed because its reader was gone, which is not damage.
            ReadEnd::Early => Ok(state),
            ReadEnd::AtEnd => assembled.map(|()| state),
            // Damaged objects are the reason why the archive cannot be read.
            ReadEnd::Failed(source) => Err(assembled.err().unwrap_or_else(|| {
                let component = name.clone();
                RestoreError::Archive { component, source }
            })),
        }
    }
}

fn read<T, F>(pipe: PipeReader, stop: &CancellationToken, mut state: T, mut each: F) -> (T, ReadEnd)
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
        return (state, ReadEnd::Early);
    }
    // Reads to the last byte, also behind the end mark, or until the bytes are known to be damaged.
    while !stop.is_cancelled()
        && let Ok(rest) = pipe.fill_buf()
        && !rest.is_empty()
    {
        let length = rest.len();
        pipe.consume(length);
    }
    let ended = match read {
        _ if stop.is_cancelled() => ReadEnd::Early,
        Ok(()) => ReadEnd::AtEnd,
        Err(e) => ReadEnd::Failed(e),
    };
    (state, ended)
}
