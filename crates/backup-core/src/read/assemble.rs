//! Assembly of a component: opens the packs in the planned order, and meanwhile rebuilds the stream from
//! start to end.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::opener::{keep_for_again, open_packs};
use self::packs::{PackLoad, loads};
use self::reader::{OpeningPlan, PackStream, sequence};
use self::writer::write_beside;
use super::RestoreError;
use super::keys::PointKeys;
use super::objects::PointObjects;
use super::recipes::{read_recipes, transformed_bytes};
use crate::chunk;
use crate::digest::Digest;
use crate::format::manifest::Component;
use crate::format::recipe::Segment;
use crate::num::to_u64;
use crate::progress::Progress;
use crate::scratch::Scratch;

pub(super) mod opener;
pub(super) mod packs;
pub(super) mod reader;
mod schedule;
mod writer;

/// Opened packs that wait for the stream, so that it never waits for one.
const AHEAD: usize = 1;

/// Inputs of an assembly besides the component.
pub(super) struct Assembly {
    pub(super) objects: PointObjects,
    pub(super) unlocked: Arc<PointKeys>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) cancel: CancellationToken,
    /// File that the bytes are written to, if any, for errors.
    pub(super) file: Option<PathBuf>,
}

/// Writes the plain bytes of `component` to `out`, checks them against its size and SHA-256, and returns
/// `out`. `folder` holds the scratch file.
pub(super) async fn assemble<W: Write + Send + 'static>(
    assembly: &Assembly,
    component: &Component,
    folder: &Path,
    out: W,
) -> Result<W, RestoreError> {
    if let Some(epoch) = assembly.unlocked.closed(component) {
        return Err(RestoreError::Closed {
            component: component.name.clone(),
            recipients: epoch.recipients.iter().map(ToString::to_string).collect(),
        });
    }
    let segments = read_recipes(assembly, component).await?;
    let loads = loads(component);
    let (segments, mut loads, sequence) = plan_openings(segments, loads, &assembly.cancel).await?;
    let sequence = match sequence {
        None if assembly.cancel.is_cancelled() => return Err(RestoreError::Cancelled),
        None => {
            let what = "a run leads out of its packs".to_owned();
            return Err(mismatch(component, what));
        }
        Some(sequence) => sequence,
    };
    tracing::debug!(
        component = %component.name,
        openings = sequence.order.len(),
        aside = sequence.aside,
        "putting together"
    );
    let order = sequence.order.clone();
    let room = keep_for_again(assembly, &mut loads, &sequence);
    let scratch = Arc::new(scratch_for(folder, room)?);
    let loads = Arc::new(loads);

    let (full, mut open) = tokio::sync::mpsc::channel(AHEAD);
    let rebuilding = {
        let (component, file) = (component.clone(), assembly.file.clone());
        let (loads, scratch) = (Arc::clone(&loads), Arc::clone(&scratch));
        let cancel = assembly.cancel.clone();
        spawn_blocking(move || {
            let ended = || io::Error::other("no more packs come");
            let next = || open.blocking_recv().ok_or_else(ended);
            let runs = segments.iter().flat_map(|segment| &segment.runs);
            let mut transformed = PackStream::new(&loads, sequence, runs, next, &scratch);
            rebuild(
                &component,
                file.as_deref(),
                (&segments, &cancel),
                &mut transformed,
                out,
            )
        })
    };
    let opened = open_packs(assembly, &loads, order, &scratch, Some(full)).await;
    let rebuilt = rebuilding.await.map_err(RestoreError::Panicked)?;
    // A pack that did not come is also the cause of the other side's failure.
    opened?;
    if rebuilt.is_err() && assembly.cancel.is_cancelled() {
        return Err(RestoreError::Cancelled);
    }
    rebuilt
}

