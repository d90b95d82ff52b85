//! Recognition of canonical units, which the decoder reproduces exactly from their elements.
//!
//! Every byte of a unit either belongs to an element or is checked here against the value that the decoder
//! derives, so no second copy is written for a comparison.

use super::layout::MAX_ID;
use super::page::{
    BRANCH, BranchRow, FREELIST, FREELIST_LONG, HEADER, LEAF, LeafRow, ROW, rows, size,
};
use super::window::Unit;

/// Form in which a page is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// The table, and the offset of the first key.
    Leaf(&'a [[u8; ROW]], usize),
    /// The table, and the offset of the first key.
    Branch(&'a [[u8; ROW]], usize),
    /// The ids, little-endian.
    Freelist(&'a [[u8; 8]]),
    /// The first page is all zeros.
    Zero,
    /// The first page is anything else.
    Raw,
}

impl<'a> Shape<'a> {
    pub(super) fn of(unit: Unit<'a>) -> Self {
        let Some(header) = unit.header else {
            return Self::plain(unit.page());
        };
        if header.unit(unit.page_size) != Some(unit.bytes.len()) || stale(unit) {
            return Self::plain(unit.page());
        }
        let shape = match header.flags {
            LEAF => leaf(unit, header.count),
            BRANCH => branch(unit, header.count),
            FREELIST => freelist(unit, header.count),
            _ => None,
        };
        shape.unwrap_or_else(|| Self::plain(unit.page()))
    }

    fn plain(page: &[u8]) -> Self {
        if is_zero(page) { Self::Zero } else { Self::Raw }
    }
}

/// Reports whether a page inside the overflow has its own page id: then the unit was freed and its pages were
/// reused one by one, and each is better treated separately.
fn stale(unit: Unit<'_>) -> bool {
    let inner = unit.bytes.chunks_exact(unit.page_size).zip(unit.number..);
    inner
        .skip(1)
        .any(|(page, number)| page.first_chunk().copied().map(u64::from_le_bytes) == Some(number))
}

fn leaf(unit: Unit<'_>, count: u16) -> Option<Shape<'_>> {
    let rows = rows(unit.bytes, count)?;
    let first = HEADER.checked_add(rows.len().checked_mul(ROW)?)?;
    let mut end = first;
    for (row, place) in rows.iter().zip((HEADER..).step_by(ROW)) {
        let row = LeafRow::read(row);
        if row.flags != 0 || size(row.position) != end.checked_sub(place)? {
            return None;
        }
        end = end
            .checked_add(size(row.key))?
            .checked_add(size(row.value))?;
    }
    fills(unit, end).then_some(Shape::Leaf(rows, first))
}

fn branch(unit: Unit<'_>, count: u16) -> Option<Shape<'_>> {
    let rows = rows(unit.bytes, count)?;
    let first = HEADER.checked_add(rows.len().checked_mul(ROW)?)?;
    let mut end = first;
    for (row, place) in rows.iter().zip((HEADER..).step_by(ROW)) {
        let row = BranchRow::read(row);
        if row.child >= MAX_ID || size(row.position) != end.checked_sub(place)? {
            return None;
        }
        end = end.checked_add(size(row.key))?;
    }
    fills(unit, end).then_some(Shape::Branch(rows, first))
}

fn freelist(unit: Unit<'_>, count: u16) -> Option<Shape<'_>> {
    let (_, body) = unit.bytes.split_at_checked(HEADER)?;
    let (words, _) = body.as_chunks::<8>();
    let ids = if count == FREELIST_LONG {
        let (&long, words) = words.split_first()?;
        let long = usize::try_from(u64::from_le_bytes(long)).ok()?;
        if long < usize::from(FREELIST_LONG) {
            return None;
        }
        words.get(..long)?
    } else {
        words.get(..usize::from(count))?
    };
    let mut least = 0;
    for &id in ids {
        let id = u64::from_le_bytes(id);
        if id < least || id >= MAX_ID {
            return None;
        }
        least = id.checked_add(1)?;
    }
    let end = HEADER + (ids.len() + usize::from(count == FREELIST_LONG)) * 8;
    // bbolt estimates the pages before it takes them off the list: two too many are usual, and a limit keeps
    // the work on a hostile file small.
    let spare = unit.bytes.len().checked_sub(end)? / unit.page_size;
    (spare <= 2 && zero_from(unit.bytes, end)).then_some(Shape::Freelist(ids))
}

/// Reports whether the elements end in the last page of the unit, and only zeros follow.
fn fills(unit: Unit<'_>, end: usize) -> bool {
    end.div_ceil(unit.page_size).checked_mul(unit.page_size) == Some(unit.bytes.len())
        && zero_from(unit.bytes, end)
}

fn zero_from(bytes: &[u8], end: usize) -> bool {
    bytes.get(end..).is_some_and(is_zero)
}

/// Reports whether all bytes are zero; in words, which the compiler vectorizes.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words
        .iter()
        .all(|words| words.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|&byte| byte == 0)
}
