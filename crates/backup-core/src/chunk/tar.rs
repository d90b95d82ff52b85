//! Chunker for tar streams: each entry is a chunk, together with its long name and pax header.
//!
//! An entry above 1 MiB becomes a chunk of headers, then content-defined chunks of its data. From the first
//! block that is not a valid header (including the zeros at the end of an archive) the rest of the stream is
//! cut by content.

#[cfg(test)]
mod tests;

use std::io;

use ::tar::{EntryType, Header, PaxExtensions};

use super::cdc::CdcChunker;
use super::{Chunker, MAX_CHUNK, Sink};
use crate::num::{to_u64, to_usize};

/// Size of a header, and of the units that data is padded to, in bytes.
pub(crate) const BLOCK: usize = 512;
/// Longest part of a path that is used to order chunks.
const MAX_ORDER: usize = 512;

/// Chunker that cuts a tar stream at its entries. Holds at most 2 MiB.
#[derive(Debug, Default)]
pub struct TarChunker {
    state: EntryState,
    /// The part of the current entry that is not a chunk yet.
    held: Vec<u8>,
    /// Attributes of the entry from the headers before it.
    extra: ExtraAttributes,
    /// The plain offset up to which chunks were made.
    plain: u64,
}

/// Position in an entry.
#[derive(Debug)]
enum EntryState {
    /// In a header; the number of missing bytes.
    Head(usize),
    /// In held data; the number of missing bytes.
    Data(usize, HeldData),
    /// In data that is cut by content.
    Large(u64, CdcChunker),
    /// After the last entry.
    Rest(CdcChunker),
}

impl Default for EntryState {
    fn default() -> Self {
        Self::Head(BLOCK)
    }
}

/// Purpose of the held data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldData {
    /// Data of an entry.
    Entry,
    /// Name of the next entry (GNU); it began at this offset in `held`.
    Name(usize),
    /// Link target of the next entry (GNU).
    Link,
    /// Attributes of the next entry (pax); they began at this offset in `held`.
    Pax(usize),
}

/// Attributes of an entry from the headers before it.
#[derive(Debug, Default)]
struct ExtraAttributes {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl TarChunker {
    /// Creates a chunker at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves bytes to `held`; returns how many of `lacks` are still missing.
    fn hold(&mut self, plain: &mut &[u8], lacks: usize) -> usize {
        let (now, later) = plain.split_at(lacks.min(plain.len()));
        self.held.extend_from_slice(now);
        *plain = later;
        lacks.saturating_sub(now.len())
    }

    /// Processes a complete header; returns the next state.
    fn header<S: Sink>(&mut self, sink: &mut S) -> io::Result<EntryState> {
        let at = self.held.len().saturating_sub(BLOCK);
        let block = self.held.get(at..).unwrap_or_default();
        let Some((header, size)) = sound(block) else {
            return self.rest(sink);
        };
        let kind = header.entry_type();
        let before = match kind {
            EntryType::GNULongName => Some(HeldData::Name(self.held.len())),
            EntryType::GNULongLink => Some(HeldData::Link),
            EntryType::XHeader => Some(HeldData::Pax(self.held.len())),
            _ => None,
        };
        let size = match before {
            Some(_) => size,
            None => self.extra.size.unwrap_or(size),
        };
        let Some(padded) = size.checked_next_multiple_of(512) else {
            return self.rest(sink);
        };
        // After a name or pax header, the entry's own header must fit in the chunk.
        let next = if before.is_some() { BLOCK } else { 0 };
        let most = MAX_CHUNK
            .saturating_sub(self.held.len())
            .saturating_sub(next);
        let fits = usize::try_from(padded)
            .ok()
            .filter(|&padded| padded <= most);
        if before.is_none() && self.extra.path.is_none() {
            self.extra.path = Some(header.path_bytes().into_owned());
        }
        match fits {
            Some(padded) => self.data(padded, before.unwrap_or(HeldData::Entry), sink),
            None => {
                let order = self.order().to_vec();
                self.flush(sink)?;
                Ok(EntryState::Large(
                    padded,
                    CdcChunker::within(self.plain, &order),
                ))
            }
        }
    }

