//! Buffered reader of the transformed bytes, which takes numbers and runs off the front.

use std::io::{self, Read};

use prost::encoding::decode_varint;

use super::super::layout::invalid;
use crate::num::to_usize;

const BUFFER: usize = 64 << 10;

/// Length of the longest varint.
const VARINT: usize = 10;

pub(super) struct Input<'a> {
    inner: &'a mut dyn Read,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(inner: &'a mut dyn Read) -> Self {
        let buffer = vec![0; BUFFER].into();
        Self {
            inner,
            buffer,
            start: 0,
            end: 0,
        }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until `least` bytes are buffered or there are no more. `least` is far below the size of the
    /// buffer.
    fn fill(&mut self, least: usize) -> io::Result<()> {
        if self.end.saturating_sub(self.start) >= least {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        while self.end < least {
            let n = read(
                self.inner,
                self.buffer.get_mut(self.end..).unwrap_or_default(),
            )?;
            if n == 0 {
                break;
            }
            self.end = self.end.saturating_add(n);
        }
        Ok(())
    }

    pub(super) fn varint(&mut self) -> io::Result<u64> {
        self.fill(VARINT)?;
        let mut rest = self.buffered();
        let before = rest.len();
        let number = decode_varint(&mut rest)
            .map_err(|_| invalid(format_args!("a number is cut off or has more than 64 bits")))?;
        let used = before.saturating_sub(rest.len());
        self.start = self.start.saturating_add(used);
        Ok(number)
    }

    /// Reads a varint that is a number of bytes.
    pub(super) fn length(&mut self) -> io::Result<usize> {
        // A number above the address space exceeds every limit that is checked later.
        Ok(to_usize(self.varint()?))
    }

    /// Moves the next `length` bytes to the end of `to`. The caller has limited `length`; memory grows with
    /// the bytes received, not with the bytes promised.
    pub(super) fn take(&mut self, length: usize, to: &mut Vec<u8>) -> io::Result<()> {
        let mut lacks = length;
        while lacks > 0 {
            if self.start == self.end {
                self.fill(1)?;
            }
            let buffered = self.buffered();
            let now = buffered.get(..lacks).unwrap_or(buffered);
            if now.is_empty() {
                return Err(invalid(format_args!(
                    "the chunks end {lacks} bytes too early"
                )));
            }
            to.extend_from_slice(now);
            let used = now.len();
            lacks = lacks.saturating_sub(used);
            self.start = self.start.saturating_add(used);
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.fill(1)?;
        if self.buffered().is_empty() {
            return Ok(());
        }
        Err(invalid(format_args!(
            "the chunks continue after the end of the layout"
        )))
    }
}

fn read(inner: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match inner.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
