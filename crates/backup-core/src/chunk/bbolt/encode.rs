//! Encoder that writes units as chunks and layout.

use std::io;

use prost::encoding::{decode_varint, encode_varint};

use super::canonical::Shape;
use super::layout::{LayoutRecord, MAX_RUN};
use super::page::{BranchRow, LeafRow, ROW, size};
use super::window::{StreamEnd, Unit, UnitVisitor, VisitedPart};
use crate::chunk::{MAX_CHUNK, Sink};
use crate::num::to_u64;

/// Elements smaller than this are grouped until the group has this many bytes: an index entry of a chunk
/// costs about 24.
const MIN_GROUP: usize = 64;

/// Longest run of kept pages in bytes, so that a stream without structure can be split too.
const MAX_RUN_BYTES: usize = 1 << 20;

/// Run of pages that is not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageRun {
    Zero,
    Raw,
}

/// State of the encoder: the current run, and buffers that are reused.
#[derive(Debug, Default)]
pub(super) struct UnitEncoder {
    run: Option<(PageRun, usize)>,
    page_size: usize,
    /// The plain offset after the last unit or run that was written.
    plain: u64,
    bytes: Vec<u8>,
    order: Vec<u8>,
    layout: Vec<u8>,
}

/// [`UnitEncoder`] with its sink.
pub(super) struct SinkVisitor<'a, S> {
    units: &'a mut UnitEncoder,
    sink: &'a mut S,
}

impl<S: Sink> UnitVisitor for SinkVisitor<'_, S> {
    type Error = io::Error;

    fn visit(&mut self, unit: Unit<'_>) -> io::Result<VisitedPart> {
        self.units.write(unit, self.sink)
    }
}

impl UnitEncoder {
    pub(super) fn with_sink<'a, S: Sink>(&'a mut self, sink: &'a mut S) -> SinkVisitor<'a, S> {
        SinkVisitor { units: self, sink }
    }

    fn write<S: Sink>(&mut self, unit: Unit<'_>, sink: &mut S) -> io::Result<VisitedPart> {
        self.page_size = unit.page_size;
        let shape = Shape::of(unit);
        let record = match shape {
            Shape::Zero => {
                self.extend(PageRun::Zero, sink)?;
                return Ok(VisitedPart::Page);
            }
            Shape::Raw => {
                self.extend(PageRun::Raw, sink)?;
                self.order(b"\0raw", &unit.number.to_be_bytes());
                sink.chunk(unit.page(), &self.order)?;
                return Ok(VisitedPart::Page);
            }
            Shape::Leaf(rows, first) => {
                self.end_run(sink)?;
                self.leaf(unit.bytes, rows, first, sink)?;
                LayoutRecord::Leaf {
                    count: short(rows.len()),
                }
            }
            Shape::Branch(rows, first) => {
                self.end_run(sink)?;
                self.branch(unit, rows, first, sink)?;
                LayoutRecord::Branch {
                    count: short(rows.len()),
                }
            }
            Shape::Freelist(ids) => {
                self.end_run(sink)?;
                self.freelist(ids, sink)?;
                let pages = unit.bytes.len() / unit.page_size;
                LayoutRecord::Freelist {
                    pages,
                    count: ids.len(),
                }
            }
        };
        self.record(record, unit.bytes.len(), sink)?;
        Ok(VisitedPart::Unit)
    }

    /// Writes the last, incomplete page.
    pub(super) fn end<S: Sink>(mut self, end: &StreamEnd, sink: &mut S) -> io::Result<()> {
        self.end_run(sink)?;
        if end.bytes.is_empty() {
            return Ok(());
        }
        self.page_size = end.page_size;
        sink.chunk(&end.bytes, b"\0end")?;
        let bytes = end.bytes.len();
        self.record(LayoutRecord::End { bytes }, bytes, sink)
    }

    fn record<S: Sink>(
        &mut self,
        record: LayoutRecord,
        bytes: usize,
        sink: &mut S,
    ) -> io::Result<()> {
        self.layout.clear();
        record.write(self.page_size, &mut self.layout);
        sink.layout(&self.layout)?;
        self.plain = self.plain.saturating_add(to_u64(bytes));
        sink.boundary(self.plain)
    }

    fn extend<S: Sink>(&mut self, kind: PageRun, sink: &mut S) -> io::Result<()> {
        let most = MAX_RUN.min(MAX_RUN_BYTES / self.page_size.max(1));
        match &mut self.run {
            Some((run, pages)) if *run == kind && *pages < most => {
                *pages = pages.saturating_add(1);
                Ok(())
            }
            _ => {
                self.end_run(sink)?;
                self.run = Some((kind, 1));
                Ok(())
            }
        }
    }

    fn end_run<S: Sink>(&mut self, sink: &mut S) -> io::Result<()> {
        let Some((run, pages)) = self.run.take() else {
            return Ok(());
        };
        let record = match run {
            PageRun::Zero => LayoutRecord::Zero { pages },
            PageRun::Raw => LayoutRecord::Raw { pages },
        };
        self.record(record, pages.saturating_mul(self.page_size), sink)
    }

