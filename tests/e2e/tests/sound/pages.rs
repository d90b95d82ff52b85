//! Pages of a bbolt file that its trees reach, with the position of each entry.

use std::ops::Range;

pub(super) const PAGE: usize = 4096;
const HEADER: usize = 16;
const ROW: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;

/// Page of a tree.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// Offset of the page in the file.
    pub(super) at: usize,
    pub(super) branch: bool,
    pub(super) bucket: String,
    pub(super) rows: Vec<Row>,
}

/// Entry of a page.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Offset of its row of the table in the file.
    pub(super) at: usize,
    pub(super) key: Range<usize>,
    /// Range of the value; empty on a branch.
    pub(super) value: Range<usize>,
}

pub(super) fn number<const N: usize>(file: &[u8], at: usize) -> usize {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&file[at..at + N]);
    usize::try_from(u64::from_le_bytes(bytes)).unwrap()
}

/// Returns all pages of all trees of a sound file, including small buckets on the page of their parent.
pub(super) fn pages(file: &[u8]) -> Vec<Page> {
    let newest = (0..2).max_by_key(|meta| number::<8>(file, meta * PAGE + HEADER + 48));
    let root = number::<8>(file, newest.unwrap() * PAGE + HEADER + 16);
    let mut found = Vec::new();
    tree(file, "", root * PAGE, &mut found);
    found
}

fn tree(file: &[u8], bucket: &str, at: usize, found: &mut Vec<Page>) {
    let flags = u16::try_from(number::<2>(file, at + 8)).unwrap();
    let branch = flags == BRANCH;
    assert!(branch || flags == LEAF, "flags {flags} at {at}");
    let mut rows = Vec::new();
    for row in (0..number::<2>(file, at + 10)).map(|row| at + HEADER + row * ROW) {
        if branch {
            let key = row + number::<4>(file, row);
            let key = key..key + number::<4>(file, row + 4);
            tree(file, bucket, number::<8>(file, row + 8) * PAGE, found);
            rows.push(Row {
                at: row,
                value: key.end..key.end,
                key,
            });
            continue;
        }
        let key = row + number::<4>(file, row + 4);
        let key = key..key + number::<4>(file, row + 8);
        let value = key.end..key.end + number::<4>(file, row + 12);
        if number::<4>(file, row) == 1 {
            let name = String::from_utf8(file[key.clone()].to_vec()).unwrap();
            match number::<8>(file, value.start) {
                0 => tree(file, &name, value.start + 16, found),
                page => tree(file, &name, page * PAGE, found),
            }
        }
        rows.push(Row {
            at: row,
            key,
            value,
        });
    }
    found.push(Page {
        at,
        branch,
        bucket: bucket.to_owned(),
        rows,
    });
}
