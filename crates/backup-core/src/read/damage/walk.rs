//! Walk over a tar whose stream has holes.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::ops::Range;

use ::tar::{EntryType, PaxExtensions};
use tokio_util::sync::CancellationToken;

use crate::archive::{MAX_EXTENSION, MAX_MEMBERS};
use crate::chunk::tar::{BLOCK, sound};
use crate::scratch::Scratch;

/// Missing range of the stream.
pub(super) type Hole = Range<u64>;

/// Entries of an archive, by whether all of their bytes exist.
#[derive(Debug, Default)]
pub(super) struct ArchiveEntries {
    /// Entries whose bytes all exist.
    pub(super) whole: BTreeSet<String>,
    /// Entries that have a header but miss other bytes. Others are in holes with their names.
    pub(super) torn: BTreeSet<String>,
}

/// Walks the `bytes` of a tar in `scratch`, of which `holes`, in order, were never written. An entry begins
/// after each hole, or some blocks later if the hole began in the middle of a large entry. The result is
/// incomplete if `cancel` is set.
pub(super) fn walk(
    scratch: &Scratch,
    bytes: u64,
    holes: &[Hole],
    cancel: &CancellationToken,
) -> ArchiveEntries {
    let block = u64::try_from(BLOCK).unwrap_or(512);
    let hole_at = |range: Range<u64>| {
        let first = holes.partition_point(|hole| hole.end <= range.start);
        holes.get(first).filter(|hole| hole.start < range.end)
    };
    let mut walked = ArchiveEntries::default();
    let mut name: Option<Vec<u8>> = None;
    let mut at = 0_u64;
    let mut members = 0_u64;
    while at < bytes && !cancel.is_cancelled() {
        let body = at.saturating_add(block);
        if let Some(hole) = hole_at(at..body) {
            name = None;
            at = hole.end.next_multiple_of(block).max(body);
            continue;
        }
        let header = read(scratch, at, block).unwrap_or_default();
        let Some((header, size)) = sound(&header) else {
            name = None;
            at = body;
            continue;
        };
        members = members.saturating_add(1);
        if members > MAX_MEMBERS {
            // An archive with more members is never read.
            break;
        }
        let Some(end) = size
            .checked_next_multiple_of(block)
            .and_then(|padded| body.checked_add(padded))
        else {
            at = body;
            continue;
        };
        let kind = header.entry_type();
        if matches!(kind, EntryType::GNULongName | EntryType::XHeader) {
            let data = (hole_at(body..end).is_none() && size <= MAX_EXTENSION)
                .then(|| read(scratch, body, size))
                .flatten();
            name = data.and_then(|data| long_name(kind, &data)).or(name);
            at = end;
            continue;
        }
        let path = name
            .take()
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let path = String::from_utf8_lossy(&path).into_owned();
        if hole_at(at..end).is_some() {
            walked.torn.insert(path);
        } else {
            walked.whole.insert(path);
        }
        at = end;
    }
    walked
}

fn read(scratch: &Scratch, at: u64, length: u64) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    scratch.reader(at, length).read_to_end(&mut data).ok()?;
    Some(data)
}

/// Returns the name from the data of an extension header, which stands before an entry's own header.
fn long_name(kind: EntryType, data: &[u8]) -> Option<Vec<u8>> {
    if kind == EntryType::GNULongName {
        return data.split(|&byte| byte == 0).next().map(<[u8]>::to_vec);
    }
    let mut extensions = PaxExtensions::new(data).flatten();
    let path = extensions.find(|extension| extension.key_bytes() == b"path")?;
    Some(path.value_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a scratch file with a tar of some files, without the bytes of `hole`; and the tar's size.
    fn torn(hole: &Hole) -> (Scratch, u64) {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, size) in [("a", 10), ("b", 600), (&"long/".repeat(40), 512), ("z", 1)] {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(size);
            let data = vec![7; usize::try_from(size).unwrap()];
            builder
                .append_data(&mut header, name, data.as_slice())
                .unwrap();
        }
        let mut plain = builder.into_inner().unwrap();
        let bytes = u64::try_from(plain.len()).unwrap();
        let scratch = Scratch::create(&std::env::temp_dir(), bytes).unwrap();
        let cut = |at: u64| usize::try_from(at).unwrap();
        let (before, rest) = plain.split_at_mut(cut(hole.start));
        let (_, after) = rest.split_at_mut(cut(hole.end - hole.start));
        scratch.put(0, before).unwrap();
        scratch.put(hole.end, after).unwrap();
        (scratch, bytes)
    }

    fn names(hole: Hole) -> (Vec<String>, Vec<String>) {
        let (scratch, bytes) = torn(&hole);
        let walked = walk(&scratch, bytes, &[hole], &CancellationToken::new());
        let short = |name: String| name.chars().take(4).collect::<String>();
        (
            walked.whole.into_iter().map(short).collect(),
            walked.torn.into_iter().map(short).collect(),
        )
    }

    #[test]
    fn what_is_around_a_hole_is_read_and_what_it_tears_is_named() {
        let all = ["a", "b", "long", "z"];
        assert_eq!(names(0..0), (all.map(str::to_owned).to_vec(), vec![]));
        let told = |whole: &[&str], torn: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
            (owned(whole), owned(torn))
        };
        // `a` has 1024 bytes with its header, and is gone with its name.
        assert_eq!(names(0..1024), told(&["b", "long", "z"], &[]));
        // The header of `b` is left.
        assert_eq!(names(1536..2560), told(&["a", "long", "z"], &["b"]));
        // Only the end of `b` is left, which is not a header.
        assert_eq!(names(1024..2048), told(&["a", "long", "z"], &[]));
        // The long name of the third entry is gone, together with its header.
        assert_eq!(names(2560..4096), told(&["a", "b", "z"], &[]));
    }
}
