//! Damage inside the pages of a snapshot, the same for the same seed, with a matching trailer.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use super::pages::{Page, Row, number, pages};

/// Number of bytes of the trailer.
const TRAILER: usize = 32;

/// Damaged snapshot, with a description of the damage.
pub(super) struct Damaged {
    pub(super) bytes: Vec<u8>,
    pub(super) what: String,
}

/// Snapshot, with the positions of its entries.
pub(super) struct Ground {
    bytes: Vec<u8>,
    pages: Vec<Page>,
    buckets: Vec<String>,
}

impl Ground {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let pages = pages(&bytes);
        let mut buckets: Vec<_> = pages
            .iter()
            .filter(|page| !page.rows.is_empty())
            .map(|page| page.bucket.clone())
            .collect();
        buckets.sort();
        buckets.dedup();
        Self {
            bytes,
            pages,
            buckets,
        }
    }

    /// Returns the buckets that have entries; the one without a name contains the buckets.
    pub(super) fn buckets(&self) -> &[String] {
        &self.buckets
    }

    pub(super) fn damage(&self, seed: u64) -> Damaged {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = self.bytes.clone();
        let what = loop {
            if let Some(what) = self.once(&mut random, &mut bytes)
                && bytes != self.bytes
            {
                break what;
            }
            bytes.clone_from(&self.bytes);
        };
        let end = bytes.len() - TRAILER;
        let trailer = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&trailer);
        Damaged { bytes, what }
    }

    /// Makes one try; `None` if the chosen entry cannot be damaged in this way.
    fn once(&self, random: &mut StdRng, bytes: &mut [u8]) -> Option<String> {
        // Half of them in bucket `key`: most of a snapshot, and few of its buckets.
        let bucket = if random.random_bool(0.5) {
            "key"
        } else {
            self.buckets.choose(random)?
        };
        let inside: Vec<_> = self
            .pages
            .iter()
            .filter(|page| page.bucket == bucket && !page.rows.is_empty())
            .collect();
        let page = *inside.choose(random)?;
        let row = page.rows.choose(random)?;
        let what = match random.random_range(0..12_u8) {
            0..3 => byte(random, bytes, row.value.clone(), "value")?,
            3 | 4 => tail(random, bytes, row)?,
            5 | 6 if !page.branch => cut(random, bytes, row)?,
            7 => byte(random, bytes, row.key.clone(), "key")?,
            8 => byte(random, bytes, row.at..row.at + 16, "table row")?,
            9 => byte(random, bytes, page.at..page.at + 16, "header")?,
            10 => swap(random, bytes, page)?,
            11 => last(bytes, page)?,
            _ => return None,
        };
        let kind = if page.branch { "branch" } else { "leaf" };
        Some(format!("bucket `{bucket}`, {kind} at {}: {what}", page.at))
    }
}

fn byte(
    random: &mut StdRng,
    bytes: &mut [u8],
    place: std::ops::Range<usize>,
    of: &str,
) -> Option<String> {
    let start = place.start;
    let at = random.random_range(0..place.len().max(1));
    let to: u8 = random.random();
    *bytes.get_mut(place)?.get_mut(at)? = to;
    Some(format!("byte {at} of the {of} at {start} is {to}"))
}

fn tail(random: &mut StdRng, bytes: &mut [u8], row: &Row) -> Option<String> {
    let value = bytes
        .get_mut(row.value.clone())
        .filter(|value| !value.is_empty())?;
    let from = random.random_range(0..value.len());
    value[from..].fill(0);
    Some(format!(
        "the value at {} is zeros from {from}",
        row.value.start
    ))
}

fn cut(random: &mut StdRng, bytes: &mut [u8], row: &Row) -> Option<String> {
    let length = row.value.len();
    let to = (length > 0).then(|| random.random_range(0..length))?;
    let told = u32::try_from(to).ok()?.to_le_bytes();
    bytes[row.at + 12..row.at + 16].copy_from_slice(&told);
    Some(format!("the value at {} is cut to {to}", row.value.start))
}

/// Swaps two entries of a page, or two children of a branch.
fn swap(random: &mut StdRng, bytes: &mut [u8], page: &Page) -> Option<String> {
    let one = page.rows.choose(random)?.at;
    let other = page.rows.choose(random)?.at;
    let part = if page.branch { 8..16 } else { 4..16 };
    let keep = |at: usize| part.start + at..part.end + at;
    let (first, second) = (bytes[keep(one)].to_vec(), bytes[keep(other)].to_vec());
    bytes[keep(one)].copy_from_slice(&second);
    bytes[keep(other)].copy_from_slice(&first);
    Some(format!("the rows at {one} and {other} changed places"))
}

/// Removes the last entry of a page.
fn last(bytes: &mut [u8], page: &Page) -> Option<String> {
    let count = number::<2>(bytes, page.at + 10).checked_sub(1)?;
    let told = u16::try_from(count).ok()?.to_le_bytes();
    bytes[page.at + 10..page.at + 12].copy_from_slice(&told);
    Some(format!("{count} entries instead of one more"))
}
