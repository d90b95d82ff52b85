//! Property tests: the rebuilt bytes equal the input, for any input in any pieces.

#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

use std::io;

use proptest::prelude::*;

use super::sample::{FileBuilder, SampleFile, file, harm, key_value, revision};
use super::*;
use crate::chunk::testing::{RecordingSink, check, cut};
use crate::chunk::{ChunkerKind, MAX_CHUNK};

fn round_trip(plain: &[u8], lengths: &[usize], step: usize) -> RecordingSink {
    let record = cut(BboltChunker::new(), plain, lengths);
    check(ChunkerKind::Bbolt, plain, &record, step);
    record
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_file_comes_back(
        file in file(),
        harms in prop::collection::vec(harm(), 0..6),
        end in prop::collection::vec(any::<u8>(), 0..40),
        lengths in prop::collection::vec(1..9_000_usize, 1..6),
        step in 1..5_usize,
    ) {
        let SampleFile(page_size, mut plain) = file;
        for harm in harms {
            harm.apply(page_size, &mut plain);
        }
        plain.extend(end);
        let record = round_trip(&plain, &lengths, step);
        let whole = cut(BboltChunker::new(), &plain, &[plain.len()]);
        prop_assert!(record == whole, "the pieces it came in changed the chunks");
    }

    #[test]
    fn random_bytes_come_back(
        plain in prop::collection::vec(any::<u8>(), 0..20_000),
        length in 1..5_000_usize,
    ) {
        round_trip(&plain, &[length], 1);
    }

    #[test]
    fn hostile_chunks_are_refused_or_bounded(
        file in file(),
        start in prop_oneof![Just(0_u64), any::<u64>()],
        bytes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        layout in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut_off in any::<prop::sample::Index>(),
    ) {
        let mut record = cut(BboltChunker::new(), &file.1, &[1 << 16]);
        let mut transformed = record.chunks.concat();
        for (at, byte) in bytes {
            if !transformed.is_empty() {
                let at = at.index(transformed.len());
                transformed[at] = byte;
            }
        }
        for (at, byte) in layout {
            let at = at.index(record.layout.len());
            record.layout[at] = byte;
        }
        transformed.truncate(cut_off.index(transformed.len() * 2 + 1));
        refused_or_written(start, &record.layout, &transformed);
    }

    #[test]
    fn random_layouts_are_refused_or_bounded(
        layout in prop::collection::vec(prop_oneof![0..112_u8, any::<u8>()], 0..40),
        transformed in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..2_000),
    ) {
        refused_or_written(0, &layout, &transformed);
    }
}

/// Checks that any input from the store yields an answer or `InvalidData`, and never takes more memory than
/// two units.
fn refused_or_written(start: u64, layout: &[u8], mut transformed: &[u8]) {
    struct Counting(u64, usize);
    impl io::Write for Counting {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 += buf.len() as u64;
            self.1 = self.1.max(buf.len());
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Counting(0, 0);
    match rebuild(start, layout, &mut transformed, &mut out) {
        Ok(n) => assert_eq!(n, out.0),
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::InvalidData, "{e}"),
    }
    assert!(out.1 <= 2 * page::MAX_UNIT);
}

#[test]
fn nothing_gives_nothing() {
    let record = round_trip(&[], &[1], 1);
    assert_eq!(record, RecordingSink::default());
}

#[test]
fn an_element_is_the_same_chunk_on_another_page() {
    let value = |n: u8| {
        (
            0,
            revision(n.into(), 0, false),
            key_value(b"/registry/pods/a", &[n; 300]),
        )
    };
    let mut first = FileBuilder::new(4096);
    first.leaf(&[value(1), value(2), value(3)]);
    let mut second = FileBuilder::new(4096);
    second.leaf(&[value(9)]);
    second.leaf(&[value(2), value(3)]);
    let first = round_trip(&first.bytes, &[4096], 1);
    let second = round_trip(&second.bytes, &[4096], 1);
    // Two metas kept unchanged, then the elements: ordered by etcd key, then revision.
    assert_eq!(first.chunks[3..], second.chunks[3..]);
    assert_eq!(first.chunks.len(), 5);
    assert!(first.orders[2] < first.orders[3] && first.orders[3] < first.orders[4]);
    assert!(first.orders[2].starts_with(b"/registry/pods/a"));
}

#[test]
fn small_elements_are_grouped_and_large_ones_are_not() {
    let small = |n: u8| (0, vec![n; 8], vec![n; 10]);
    let mut file = FileBuilder::new(4096);
    file.leaf(&[
        small(1),
        small(2),
        small(3),
        small(4),
        small(5),
        (0, vec![6], vec![6; 100]),
    ]);
    let record = round_trip(&file.bytes, &[999], 1);
    let lengths: Vec<_> = record.chunks[2..].iter().map(Vec::len).collect();
    assert_eq!(lengths, [80, 20, 103]);
}

