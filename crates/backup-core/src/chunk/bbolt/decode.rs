//! Decoder that rebuilds pages from layout and chunks; everything from the store is checked before use.

mod input;

use std::io::{self, Read, Write};

use self::input::Input;
use super::layout::{LayoutRecord, MAX_ID, invalid};
use super::page::{
    BRANCH, BranchRow, FREELIST, FREELIST_LONG, HEADER, Header, LEAF, LeafRow, MAX_UNIT, ROW,
};
use crate::num::to_u64;

/// Pages are collected up to this size before they are written; they stay in the processor's cache.
const WRITE: usize = 64 << 10;

/// See [`crate::chunk::rebuild`]. Holds at most one unit (24 MiB) and two buffers.
pub(crate) fn rebuild(
    start: u64,
    mut layout: &[u8],
    transformed: &mut dyn Read,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut pages = PageWriter {
        input: Input::new(transformed),
        out,
        ready: Vec::new(),
        plain: start,
    };
    while let Some((page_size, record)) = LayoutRecord::read(&mut layout)? {
        pages.unit(page_size, record)?;
        if matches!(record, LayoutRecord::End { .. }) && !layout.is_empty() {
            return Err(invalid(format_args!("its layout continues after the end")));
        }
        if pages.ready.len() >= WRITE {
            pages.flush()?;
        }
    }
    pages.input.finish()?;
    pages.flush()?;
    Ok(pages.plain.saturating_sub(start))
}

struct PageWriter<'a> {
    input: Input<'a>,
    out: &'a mut dyn Write,
    /// Whole pages that are not written yet, followed by the current unit.
    ready: Vec<u8>,
    /// Offset of the next unit in the plain stream.
    plain: u64,
}

