//! Opening of a component's packs in the planned order, while others are downloaded. Bytes that are needed
//! outside of a pack's stay are put into a scratch file.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use super::Assembly;
use super::packs::{FramePool, PackLoad, UnpackedPack, scratch_failed};
use super::reader::{Opening, OpeningPlan};
use crate::read::RestoreError;
use crate::read::keys::PointKeys;
use crate::scratch::Scratch;
use crate::store::MAX_OBJECT;

/// Packs downloaded at the same time: hides round trips, and holds 64 MiB at most.
const DOWNLOADS: usize = 4;

/// Packs opened at the same time, of 15 MiB each. While many packs in a row only put bytes aside, nothing is
/// rebuilt, and a second processor is free.
const OPENING: usize = 2;

/// Makes packs that are opened twice keep their stored bytes in the scratch file, behind the bytes that are
/// put aside, so that they are not downloaded twice. Returns the size that the scratch file needs. Near
/// objects are not kept.
pub(in crate::read) fn keep_for_again(
    assembly: &Assembly,
    loads: &mut [PackLoad],
    openings: &OpeningPlan,
) -> u64 {
    let mut end = openings.aside;
    if assembly.objects.are_near() {
        return end;
    }
    for (before, opening) in openings.order.iter().zip(openings.order.iter().skip(1)) {
        // Directly after its first opening, which is still in progress, nothing is kept yet.
        if opening.first || before.number == opening.number {
            continue;
        }
        if let Some(load) = loads.get_mut(opening.number) {
            load.kept = Some(end);
            end = end.saturating_add(load.pack.bytes);
        }
    }
    end
}

/// Opens packs of `loads` one after the other in `order`, puts bytes aside as planned, and sends each pack to
/// `full`. Ends early if the receiver is gone. Without `full`, bytes are only put aside.
pub(in crate::read) async fn open_packs(
    assembly: &Assembly,
    loads: &Arc<Vec<PackLoad>>,
    order: Vec<Opening>,
    scratch: &Arc<Scratch>,
    full: Option<Sender<UnpackedPack>>,
) -> Result<(), RestoreError> {
    let wanted = order.into_iter();
    let wanted = wanted.filter_map(|opening| Some((opening, loads.get(opening.number)?)));
    let wanted: Vec<(Opening, &PackLoad)> = wanted.collect();
    let sizes = wanted.iter().map(|(_, load)| load.pack.bytes);
    let total = sizes.fold(0, u64::saturating_add);
    assembly.progress.step("reading packs", Some(total));
    let spare = Arc::<FramePool>::default();
    let mut opened = futures::stream::iter(wanted)
        .map(|(opening, load)| async move {
            if !opening.first && load.kept.is_some() {
                return Ok((opening, None));
            }
            let bytes = assembly.objects.get(load.key(), load.pack.sha256).await?;
            Ok::<_, RestoreError>((opening, Some(bytes)))
        })
        .buffered(DOWNLOADS)
        .map_ok(|(opening, bytes)| {
            let (loads, scratch) = (Arc::clone(loads), Arc::clone(scratch));
            let (unlocked, spare) = (Arc::clone(&assembly.unlocked), Arc::clone(&spare));
            // If the caller goes away, this ends after the current pack, and has changed only the scratch
            // file.
            let opening = spawn_blocking(move || match loads.get(opening.number) {
                Some(load) => {
                    let plain = plain(load, opening, bytes, &unlocked, &spare, &scratch)?;
                    Ok((plain, load.pack.bytes))
                }
                None => Ok((UnpackedPack::default(), 0)),
            });
            async { opening.await.map_err(RestoreError::Panicked)? }
        })
        .try_buffered(OPENING);
    loop {
        let next = async {
            let next = opened.try_next().await?;
            let Some((plain, bytes)) = next else {
                return Ok(false);
            };
            assembly.progress.advance(bytes);
            match &full {
                Some(full) => Ok(full.send(plain).await.is_ok()),
                None => Ok(true),
            }
        };
        let goes_on = tokio::select! {
            () = assembly.cancel.cancelled() => return Err(RestoreError::Cancelled),
            next = next => next?,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// Opens a pack from its stored `bytes`, or from the bytes that were kept. The first opening puts bytes
/// aside. If the stay does not begin, that is all, and the result is empty.
fn plain(
    load: &PackLoad,
    opening: Opening,
    bytes: Option<Bytes>,
    unlocked: &PointKeys,
    spare: &Arc<FramePool>,
    scratch: &Scratch,
) -> Result<UnpackedPack, RestoreError> {
    let failed = |source| scratch_failed(scratch, source);
    let bytes = match (bytes, load.kept) {
        (Some(bytes), _) => bytes,
        (None, kept) => take_back(load, kept, scratch).map_err(failed)?,
    };
    if opening.first
        && let Some(kept) = load.kept
    {
        scratch.put(kept, &mut bytes.to_vec()).map_err(failed)?;
    }
    if !opening.stays {
        load.put_parts_aside(&bytes, unlocked, scratch)?;
        return Ok(UnpackedPack::default());
    }
    let mut plain = load.open(&bytes, unlocked, spare)?;
    if opening.first {
        load.put_aside(&mut plain, scratch)?;
    }
    Ok(plain)
}

/// Returns the stored bytes that were kept of a pack.
fn take_back(load: &PackLoad, kept: Option<u64>, scratch: &Scratch) -> io::Result<Bytes> {
    let kept = kept.ok_or(io::ErrorKind::NotFound)?;
    // An object that was opened once has at most 16 MiB.
    let size = usize::try_from(load.pack.bytes).unwrap_or(MAX_OBJECT);
    let mut bytes = vec![0; size.min(MAX_OBJECT)];
    scratch.get(kept, &mut bytes)?;
    Ok(bytes.into())
}
