//! Indexes of chunks in packs, which the daemon reads to find the chunks that are already stored.

use super::FormatError;
use super::varint::{self, Cursor};
use crate::digest::Digest;
use crate::num::to_u64;

/// Keyed hash of a chunk's bytes, cut to 12 bytes: 2^48 chunks until two are likely to collide, and nobody
/// without the key can make them collide.
pub type ChunkId = [u8; 12];

/// Largest number of chunks in one index object, so that it stays below 16 MiB.
pub const MAX_CHUNKS: usize = 800_000;

const MAGIC: &[u8; 4] = b"BBX1";
/// Unpacked size of the largest index: 12 bytes of id and two short integers for each chunk.
const MAX_PLAIN: usize = MAX_CHUNKS * 32;
/// Limits of a pack and of a chunk.
const MAX_STORED: u64 = 16 << 20;
const MAX_PACK: u64 = 15 << 20;
const MAX_CHUNK: u32 = 1 << 20;

/// Chunks of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackChunks {
    /// SHA-256 of the pack's stored bytes.
    pub pack: Digest,
    /// Its number of stored bytes.
    pub stored_bytes: u64,
    /// Its number of plain bytes.
    pub plain_bytes: u64,
    /// Public half of the epoch that it is encrypted to; empty if it is not encrypted.
    pub epoch: String,
    /// Chunks by increasing offset, not overlapping.
    pub chunks: Vec<ChunkAt>,
}

/// Chunk in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkAt {
    /// Its id.
    pub id: ChunkId,
    /// Its offset in the pack's plain bytes.
    pub offset: u32,
    /// Its length.
    pub length: u32,
}