    /// Returns the next state if held data lacks `lacks` bytes; processes the data if none are missing.
    fn data<S: Sink>(
        &mut self,
        lacks: usize,
        role: HeldData,
        sink: &mut S,
    ) -> io::Result<EntryState> {
        if lacks > 0 {
            return Ok(EntryState::Data(lacks, role));
        }
        match role {
            HeldData::Entry => {
                self.flush(sink)?;
                self.extra = ExtraAttributes::default();
            }
            HeldData::Link => {}
            HeldData::Name(at) => {
                let name = self.held.get(at..).unwrap_or_default();
                let name = name.split(|&byte| byte == 0).next();
                self.extra.path = name.map(<[u8]>::to_vec);
            }
            HeldData::Pax(at) => {
                let data = self.held.get(at..).unwrap_or_default();
                for extension in PaxExtensions::new(data).flatten() {
                    let value = extension.value_bytes();
                    match extension.key_bytes() {
                        b"path" => self.extra.path = Some(value.to_vec()),
                        b"size" => {
                            let text = std::str::from_utf8(value).ok();
                            self.extra.size = text.and_then(|text| text.parse().ok());
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(EntryState::Head(BLOCK))
    }

    /// Ends the entries: the held bytes and the rest of the stream are cut by content.
    fn rest<S: Sink>(&mut self, sink: &mut S) -> io::Result<EntryState> {
        let mut cdc = CdcChunker::within(self.plain, b"\0rest");
        cdc.push(&self.held, sink)?;
        self.held = Vec::new();
        Ok(EntryState::Rest(cdc))
    }

    fn order(&self) -> &[u8] {
        let path = self.extra.path.as_deref().unwrap_or_default();
        path.get(..MAX_ORDER).unwrap_or(path)
    }

    fn flush<S: Sink>(&mut self, sink: &mut S) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        sink.chunk(&self.held, self.order())?;
        self.forward(self.held.len());
        self.held.clear();
        sink.boundary(self.plain)
    }

    fn forward(&mut self, bytes: usize) {
        self.plain = self.plain.saturating_add(to_u64(bytes));
    }
}

impl Chunker for TarChunker {
    fn push<S: Sink>(&mut self, mut plain: &[u8], sink: &mut S) -> io::Result<()> {
        while !plain.is_empty() {
            self.state = match std::mem::take(&mut self.state) {
                EntryState::Head(lacks) => match self.hold(&mut plain, lacks) {
                    0 => self.header(sink)?,
                    lacks => EntryState::Head(lacks),
                },
                EntryState::Data(lacks, role) => {
                    let lacks = self.hold(&mut plain, lacks);
                    self.data(lacks, role, sink)?
                }
                EntryState::Large(lacks, mut cdc) => {
                    let most = to_usize(lacks);
                    let (now, later) = plain.split_at(most.min(plain.len()));
                    plain = later;
                    cdc.push(now, sink)?;
                    self.forward(now.len());
                    let lacks = lacks.saturating_sub(to_u64(now.len()));
                    if lacks > 0 {
                        EntryState::Large(lacks, cdc)
                    } else {
                        cdc.finish(sink)?;
                        self.extra = ExtraAttributes::default();
                        EntryState::Head(BLOCK)
                    }
                }
                EntryState::Rest(mut cdc) => {
                    cdc.push(plain, sink)?;
                    plain = &[];
                    EntryState::Rest(cdc)
                }
            };
        }
        Ok(())
    }

    fn finish<S: Sink>(mut self, sink: &mut S) -> io::Result<()> {
        match std::mem::take(&mut self.state) {
            EntryState::Head(_) | EntryState::Data(..) => self.flush(sink),
            EntryState::Large(_, cdc) | EntryState::Rest(cdc) => cdc.finish(sink),
        }
    }
}

/// Returns the header in a block with the size it states (octal or base-256), if its checksum is correct.
pub(crate) fn sound(block: &[u8]) -> Option<(&Header, u64)> {
    if block.len() != BLOCK {
        return None;
    }
    let header = Header::from_byte_slice(block);
    let mut again = header.clone();
    again.set_cksum();
    if header.cksum().ok()? != again.cksum().ok()? {
        return None;
    }
    // The error's lossy path is not needed: a block without a valid size is not a header.
    Some((header, header.entry_size().ok()?))
}