impl PageWriter<'_> {
    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.ready)?;
        self.ready.clear();
        if self.ready.capacity() > 4 * WRITE {
            self.ready = Vec::new();
        }
        Ok(())
    }

    fn unit(&mut self, page_size: usize, record: LayoutRecord) -> io::Result<()> {
        let number = self.plain / to_u64(page_size);
        if !self.plain.is_multiple_of(to_u64(page_size)) {
            return Err(invalid(format_args!(
                "a page of {page_size} bytes would begin at offset {}, which is not a multiple",
                self.plain
            )));
        }
        let base = self.ready.len();
        match record {
            LayoutRecord::Leaf { count } => {
                self.leaf(count)?;
                self.close(base, page_size, number, LEAF, count)?;
            }
            LayoutRecord::Branch { count } => {
                self.branch(count)?;
                self.close(base, page_size, number, BRANCH, count)?;
            }
            LayoutRecord::Freelist { pages, count } => {
                let short = u16::try_from(count).unwrap_or(FREELIST_LONG);
                self.freelist(count, short == FREELIST_LONG)?;
                // The layout parser has checked that this many pages fit in a unit.
                let length = pages.saturating_mul(page_size);
                if self.ready.len().saturating_sub(base) > length {
                    return Err(invalid(format_args!(
                        "a freelist of {count} ids does not fit in {pages} pages"
                    )));
                }
                self.ready.resize(base.saturating_add(length), 0);
                self.close(base, page_size, number, FREELIST, short)?;
            }
            LayoutRecord::Raw { pages } => {
                let length = pages.saturating_mul(page_size);
                self.input.take(length, &mut self.ready)?;
            }
            LayoutRecord::Zero { pages } => {
                let length = pages.saturating_mul(page_size);
                self.ready.resize(base.saturating_add(length), 0);
            }
            LayoutRecord::End { bytes } => self.input.take(bytes, &mut self.ready)?,
        }
        let length = self.ready.len().saturating_sub(base);
        self.plain = self
            .plain
            .checked_add(to_u64(length))
            .ok_or_else(|| invalid(format_args!("its pages go beyond 2^64 bytes")))?;
        Ok(())
    }

    fn leaf(&mut self, count: u16) -> io::Result<()> {
        let base = self.open(usize::from(count) * ROW);
        for place in (HEADER..).step_by(ROW).take(count.into()) {
            let key = self.input.length()?;
            let value = self.input.length()?;
            let row = LeafRow {
                flags: 0,
                position: self.position(base, place)?,
                key: short(key)?,
                value: short(value)?,
            };
            self.row(base, place, &row.to_bytes())?;
            self.element(base, key.saturating_add(value))?;
        }
        Ok(())
    }

    fn branch(&mut self, count: u16) -> io::Result<()> {
        let base = self.open(usize::from(count) * ROW);
        for place in (HEADER..).step_by(ROW).take(count.into()) {
            let key = self.input.length()?;
            let row = BranchRow {
                position: self.position(base, place)?,
                key: short(key)?,
                child: 0,
            };
            self.row(base, place, &row.to_bytes())?;
            self.element(base, key)?;
        }
        let mut id = 0;
        for place in (HEADER..).step_by(ROW).take(count.into()) {
            id = next_child(id, self.input.varint()?)?;
            // The child id is the second half of its row.
            self.row(base, place.saturating_add(8), &id.to_le_bytes())?;
        }
        Ok(())
    }

    fn freelist(&mut self, count: usize, long: bool) -> io::Result<()> {
        self.open(0);
        if long {
            self.ready.extend_from_slice(&to_u64(count).to_le_bytes());
        }
        let mut id = 0_u64;
        for _ in 0..count {
            id = id
                .checked_add(self.input.varint()?)
                .filter(|&id| id < MAX_ID)
                .ok_or_else(|| invalid(format_args!("a freelist has an id above 2^48")))?;
            self.ready.extend_from_slice(&id.to_le_bytes());
        }
        Ok(())
    }

    /// Reserves space for header and table; returns their start.
    fn open(&mut self, table: usize) -> usize {
        let base = self.ready.len();
        let length = base.saturating_add(HEADER).saturating_add(table);
        self.ready.resize(length, 0);
        base
    }

    fn position(&self, base: usize, place: usize) -> io::Result<u32> {
        short(self.ready.len().saturating_sub(base).saturating_sub(place))
    }

    fn row(&mut self, base: usize, place: usize, bytes: &[u8]) -> io::Result<()> {
        let from = base.saturating_add(place);
        let row = self.ready.get_mut(from..from.saturating_add(bytes.len()));
        row.ok_or_else(|| invalid(format_args!("a table is too short")))?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn element(&mut self, base: usize, length: usize) -> io::Result<()> {
        let unit = self.ready.len().saturating_sub(base);
        if unit.saturating_add(length) > MAX_UNIT {
            return Err(invalid(format_args!(
                "a page would have more than {MAX_UNIT} bytes"
            )));
        }
        self.input.take(length, &mut self.ready)
    }

    /// Pads the last page and writes the header.
    fn close(
        &mut self,
        base: usize,
        page_size: usize,
        id: u64,
        flags: u16,
        count: u16,
    ) -> io::Result<()> {
        let length = self.ready.len().saturating_sub(base);
        let pages = length.div_ceil(page_size);
        let end = base.saturating_add(pages.saturating_mul(page_size));
        self.ready.resize(end, 0);
        let overflow = short(pages.saturating_sub(1))?;
        let header = Header {
            id,
            flags,
            count,
            overflow,
        };
        self.row(base, 0, &header.to_bytes())
    }
}

fn short(length: usize) -> io::Result<u32> {
    u32::try_from(length)
        .map_err(|_| invalid(format_args!("a length of {length} is above 32 bits")))
}

fn next_child(before: u64, zigzag: u64) -> io::Result<u64> {
    let distance = zigzag.div_ceil(2);
    let id = if zigzag.is_multiple_of(2) {
        before.checked_add(distance)
    } else {
        before.checked_sub(distance)
    };
    id.filter(|&id| id < MAX_ID)
        .ok_or_else(|| invalid(format_args!("a child id is below 0 or above 2^48")))
}