    fn order(&mut self, kind: &[u8], rest: &[u8]) {
        self.order.clear();
        self.order.extend_from_slice(kind);
        self.order.extend_from_slice(rest);
    }

    fn leaf<S: Sink>(
        &mut self,
        unit: &[u8],
        rows: &[[u8; ROW]],
        first: usize,
        sink: &mut S,
    ) -> io::Result<()> {
        self.bytes.clear();
        let mut rest = unit.get(first..).unwrap_or_default();
        for row in rows {
            let row = LeafRow::read(row);
            let length = size(row.key).saturating_add(size(row.value));
            let (element, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = behind;
            // A large element is never grouped with the small ones before it, which may disappear.
            if length >= MIN_GROUP && !self.bytes.is_empty() {
                sink.chunk(&self.bytes, &self.order)?;
                self.bytes.clear();
            }
            if self.bytes.is_empty() {
                self.order_of_element(element, size(row.key));
            }
            encode_varint(row.key.into(), &mut self.bytes);
            encode_varint(row.value.into(), &mut self.bytes);
            let fits = MAX_CHUNK
                .saturating_sub(self.bytes.len())
                .min(element.len());
            let (head, tail) = element.split_at(fits);
            self.bytes.extend_from_slice(head);
            if self.bytes.len() >= MIN_GROUP {
                sink.chunk(&self.bytes, &self.order)?;
                self.bytes.clear();
            }
            for piece in tail.chunks(MAX_CHUNK) {
                sink.chunk(piece, &self.order)?;
            }
        }
        if !self.bytes.is_empty() {
            sink.chunk(&self.bytes, &self.order)?;
        }
        Ok(())
    }

    /// Sets the order of an element. Versions of one etcd object compress well together, so they are ordered
    /// by the key in the value (field 1 of `mvccpb.KeyValue`), then by revision.
    fn order_of_element(&mut self, element: &[u8], key: usize) {
        let (key, value) = element.split_at_checked(key).unwrap_or((element, &[]));
        match etcd_key(key, value) {
            Some(etcd_key) => self.order(etcd_key, key),
            // etcd limits the length of the key, but a hostile file does not.
            None => self.order(
                b"\0leaf",
                key.get(..key.len().min(MAX_ORDER)).unwrap_or_default(),
            ),
        }
    }

    fn branch<S: Sink>(
        &mut self,
        unit: Unit<'_>,
        rows: &[[u8; ROW]],
        first: usize,
        sink: &mut S,
    ) -> io::Result<()> {
        let mut rest = unit.bytes.get(first..).unwrap_or_default();
        self.bytes.clear();
        self.order.clear();
        for row in rows {
            let length = size(BranchRow::read(row).key);
            let (key, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = behind;
            if self.order.is_empty() {
                self.order(
                    b"\0branch",
                    key.get(..key.len().min(MAX_ORDER)).unwrap_or_default(),
                );
            }
            encode_varint(to_u64(key.len()), &mut self.bytes);
            self.bytes.extend_from_slice(key);
        }
        for piece in self.bytes.chunks(MAX_CHUNK) {
            sink.chunk(piece, &self.order)?;
        }
        // At most 65 535 children of 7 bytes: below MAX_CHUNK.
        self.bytes.clear();
        let mut before = 0;
        for row in rows {
            let child = BranchRow::read(row).child;
            encode_varint(zigzag(before, child), &mut self.bytes);
            before = child;
        }
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.order(b"\0child", &unit.number.to_be_bytes());
        sink.chunk(&self.bytes, &self.order)
    }

    /// Writes a freelist. The ids of one part of the file form a chunk, so that a change elsewhere does not
    /// affect it.
    fn freelist<S: Sink>(&mut self, ids: &[[u8; 8]], sink: &mut S) -> io::Result<()> {
        const STRETCH: u32 = 12;
        self.bytes.clear();
        let mut before = 0_u64;
        for &id in ids {
            let id = u64::from_le_bytes(id);
            if id >> STRETCH != before >> STRETCH && self.bytes.len() >= MIN_GROUP {
                self.order(b"\0free", &before.to_be_bytes());
                sink.chunk(&self.bytes, &self.order)?;
                self.bytes.clear();
            }
            encode_varint(id.saturating_sub(before), &mut self.bytes);
            before = id;
        }
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.order(b"\0free", &before.to_be_bytes());
        sink.chunk(&self.bytes, &self.order)
    }
}

/// Longest part of a key that is used to order chunks.
const MAX_ORDER: usize = 512;

/// Returns the etcd key in the value of an element of bucket `key`.
fn etcd_key<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    if !matches!(key.len(), 17 | 18) || key.get(8) != Some(&b'_') {
        return None;
    }
    let mut rest = value.strip_prefix(&[0x0a])?;
    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    let etcd_key = rest.get(..length)?;
    etcd_key.get(..length.min(MAX_ORDER))
}

fn zigzag(before: u64, now: u64) -> u64 {
    match now.checked_sub(before) {
        Some(up) => up.saturating_mul(2),
        None => before
            .saturating_sub(now)
            .saturating_mul(2)
            .saturating_sub(1),
    }
}

fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
