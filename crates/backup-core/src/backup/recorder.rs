//! Recorder of a chunker's output, which finds stored chunks, collects new ones into packs, and keeps the
//! recipe.

use std::io;

use super::batch::{ArrangedBatch, Batch, ChunkOrder};
use super::table::{ChunkPlace, ChunkTable, PackFacts, PackNumber};
use crate::chunk::{ChunkerKind, Sink};
use crate::format::recipe::{PackSpan, Segment};
use crate::num::{to_u64, to_usize};

/// Size of a segment's columns in memory at which it is closed. It limits the memory of writer and reader,
/// and a 2 GiB database still fits one or two segments.
const SEGMENT_BYTES: usize = 16 << 20;
/// Runs that may wait for their batch's places; with more, the pack is closed early.
const MAX_WAITING: usize = 1 << 19;
/// If more than one byte in this many is new, packs are made with [`MUCH`], else with [`LITTLE`].
const MUCH_NEW: u64 = 4;
/// A first snapshot is mostly new and should not take long. In stream order its recipe is a few runs, now and
/// in every later snapshot that still refers to it: 15 % of an hour's bytes.
const MUCH: PackSettings = PackSettings {
    level: 3,
    order: ChunkOrder::AsItCame,
};
/// A later snapshot is small and should stay small. Compared with [`MUCH`], level 9 saves 9 % and the order
/// by key 6 %, at three times the processor time for a tenth of the bytes.
const LITTLE: PackSettings = PackSettings {
    level: 9,
    order: ChunkOrder::ByKey,
};

/// Settings for making a pack.
#[derive(Debug, Clone, Copy)]
struct PackSettings {
    /// Compression level of zstd.
    level: i32,
    order: ChunkOrder,
}

/// Work for the stage that compresses and encrypts, in the required order.
pub(super) enum SealTask {
    /// Pack to be made.
    Pack {
        number: PackNumber,
        batch: ArrangedBatch,
        level: i32,
    },
    /// Recipe segment to be made.
    Recipe(Segment),
}

/// Run whose place in pack space is not yet known.
#[derive(Clone, Copy)]
struct UnplacedSpan {
    pack: PackNumber,
    /// Offset in the pack; while the pack is being collected, a position in the batch.
    offset: u32,
    length: u32,
}

/// Statistics and packs of one recorded component.
#[derive(Debug, Clone, Default)]
pub(super) struct ComponentStats {
    pub(super) chunks: u64,
    pub(super) new_chunks: u64,
    chunk_bytes: u64,
    new_bytes: u64,
    /// Packs that the component refers to, in pack-space order.
    pub(super) packs: Vec<PackNumber>,
}

/// See the module.
pub(super) struct Recorder<F> {
    kind: ChunkerKind,
    table: ChunkTable,
    hand_on: F,
    epoch: String,
    batch: Batch,
    /// Number of the pack that the batch will become; assigned with its first chunk.
    collecting: Option<PackNumber>,
    layout: Vec<u8>,
    runs: Vec<UnplacedSpan>,
    /// Index of the first run that may wait for the batch's places.
    waiting_from: usize,
    segment_start: u64,
    /// Start of each pack in the component's pack space.
    bases: hashbrown::HashMap<PackNumber, u64>,
    pack_space: u64,
    seen: ComponentStats,
}

fn too_much(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("too many {what} in one run"),
    )
}

impl<F: FnMut(SealTask) -> io::Result<()>> Recorder<F> {
    /// Creates a recorder for one component. Packs are made for `epoch`, and `hand_on` takes the work.
    pub(super) fn new(kind: ChunkerKind, table: ChunkTable, epoch: String, hand_on: F) -> Self {
        Self {
            kind,
            table,
            hand_on,
            epoch,
            batch: Batch::default(),
            collecting: None,
            layout: Vec::new(),
            runs: Vec::new(),
            waiting_from: 0,
            segment_start: 0,
            bases: hashbrown::HashMap::new(),
            pack_space: 0,
            seen: ComponentStats::default(),
        }
    }

    /// Closes the last pack and the last segment, which ends at `plain_bytes`.
    pub(super) fn finish(mut self, plain_bytes: u64) -> io::Result<(ChunkTable, ComponentStats)> {
        self.close_segment(plain_bytes)?;
        Ok((self.table, self.seen))
    }

    /// Closes the last pack of a rejected stream, so that another attempt finds its chunks, and makes no
    /// recipe.
    pub(super) fn abandon(mut self) -> io::Result<ChunkTable> {
        self.close_pack()?;
        Ok(self.table)
    }

    fn making(&self) -> PackSettings {
        if self.seen.new_bytes > self.seen.chunk_bytes / MUCH_NEW {
            MUCH
        } else {
            LITTLE
        }
    }

