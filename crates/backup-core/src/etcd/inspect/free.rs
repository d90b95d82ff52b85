//! List of free pages, if the file has one: etcd on Linux writes none, and finds free pages by a walk.

use crate::chunk::bbolt::page::{FREELIST_LONG, HEADER, Header, size};

/// List that the meta page names.
#[derive(Debug)]
pub(super) struct Freelist {
    pub(super) overflow: u32,
    pub(super) pages: Vec<u64>,
}

impl Freelist {
    /// Parses the list; `None` if it is longer than its pages.
    pub(super) fn read(header: Header, unit: &[u8]) -> Option<Self> {
        let body = unit.get(HEADER..)?;
        let (count, ids) = if header.count == FREELIST_LONG {
            let (count, ids) = body.split_first_chunk::<8>()?;
            (u32::try_from(u64::from_le_bytes(*count)).ok()?, ids)
        } else {
            (header.count.into(), body)
        };
        let ids = ids.as_chunks::<8>().0.get(..size(count))?;
        Some(Self {
            overflow: header.overflow,
            pages: ids.iter().map(|id| u64::from_le_bytes(*id)).collect(),
        })
    }
}