/// Returns the index's plain form, compressed.
///
/// # Errors
/// When compression fails, or chunks are not in order.
pub fn encode(packs: &[PackChunks]) -> Result<Vec<u8>, FormatError> {
    let mut plain = MAGIC.to_vec();
    varint::put(&mut plain, to_u64(packs.len()));
    for pack in packs {
        plain.extend_from_slice(pack.pack.as_bytes());
        varint::put(&mut plain, pack.stored_bytes);
        varint::put(&mut plain, pack.plain_bytes);
        varint::put(&mut plain, to_u64(pack.epoch.len()));
        plain.extend_from_slice(pack.epoch.as_bytes());
        varint::put(&mut plain, to_u64(pack.chunks.len()));
    }
    let (mut gaps, mut lengths, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for pack in packs {
        let mut end = 0_u32;
        for chunk in &pack.chunks {
            let gap = chunk.offset.checked_sub(end);
            let gap = gap.ok_or_else(|| FormatError::damaged("index", "chunks out of order"))?;
            varint::put(&mut gaps, gap.into());
            varint::put(&mut lengths, chunk.length.into());
            ids.extend_from_slice(&chunk.id);
            end = chunk.offset.saturating_add(chunk.length);
        }
    }
    for column in [gaps, lengths, ids] {
        plain.extend_from_slice(&column);
    }
    zstd::bulk::compress(&plain, 9).map_err(|source| FormatError::Zstd {
        object: "index",
        source,
    })
}

/// Parses the output of [`encode`].
///
/// # Errors
/// When it is damaged.
pub fn decode(bytes: &[u8]) -> Result<Vec<PackChunks>, FormatError> {
    let plain = super::decompress("index", bytes, MAX_PLAIN)?;
    parse(&plain)
        .ok_or_else(|| FormatError::damaged("index", "it ends early or contradicts itself"))
}

fn parse(plain: &[u8]) -> Option<Vec<PackChunks>> {
    let mut cursor = Cursor(plain);
    if cursor.bytes(4)? != MAGIC {
        return None;
    }
    let mut heads = Vec::new();
    let mut total = 0_usize;
    for _ in 0..cursor.size()? {
        let pack = Digest::from_bytes(cursor.array()?);
        let (stored_bytes, plain_bytes) = (cursor.varint()?, cursor.varint()?);
        if stored_bytes > MAX_STORED || plain_bytes > MAX_PACK {
            return None;
        }
        let epoch_len = cursor.size()?;
        let epoch = String::from_utf8(cursor.bytes(epoch_len)?.to_vec()).ok()?;
        let count = cursor.size()?;
        total = total
            .checked_add(count)
            .filter(|total| *total <= MAX_CHUNKS)?;
        heads.push((
            PackChunks {
                pack,
                stored_bytes,
                plain_bytes,
                epoch,
                chunks: Vec::new(),
            },
            count,
        ));
    }
    // Every chunk takes at least 14 of the remaining bytes, so a false count is detected here.
    if total.checked_mul(14)? > cursor.0.len() {
        return None;
    }
    let (columns, ids) = cursor
        .0
        .split_at_checked(cursor.0.len().checked_sub(total.checked_mul(12)?)?)?;
    let mut gaps = Cursor(columns);
    let mut lengths = gaps;
    for _ in 0..total {
        lengths.varint()?;
    }
    let mut ids = Cursor(ids);
    let mut packs = Vec::with_capacity(heads.len());
    for (mut pack, count) in heads {
        let mut end = 0_u32;
        for _ in 0..count {
            let offset = end.checked_add(u32::try_from(gaps.varint()?).ok()?)?;
            let length = u32::try_from(lengths.varint()?).ok()?;
            if length > MAX_CHUNK {
                return None;
            }
            end = offset.checked_add(length)?;
            if u64::from(end) > pack.plain_bytes {
                return None;
            }
            pack.chunks.push(ChunkAt {
                id: ids.array()?,
                offset,
                length,
            });
        }
        packs.push(pack);
    }
    lengths.0.is_empty().then_some(packs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packs() -> impl Strategy<Value = Vec<PackChunks>> {
        let chunks = prop::collection::vec((any::<ChunkId>(), 0_u32..9, 1_u32..2000), 0..50);
        let pack = (any::<[u8; 32]>(), 0..=MAX_STORED, "[a-z0-9]{0,62}", chunks).prop_map(
            |(digest, stored_bytes, epoch, raw)| {
                let mut end = 0;
                let mut chunks = Vec::new();
                for (id, gap, length) in raw {
                    chunks.push(ChunkAt {
                        id,
                        offset: end + gap,
                        length,
                    });
                    end += gap + length;
                }
                let pack = Digest::from_bytes(digest);
                PackChunks {
                    pack,
                    stored_bytes,
                    plain_bytes: end.into(),
                    epoch,
                    chunks,
                }
            },
        );
        prop::collection::vec(pack, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(packs in packs()) {
            prop_assert_eq!(decode(&encode(&packs).unwrap()).unwrap(), packs);
        }

        #[test]
        fn hostile_bytes_are_refused(bytes: Vec<u8>, cut in 0_usize..400) {
            prop_assert!(decode(&bytes).is_err());
            let mut plain = MAGIC.to_vec();
            plain.extend_from_slice(bytes.get(..cut).unwrap_or(&bytes));
            drop(parse(&plain));
        }
    }

    #[test]
    fn what_no_pack_has_is_refused() {
        let pack = |stored_bytes, plain_bytes, length| PackChunks {
            pack: Digest::of(b"x"),
            stored_bytes,
            plain_bytes,
            epoch: String::new(),
            chunks: vec![ChunkAt {
                id: [0; 12],
                offset: 0,
                length,
            }],
        };
        let reads = |pack| decode(&encode(&[pack]).unwrap()).is_ok();
        assert!(reads(pack(MAX_STORED, MAX_PACK, MAX_CHUNK)));
        assert!(!reads(pack(MAX_STORED + 1, MAX_PACK, 1)));
        assert!(!reads(pack(1, MAX_PACK + 1, 1)));
        assert!(!reads(pack(1, 1 << 62, 1)));
        assert!(!reads(pack(1, MAX_PACK, MAX_CHUNK + 1)));
        assert!(!reads(pack(1, 1, 2)));
    }
}