    /// Turns the batch into a pack: its chunks and the waiting runs get their places.
    fn close_pack(&mut self) -> io::Result<()> {
        let Some(number) = self.collecting.take() else {
            self.waiting_from = self.runs.len();
            return Ok(());
        };
        let PackSettings { level, order } = self.making();
        let batch = std::mem::take(&mut self.batch).arranged(order);
        let plain = batch.plain_bytes();
        let mut offsets = vec![0_u32; batch.places().count()];
        for (position, id, offset, length) in batch.places() {
            let small = |n: usize| u32::try_from(n).map_err(|_| too_much("bytes of a pack"));
            let (offset, length) = (small(offset)?, small(length)?);
            if let Some(slot) = offsets.get_mut(position) {
                *slot = offset;
            }
            self.table.put(
                id,
                ChunkPlace {
                    pack: number,
                    offset,
                    length,
                },
            );
        }
        if let Some(facts) = self.table.pack_mut(number) {
            facts.plain_bytes = to_u64(plain);
        }
        let waiting = self.runs.split_off(self.waiting_from.min(self.runs.len()));
        for mut run in waiting {
            if run.pack == number {
                let position = to_usize(run.offset.into());
                run.offset = offsets.get(position).copied().unwrap_or_default();
            }
            self.push_run(run);
        }
        self.waiting_from = self.runs.len();
        (self.hand_on)(SealTask::Pack {
            number,
            batch,
            level,
        })
    }

    fn close_segment(&mut self, plain: u64) -> io::Result<()> {
        self.close_pack()?;
        let raw = std::mem::take(&mut self.runs);
        self.waiting_from = 0;
        let mut runs: Vec<PackSpan> = Vec::with_capacity(raw.len());
        for run in raw {
            let base = self.base(run.pack);
            let start = base.saturating_add(run.offset.into());
            match runs.last_mut() {
                Some(last) if last.start.saturating_add(last.length) == start => {
                    last.length = last.length.saturating_add(run.length.into());
                }
                _ => runs.push(PackSpan {
                    start,
                    length: run.length.into(),
                }),
            }
        }
        let segment = Segment {
            kind: self.kind,
            start: self.segment_start,
            plain_bytes: plain.saturating_sub(self.segment_start),
            layout: std::mem::take(&mut self.layout),
            runs,
        };
        self.segment_start = plain;
        (self.hand_on)(SealTask::Recipe(segment))
    }

    /// Returns where `pack` begins in the component's pack space; appends new packs to it.
    fn base(&mut self, pack: PackNumber) -> u64 {
        if let Some(base) = self.bases.get(&pack) {
            return *base;
        }
        let base = self.pack_space;
        let plain = self.table.pack(pack).map_or(0, |p| p.plain_bytes);
        self.pack_space = base.saturating_add(plain);
        self.bases.insert(pack, base);
        self.seen.packs.push(pack);
        base
    }
}

impl<F: FnMut(SealTask) -> io::Result<()>> Sink for Recorder<F> {
    fn chunk(&mut self, bytes: &[u8], order: &[u8]) -> io::Result<()> {
        let id = self.table.id(bytes);
        let size = to_u64(bytes.len());
        self.seen.chunks = self.seen.chunks.saturating_add(1);
        self.seen.chunk_bytes = self.seen.chunk_bytes.saturating_add(size);
        if let Some(place) = self.table.find(&id, bytes.len()) {
            let ChunkPlace {
                pack,
                offset,
                length,
            } = place;
            let run = UnplacedSpan {
                pack,
                offset,
                length,
            };
            if self.collecting == Some(pack) {
                // This is a position, not an offset: the run must not be merged before it is resolved.
                self.runs.push(run);
            } else {
                self.push_run(run);
            }
        } else {
            if !self.batch.has_room(bytes.len()) {
                self.close_pack()?;
            }
            let pack = match self.collecting {
                Some(pack) => pack,
                None => self.begin_pack()?,
            };
            let position = self.batch.push(id, bytes, order);
            let small = |n: usize| u32::try_from(n).map_err(|_| too_much("chunks"));
            let (offset, length) = (small(position)?, small(bytes.len())?);
            self.seen.new_chunks = self.seen.new_chunks.saturating_add(1);
            self.seen.new_bytes = self.seen.new_bytes.saturating_add(size);
            self.table.put(
                id,
                ChunkPlace {
                    pack,
                    offset,
                    length,
                },
            );
            self.runs.push(UnplacedSpan {
                pack,
                offset,
                length,
            });
        }
        if self.runs.len().saturating_sub(self.waiting_from) > MAX_WAITING {
            self.close_pack()?;
        }
        Ok(())
    }

    fn layout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.layout.extend_from_slice(bytes);
        Ok(())
    }

    fn boundary(&mut self, plain: u64) -> io::Result<()> {
        let columns = self.runs.len().saturating_mul(size_of::<UnplacedSpan>());
        if columns.saturating_add(self.layout.len()) > SEGMENT_BYTES {
            self.close_segment(plain)?;
        }
        Ok(())
    }
}

impl<F> Recorder<F> {
    /// Appends a run whose place is known, and merges it with the previous run if that place is known too.
    fn push_run(&mut self, run: UnplacedSpan) {
        if let Some(last) = self.runs.last_mut()
            && self.collecting != Some(last.pack)
            && last.pack == run.pack
            && last.offset.checked_add(last.length) == Some(run.offset)
            && let Some(length) = last.length.checked_add(run.length)
        {
            last.length = length;
            return;
        }
        self.runs.push(run);
    }

    fn begin_pack(&mut self) -> io::Result<PackNumber> {
        let facts = PackFacts {
            stored: None,
            plain_bytes: 0,
            epoch: self.epoch.clone(),
            new: true,
        };
        let number = self
            .table
            .add_pack(facts)
            .ok_or_else(|| too_much("packs"))?;
        self.collecting = Some(number);
        Ok(number)
    }
}