/// Plans the opening of packs, on a thread that may take its time.
async fn plan_openings(
    segments: Vec<Segment>,
    mut loads: Vec<PackLoad>,
    cancel: &CancellationToken,
) -> Result<(Vec<Segment>, Vec<PackLoad>, Option<OpeningPlan>), RestoreError> {
    let cancel = cancel.clone();
    let openings = spawn_blocking(move || {
        let runs = segments.iter().flat_map(|segment| &segment.runs);
        let sequence = sequence(&mut loads, runs, &cancel);
        (segments, loads, sequence)
    });
    openings.await.map_err(RestoreError::Panicked)
}

pub(super) fn scratch_in(folder: &Path, component: &Component) -> Result<Scratch, RestoreError> {
    scratch_for(folder, component.plain_bytes)
}

fn scratch_for(folder: &Path, bytes: u64) -> Result<Scratch, RestoreError> {
    Scratch::create(folder, bytes).map_err(|source| RestoreError::File {
        operation: "create a scratch file in",
        file: folder.display().to_string(),
        source,
    })
}

fn rebuild<W: Write + Send>(
    component: &Component,
    file: Option<&Path>,
    (segments, cancel): (&[Segment], &CancellationToken),
    transformed: &mut impl Read,
    out: W,
) -> Result<W, RestoreError> {
    let (rebuilt, written) = write_beside(out, |out| {
        for segment in segments {
            let own = transformed.by_ref().take(transformed_bytes(segment));
            let mut stretch = SegmentWriter {
                out,
                left: segment.plain_bytes,
                cancel,
            };
            rebuild_segment(component, segment, own, &mut stretch)?;
        }
        Ok(())
    });
    // A failed write is also the cause of the other side's failure.
    let (out, digest) = written.map_err(|source| cannot_write(component, file, source))?;
    rebuilt?;
    check_digest(component, digest)?;
    Ok(out)
}

/// Writer for the bytes of one segment that refuses more than the segment should have: a few bytes of a
/// hostile layout can stand for any number of zeros.
struct SegmentWriter<'o> {
    out: &'o mut dyn Write,
    left: u64,
    /// Checked at each write: a layout can produce any number of zeros.
    cancel: &'o CancellationToken,
}

impl Write for SegmentWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("asked to stop"));
        }
        if to_u64(buf.len()) > self.left {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a segment gives more bytes than its recipe says",
            ));
        }
        let written = self.out.write(buf)?;
        self.left = self.left.saturating_sub(to_u64(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn rebuild_segment(
    component: &Component,
    segment: &Segment,
    mut transformed: io::Take<impl Read>,
    stretch: &mut SegmentWriter<'_>,
) -> Result<(), RestoreError> {
    let written = chunk::rebuild(
        segment.kind,
        segment.start,
        &segment.layout,
        &mut transformed,
        stretch,
    )
    .map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            mismatch(component, source.to_string())
        }
        _ => cannot_write(component, None, source),
    })?;
    if transformed.limit() > 0 {
        let left = transformed.limit();
        return Err(mismatch(
            component,
            format!("a segment leaves {left} bytes of its chunks"),
        ));
    }
    if written != segment.plain_bytes {
        let want = segment.plain_bytes;
        return Err(mismatch(
            component,
            format!("a segment gave {written} bytes, not {want}"),
        ));
    }
    Ok(())
}

fn cannot_write(component: &Component, file: Option<&Path>, source: io::Error) -> RestoreError {
    let file = file.map(|file| file.display().to_string());
    RestoreError::File {
        operation: "write",
        file: file.unwrap_or_else(|| format!("component `{}`", component.name)),
        source,
    }
}

fn check_digest(component: &Component, found: Digest) -> Result<(), RestoreError> {
    let want = component.plain_sha256;
    if found == want {
        return Ok(());
    }
    Err(mismatch(
        component,
        format!("its SHA-256 is {found}, the manifest says {want}"),
    ))
}

pub(super) fn mismatch(component: &Component, what: String) -> RestoreError {
    RestoreError::Mismatch {
        component: component.name.clone(),
        what,
    }
}

#[cfg(test)]
mod tests;
