//! Layout column: one record per unit, with limits for writing and reading.

use std::{fmt, io};

use prost::encoding::{decode_varint, encode_varint};

use super::page::{HEADER, MAX_UNIT, ROW};
use crate::num::to_u64;

/// Longest run of kept or zero pages in one record. Short enough that a recipe can be split often, and that
/// three bytes of layout never stand for more than 16 MiB.
pub(super) const MAX_RUN: usize = 256;

/// Limit of page ids that are written as differences, so that a reader needs no more than 53 bits.
pub(super) const MAX_ID: u64 = 1 << 48;

/// Record of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayoutRecord {
    Leaf { count: u16 },
    Branch { count: u16 },
    Freelist { pages: usize, count: usize },
    Raw { pages: usize },
    Zero { pages: usize },
    End { bytes: usize },
}

impl LayoutRecord {
    /// Appends the record to `layout`. The page size is a power of two from 1 KiB to 64 KiB.
    pub(super) fn write(self, page_size: usize, layout: &mut Vec<u8>) {
        let (kind, numbers) = match self {
            Self::Leaf { count } => (1, [Some(usize::from(count)), None]),
            Self::Branch { count } => (2, [Some(usize::from(count)), None]),
            Self::Freelist { pages, count } => (3, [Some(pages), Some(count)]),
            Self::Raw { pages } => (4, [Some(pages), None]),
            Self::Zero { pages } => (5, [Some(pages), None]),
            Self::End { bytes } => (6, [Some(bytes), None]),
        };
        let shift = u8::try_from(page_size.trailing_zeros().saturating_sub(10)).unwrap_or(0);
        layout.push(kind | shift << 4);
        for number in numbers.into_iter().flatten() {
            encode_varint(to_u64(number), layout);
        }
    }

    /// Takes the next record, and the page size in its tag, from the front of `layout`.
    pub(super) fn read(layout: &mut &[u8]) -> io::Result<Option<(usize, Self)>> {
        let Some((&tag, rest)) = layout.split_first() else {
            return Ok(None);
        };
        *layout = rest;
        let shift = tag >> 4;
        if shift > 6 {
            return Err(invalid(format_args!(
                "its layout has a page size of 1024 << {shift}"
            )));
        }
        let page_size = 1024 << shift;
        let record = match tag & 15 {
            1 => Self::Leaf {
                count: count(layout)?,
            },
            2 => Self::Branch {
                count: count(layout)?,
            },
            3 => {
                let pages = number(layout, MAX_UNIT / page_size)?;
                Self::Freelist {
                    pages,
                    count: number(layout, MAX_UNIT / 8)?,
                }
            }
            4 => Self::Raw {
                pages: number(layout, MAX_RUN)?,
            },
            5 => Self::Zero {
                pages: number(layout, MAX_RUN)?,
            },
            6 => Self::End {
                bytes: number(layout, page_size.saturating_sub(1))?,
            },
            kind => {
                return Err(invalid(format_args!(
                    "its layout has a unit of unknown kind {kind}"
                )));
            }
        };
        Ok(Some((page_size, record)))
    }
}

fn count(layout: &mut &[u8]) -> io::Result<u16> {
    let most = u16::MAX.into();
    debug_assert!(HEADER + usize::from(u16::MAX) * ROW <= MAX_UNIT);
    Ok(u16::try_from(number(layout, most)?).unwrap_or(u16::MAX))
}

fn number(layout: &mut &[u8], most: usize) -> io::Result<usize> {
    let number = decode_varint(layout).map_err(|_| {
        invalid(format_args!(
            "its layout ends within a number, or has one above 64 bits"
        ))
    })?;
    usize::try_from(number)
        .ok()
        .filter(|&number| number <= most)
        .ok_or_else(|| {
            invalid(format_args!(
                "its layout has the number {number}; at most {most} is allowed there"
            ))
        })
}

/// Returns the error for a stored recipe, or chunks of it, that no chunker writes.
pub(super) fn invalid(what: fmt::Arguments<'_>) -> io::Error {
    let text = format!("cannot rebuild bbolt pages from the stored chunks: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