#[test]
fn an_element_above_the_largest_chunk_is_split() {
    let mut file = FileBuilder::new(4096);
    file.leaf(&[(0, b"k".to_vec(), vec![1; 3 * MAX_CHUNK])]);
    let record = round_trip(&file.bytes, &[100_000], 1);
    let lengths: Vec<_> = record.chunks[2..].iter().map(Vec::len).collect();
    assert_eq!(lengths, [MAX_CHUNK, MAX_CHUNK, MAX_CHUNK, 6]);
    // Metas kept unchanged, then one leaf.
    assert_eq!(record.layout, [0x24, 2, 0x21, 1]);
}

#[test]
fn long_freelists_and_branches_are_taken_apart() {
    let mut file = FileBuilder::new(8192);
    let ids: Vec<u64> = (0..70_000).map(|n| n * 3 + n % 3).collect();
    file.freelist(&ids, 1);
    file.freelist(&[5, 6, 9], 0);
    file.freelist(&[], 0);
    file.branch(&[
        (b"a".to_vec(), 70),
        (b"b".to_vec(), 69),
        (b"c".to_vec(), 1 << 40),
    ]);
    let record = round_trip(&file.bytes, &[100_000], 1);
    // 560 024 bytes need 69 pages, and one was spare.
    assert_eq!(
        record.layout,
        [
            0x34, 2, 0x33, 70, 0xF0, 0xA2, 4, 0x33, 1, 3, 0x33, 1, 0, 0x32, 3
        ]
    );
    assert_eq!(record.chunks[record.chunks.len() - 2], b"\x01a\x01b\x01c");
}

#[test]
fn what_is_not_written_anew_alike_is_kept() {
    let leaf = [(0, b"key".to_vec(), vec![1; 30])];
    let sound = |harm: &dyn Fn(&mut [u8])| {
        let mut file = FileBuilder::new(4096);
        file.leaf(&leaf);
        harm(&mut file.bytes[8192..]);
        round_trip(&file.bytes, &[4096], 1).layout
    };
    let kept = [0x24, 3];
    assert_eq!(sound(&|_| {}), [0x24, 2, 0x21, 1]);
    assert_eq!(sound(&|page| page[0] = 3), kept, "another id");
    assert_eq!(sound(&|page| page[8] = 3), kept, "another flag");
    assert_eq!(
        sound(&|page| page[10] = 2),
        kept,
        "a count beyond the table"
    );
    assert_eq!(sound(&|page| page[12] = 1), kept, "overflow beyond the end");
    assert_eq!(
        sound(&|page| page[12..16].fill(0xFF)),
        kept,
        "huge overflow"
    );
    assert_eq!(sound(&|page| page[16] = 1), kept, "a bucket");
    assert_eq!(sound(&|page| page[20] = 17), kept, "a gap before the key");
    assert_eq!(sound(&|page| page[31] = 1), kept, "a value beyond the page");
    assert_eq!(
        sound(&|page| page[4095] = 1),
        kept,
        "old bytes behind the last element"
    );
}

#[test]
fn overflow_that_was_used_again_is_read_page_by_page() {
    let mut file = FileBuilder::new(1024);
    let id = file.leaf(&[(0, b"key".to_vec(), vec![1; 5_000])]);
    let mut other = FileBuilder::new(1024);
    other.bytes.resize((id as usize + 2) * 1024, 0);
    other.leaf(&[(0, b"new".to_vec(), vec![2; 100])]);
    let at = (id as usize + 2) * 1024;
    file.bytes[at..at + 1024].copy_from_slice(&other.bytes[at..at + 1024]);
    let record = round_trip(&file.bytes, &[500], 1);
    assert_eq!(record.layout, [0x04, 4, 0x01, 1, 0x04, 2]);
}

#[test]
fn broken_records_are_named() {
    let refused = |start, layout: &[u8], mut bytes: &[u8]| {
        let e = rebuild(start, layout, &mut bytes, &mut io::sink()).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        e.to_string()
    };
    assert!(refused(0, &[0x27, 1], &[]).contains("unknown kind 7"));
    assert!(refused(0, &[0x71, 1], &[]).contains("page size of 1024 << 7"));
    assert!(refused(0, &[0x21], &[]).contains("ends within a number"));
    assert!(refused(0, &[0x24, 0x81, 2], &[]).contains("number 257; at most 256"));
    assert!(refused(0, &[0x24, 1], &[0; 4095]).contains("end 1 bytes too early"));
    assert!(refused(0, &[0x25, 1], &[0]).contains("continue after the end of the layout"));
    assert!(refused(0, &[0x26, 1, 0x25, 1], &[0]).contains("continues after the end"));
    assert!(refused(1024, &[0x25, 1], &[]).contains("offset 1024"));
    assert!(refused(0, &[0x21, 1], &[0x80, 0x80, 0x80, 0x10, 0]).contains("more than 25165824"));
    assert!(refused(0, &[0x22, 1], &[1, b'a', 1]).contains("child id"));
    assert!(refused(0, &[0x23, 0, 0], &[]).contains("does not fit in 0 pages"));
}
