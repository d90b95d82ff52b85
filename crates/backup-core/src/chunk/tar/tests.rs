//! Tests: entries are chunks, and any input is rebuilt.

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;

use super::TarChunker;
use crate::chunk::testing::{RecordingSink, check, cut};
use crate::chunk::{ChunkerKind, MAX_CHUNK};

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_entry_type(EntryType::Regular);
    header
}

fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, data) in entries {
        let mut header = header(data.len().try_into().unwrap());
        builder
            .append_data(&mut header, path, data.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn round_trip(plain: &[u8], lengths: &[usize]) -> RecordingSink {
    let record = cut(TarChunker::new(), plain, lengths);
    check(ChunkerKind::Plain, plain, &record, 1);
    let whole = cut(TarChunker::new(), plain, &[plain.len()]);
    assert!(record == whole, "the pieces it came in changed the chunks");
    record
}

fn names(record: &RecordingSink) -> Vec<String> {
    let names = record
        .orders
        .iter()
        .map(|order| String::from_utf8_lossy(order).into_owned());
    names.filter(|name| !name.starts_with('\0')).collect()
}

#[test]
fn an_entry_is_a_chunk_with_its_long_name() {
    let long = format!("resources/{}/object.json", "x".repeat(200));
    let entries = [
        ("a.json".to_owned(), b"first".to_vec()),
        (long.clone(), vec![1; 3000]),
        ("empty".to_owned(), vec![]),
    ];
    let record = round_trip(&archive(&entries), &[700]);
    assert_eq!(names(&record), ["a.json", long.as_str(), "empty"]);
    // Header and data; long name with its header, header and data; header. Then the zeros.
    let lengths: Vec<_> = record.chunks.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1024, 1024 + 512 + 3072, 512, 1024]);
}

#[test]
fn pax_headers_stay_with_their_entry_and_tell_its_size() {
    let mut builder = Builder::new(Vec::new());
    let pax = [("path", b"true/name".as_slice()), ("size", b"600")];
    builder.append_pax_extensions(pax).unwrap();
    // The header itself has no size, as with more than 8 GiB.
    let mut plain = builder.get_ref().clone();
    let mut own = header(0);
    own.set_path("short").unwrap();
    own.set_cksum();
    plain.extend(own.as_bytes());
    plain.extend([7; 600]);
    plain.resize(plain.len().next_multiple_of(512), 0);
    let size = plain.len();
    plain.extend(archive(&[("next".to_owned(), vec![1])]));
    let record = round_trip(&plain, &[100, 3]);
    assert_eq!(names(&record), ["true/name", "next"]);
    assert_eq!(record.chunks[0].len(), size);
}

#[test]
fn a_large_entry_is_cut_by_content_and_the_next_one_is_found() {
    let entries = [
        ("large".to_owned(), vec![3; 3 * MAX_CHUNK + 5]),
        ("next".to_owned(), vec![1; 10]),
    ];
    let record = round_trip(&archive(&entries), &[60_000]);
    assert_eq!(record.chunks[0].len(), 512);
    let next = record
        .orders
        .iter()
        .position(|order| order == b"next")
        .unwrap();
    assert_eq!(record.chunks[next].len(), 1024);
    assert_eq!(record.chunks[1..next].concat().len(), 3 * MAX_CHUNK + 512);
}

#[test]
fn a_name_as_long_as_a_chunk_does_not_make_a_longer_one() {
    for size in [MAX_CHUNK - 1024, MAX_CHUNK - 512, MAX_CHUNK] {
        let mut name = header(size.try_into().unwrap());
        name.set_entry_type(EntryType::GNULongName);
        name.set_cksum();
        let mut plain = name.as_bytes().to_vec();
        plain.extend(vec![b'n'; size]);
        plain.extend(archive(&[("own".to_owned(), vec![1; 100])]));
        round_trip(&plain, &[50_000]);
    }
}

#[test]
fn a_size_in_base_256_is_read() {
    let mut head = header(1 << 40);
    head.set_path("huge").unwrap();
    head.set_cksum();
    assert_eq!(head.as_old().size[0] & 0x80, 0x80);
    let mut plain = head.as_bytes().to_vec();
    plain.extend(vec![9; 2 << 20]);
    let record = round_trip(&plain, &[4096]);
    assert_eq!(record.orders[0], b"huge");
    assert!(
        record.orders[1..]
            .iter()
            .all(|order| order.starts_with(b"huge"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_archive_comes_back(
        entries in prop::collection::vec(("[a-z]{1,150}", 0..20_000_usize), 0..8),
        harms in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
        lengths in prop::collection::vec(1..6_000_usize, 1..4),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(name, size)| (name, vec![8; size])).collect();
        let mut plain = archive(&entries);
        for (at, byte) in harms {
            let at = at.index(plain.len());
            plain[at] = byte;
        }
        if let Some(keep) = keep {
            plain.truncate(keep.index(plain.len()));
        }
        round_trip(&plain, &lengths);
    }

    #[test]
    fn random_bytes_come_back(plain in prop::collection::vec(any::<u8>(), 0..5_000), length in 1..2_000_usize) {
        round_trip(&plain, &[length]);
    }
}
