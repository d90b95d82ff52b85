//! Window on a stream that passes on each page with the overflow that its header claims, and copies only
//! pages that a push splits.

use super::page::{BRANCH, DEFAULT_PAGE_SIZE, FREELIST, Header, LEAF, Meta};
use crate::num::to_u64;

/// Page with its overflow, as far as the stream contains it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit<'a> {
    /// At least one page. With its overflow, if that is at most [`MAX_UNIT`] and in the file.
    pub(crate) bytes: &'a [u8],
    pub(crate) page_size: usize,
    /// Number of the page: its offset / page size.
    pub(crate) number: u64,
    /// Header, if it names this page.
    pub(crate) header: Option<Header>,
}

impl<'a> Unit<'a> {
    /// Returns the first page alone.
    pub(crate) fn page(&self) -> &'a [u8] {
        self.bytes.get(..self.page_size).unwrap_or(self.bytes)
    }
}

/// Receiver of the pages of a stream.
pub(crate) trait UnitVisitor {
    /// Error of the receiver.
    type Error;

    /// Takes a page, or a page with its overflow; returns how much of it was taken (at least one page). The
    /// next visit begins after that.
    fn visit(&mut self, unit: Unit<'_>) -> Result<VisitedPart, Self::Error>;
}

/// Part of a unit that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VisitedPart {
    /// The first page.
    Page,
    /// The whole unit.
    Unit,
}

/// End of a stream.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    /// Bytes after the last whole page.
    pub(crate) bytes: Vec<u8>,
    pub(crate) page_size: usize,
    /// Number of whole pages.
    pub(crate) pages: u64,
}

/// Position in the stream, and the bytes that wait for the rest of their unit.
#[derive(Debug)]
pub(crate) struct Window {
    /// Zero until the first bytes determine it.
    page_size: usize,
    /// Number of the next page.
    number: u64,
    held: Vec<u8>,
    /// Offset of the next page in `held`.
    start: usize,
    /// Number of bytes that the next unit needs.
    want: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            page_size: 0,
            number: 0,
            held: Vec::new(),
            start: 0,
            want: Meta::SIZE_LEN,
        }
    }
}

impl Window {
    /// Takes the next bytes of the stream and visits the units that they complete.
    pub(crate) fn push<V: UnitVisitor>(
        &mut self,
        mut plain: &[u8],
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        while !plain.is_empty() {
            if self.held.is_empty() {
                // The usual case: whole units are visited in place.
                let used = self.walk(plain, false, visitor)?;
                let rest = plain.get(used..).unwrap_or_default();
                self.held.extend_from_slice(rest);
                return Ok(());
            }
            // Only the missing bytes of the next unit are copied; the rest can be visited in place.
            let has = self.held.len().saturating_sub(self.start);
            let lacks = self.want.saturating_sub(has).min(plain.len());
            let (now, later) = plain.split_at(lacks);
            self.held.extend_from_slice(now);
            plain = later;
            self.walk_held(false, visitor)?;
        }
        Ok(())
    }

    /// Ends the stream: visits the remaining pages, and returns the last incomplete page.
    pub(crate) fn finish<V: UnitVisitor>(mut self, visitor: &mut V) -> Result<StreamEnd, V::Error> {
        self.walk_held(true, visitor)?;
        Ok(StreamEnd {
            bytes: self.held,
            page_size: self.page_size,
            pages: self.number,
        })
    }

    fn walk_held<V: UnitVisitor>(&mut self, last: bool, visitor: &mut V) -> Result<(), V::Error> {
        let mut held = std::mem::take(&mut self.held);
        let used = self.walk(held.get(self.start..).unwrap_or_default(), last, visitor)?;
        self.start = self.start.saturating_add(used);
        if last || self.start >= held.len() || self.start > held.len() / 2 {
            // At least as many bytes are dropped as moved, so that moving never costs more than receiving.
            held.drain(..self.start.min(held.len()));
            self.start = 0;
        }
        if held.is_empty() && held.capacity() > 1 << 20 {
            // One unit with much overflow should not occupy memory for the rest of the run.
            held = Vec::new();
        }
        self.held = held;
        Ok(())
    }

    /// Visits the complete units at the beginning of `bytes`; returns their number of bytes.
    fn walk<V: UnitVisitor>(
        &mut self,
        bytes: &[u8],
        last: bool,
        visitor: &mut V,
    ) -> Result<usize, V::Error> {
        if self.page_size == 0 {
            if bytes.len() < Meta::SIZE_LEN && !last {
                self.want = Meta::SIZE_LEN;
                return Ok(0);
            }
            self.page_size = Meta::page_size(bytes).unwrap_or(DEFAULT_PAGE_SIZE);
        }
        let mut rest = bytes;
        while let Some(page) = rest.get(..self.page_size) {
            let header = Header::read(page).filter(|header| header.id == self.number);
            let length = header
                .filter(|header| matches!(header.flags, LEAF | BRANCH | FREELIST))
                .and_then(|header| header.unit(self.page_size))
                .unwrap_or(self.page_size);
            if rest.len() < length && !last {
                self.want = length;
                return Ok(bytes.len().saturating_sub(rest.len()));
            }
            let unit = Unit {
                bytes: rest.get(..length).unwrap_or(page),
                page_size: self.page_size,
                number: self.number,
                header,
            };
            let used = match visitor.visit(unit)? {
                VisitedPart::Page => page.len(),
                VisitedPart::Unit => unit.bytes.len(),
            };
            let pages = used / self.page_size;
            self.number = self.number.saturating_add(to_u64(pages));
            rest = rest.get(used..).unwrap_or_default();
        }
        self.want = self.page_size;
        Ok(bytes.len().saturating_sub(rest.len()))
    }
}
