//! Tests of the inspector with a real snapshot, a model, and broken and hostile files.

#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

mod torn;
mod unsound;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::bucket::BucketRole;
use super::*;
use crate::chunk::bbolt::BboltChunker;
use crate::chunk::bbolt::page::Header;
use crate::chunk::bbolt::sample::{
    FileBuilder, SampleFile, file, harm, key_value, leaf_body, revision,
};
use crate::chunk::testing::{check, cut};
use crate::digest::Digest;
use crate::etcd::{Contents, SnapshotFacts, TornObjects, TrailerCheck};

/// Snapshot written by etcd 3.6.16: configmaps, Secrets encrypted with a key that was changed, one plain
/// Secret, `kube-system` created, deleted and created again, leases, a transaction, a compaction, a
/// defragmentation, and later changes.
const SNAPSHOT: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/etcd-3.6.16-objects.db.zst"
));

fn snapshot() -> Vec<u8> {
    zstd::decode_all(SNAPSHOT).unwrap()
}

fn inspect(bytes: &[u8], step: usize) -> Result<PageFacts, SnapshotError> {
    let mut inspector = Inspector::new();
    for piece in bytes.chunks(step) {
        inspector.push(piece);
    }
    inspector.finish()
}

fn facts(bytes: &[u8], step: usize) -> Result<SnapshotFacts, SnapshotError> {
    let mut trailer = TrailerCheck::new();
    for piece in bytes.chunks(step) {
        trailer.push(piece);
    }
    SnapshotFacts::join(trailer.finish(), inspect(bytes, step))
}

#[test]
fn a_real_snapshot_has_the_figures_that_etcdutl_tells() {
    let bytes = snapshot();
    let sha256 = "42e2c9756b8b3151a6ccb66dfab78f94dd8e9d796f42ddb99887ce93754b7dac";
    let wanted = SnapshotFacts {
        // etcdutl 3.6.16 snapshot status -w json:
        // {"revision":387,"totalKey":320,"totalSize":282624,"version":"3.6.0"}
        revision: 387,
        total_keys: Some(320),
        content: "2c0342a2cdd7ca58494b9a83ffe9551c66e8c56b92af64df79d1401c8f73cab7"
            .parse()
            .ok(),
        total_size: 282_624,
        storage_version: Some("3.6.0".into()),
        // Known from the steps that filled it.
        compact_revision: Some(310),
        page_size: 4096,
        plain_size: 282_656,
        sha256: sha256.parse().unwrap(),
        trailer: Digest::of(&bytes[..282_624]),
        kube_system_uid: Some("0c7b2b0e-5a53-4f0e-9a0d-6c1f8e2d7b11".into()),
        encryption_prefixes: BTreeSet::from(["k8s:enc:secretbox:v1:key1".into()]),
        plain_secrets: 1,
        contents: Contents {
            prefixes: BTreeMap::from([("registry".into(), 320)]),
            users: vec!["operator".into()],
            roles: vec!["reader".into()],
            ..Contents::default()
        },
        torn: TornObjects::default(),
    };
    for step in [1, 32, 1000, 1024, 4096, 5000, 1 << 20] {
        assert_eq!(
            facts(&bytes, step),
            Ok(wanted.clone()),
            "in pieces of {step}"
        );
    }
}

#[test]
fn a_real_snapshot_is_mostly_taken_apart() {
    let bytes = snapshot();
    let record = cut(BboltChunker::new(), &bytes, &[1024]);
    check(crate::chunk::ChunkerKind::Bbolt, &bytes, &record, 3);
    let kept: usize = record
        .orders
        .iter()
        .zip(&record.chunks)
        .filter(|(order, _)| order.starts_with(b"\0raw"))
        .map(|(_, chunk)| chunk.len())
        .sum();
    assert!(
        kept < bytes.len() / 4,
        "{kept} bytes are in pages kept as they are"
    );
}

#[test]
fn a_cut_off_snapshot_tells_what_is_missing() {
    let bytes = snapshot();
    let size = bytes.len() as u64;
    for cut in (1024..bytes.len() - 32).step_by(1024 * 7) {
        let wanted = SnapshotError::Truncated {
            size: cut as u64,
            expected: Some(size),
        };
        assert_eq!(facts(&bytes[..cut], 1000), Err(wanted));
    }
    let size = size - 32;
    let bare = facts(&bytes[..bytes.len() - 32], 1000);
    assert_eq!(bare, Err(SnapshotError::NoTrailer { size }));
    let short = facts(&bytes[..bytes.len() - 1], 1000);
    assert!(matches!(short, Err(SnapshotError::Truncated { .. })));
    assert_eq!(facts(&[], 1), Err(SnapshotError::Empty));
    let page = b"<html>502 Bad Gateway</html>".repeat(1000);
    assert_eq!(
        facts(&page, 100),
        Err(SnapshotError::NoMeta {
            size: page.len() as u64
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = snapshot();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(facts(&bytes, 4096).is_err());
    }

    #[test]
    fn harmed_snapshots_are_judged(harms in prop::collection::vec(harm(), 1..6), step in 1..9000_usize) {
        let mut bytes = snapshot();
        for harm in harms {
            harm.apply(4096, &mut bytes);
        }
        let whole = inspect(&bytes, usize::MAX);
        prop_assert_eq!(inspect(&bytes, step), whole);
    }

    #[test]
    fn any_file_is_judged(file in file(), harms in prop::collection::vec(harm(), 0..4)) {
        let SampleFile(page_size, mut bytes) = file;
        for harm in harms {
            harm.apply(page_size, &mut bytes);
        }
        let whole = inspect(&bytes, usize::MAX);
        prop_assert_eq!(inspect(&bytes, 777), whole);
    }

    #[test]
    fn live_keys_are_counted(
        shift in 0..7_u32,
        steps in prop::collection::vec((0..12_u8, any::<bool>(), 0..700_usize), 1..60),
        leaf in 1..9_usize,
    ) {
        let mut live = BTreeMap::new();
        let mut revisions = Vec::new();
        for (main, (key, delete, size)) in (2..).zip(&steps) {
            let etcd_key = format!("/registry/secrets/default/{key}").into_bytes();
            if *delete {
                live.remove(key);
                revisions.push((0, revision(main, 0, true), key_value(&etcd_key, &[])));
            } else {
                let head: &[u8] = if size % 2 == 0 { b"k8s:enc:aesgcm:v1:a:" } else { b"k8s\0" };
                live.insert(key, size % 2 == 0);
                let object = [head, &vec![7; *size]].concat();
                revisions.push((0, revision(main, 0, false), entry(main, &etcd_key, &object)));
            }
        }
        let file = etcd(1024 << shift, &revisions, leaf);
        let found = inspect(&file.bytes, 999).unwrap();
        prop_assert_eq!(found.revision, steps.len() as u64 + 1);
        prop_assert_eq!(found.total_keys, Some(live.len() as u64));
        let plain = live.values().filter(|encrypted| !**encrypted).count();
        prop_assert_eq!(found.plain_secrets, plain as u64);
        let encrypted = live.values().any(|encrypted| *encrypted);
        prop_assert_eq!(!found.encryption_prefixes.is_empty(), encrypted);
    }

    #[test]
    fn live_keys_are_counted_by_folder(
        steps in prop::collection::vec((0..4_usize, 0..6_u8, any::<bool>()), 1..60),
        leaf in 1..9_usize,
    ) {
        let folders = ["/registry/a/", "/one_cp/registry/", "/two_cp/", "in_none/"];
        let mut live = BTreeSet::new();
        let mut revisions = Vec::new();
        for (main, (folder, key, delete)) in (2..).zip(&steps) {
            let etcd_key = format!("{}{key}", folders[*folder]).into_bytes();
            if *delete {
                revisions.push((0, revision(main, 0, true), key_value(&etcd_key, b"")));
                live.remove(&(*folder, *key));
            } else {
                revisions.push((0, revision(main, 0, false), entry(main, &etcd_key, b"x")));
                live.insert((*folder, *key));
            }
        }
        let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
        for (folder, _) in live {
            let name = ["registry", "one_cp", "two_cp", ""][folder];
            *wanted.entry(name.to_owned()).or_default() += 1;
        }
        let found = inspect(&etcd(4096, &revisions, leaf).bytes, 999).unwrap();
        prop_assert_eq!(found.contents.prefixes, wanted);
        prop_assert!(!found.contents.more_prefixes);
    }
}

type Element = (u32, Vec<u8>, Vec<u8>);

/// Returns a value of bucket `key`: the first put of a key.
fn entry(main: u64, etcd_key: &[u8], object: &[u8]) -> Vec<u8> {
    use prost::encoding::{bytes, uint64};
    let mut out = Vec::new();
    bytes::encode(1, &etcd_key.to_vec(), &mut out);
    uint64::encode(2, &main, &mut out);
    uint64::encode(3, &main, &mut out);
    uint64::encode(4, &1, &mut out);
    bytes::encode(5, &object.to_vec(), &mut out);
    out
}

/// Returns a bucket in the form that its parent contains.
fn bucket(name: &str, root: u64, inline: &[u8]) -> (u32, Vec<u8>, Vec<u8>) {
    let mut value = root.to_le_bytes().to_vec();
    value.extend([0; 8]);
    value.extend(inline);
    (1, name.into(), value)
}

/// Returns a small bucket inside its parent.
fn inline(name: &str, elements: &[Element]) -> (u32, Vec<u8>, Vec<u8>) {
    let count = elements.len() as u16;
    let header = Header {
        id: 0,
        flags: LEAF,
        count,
        overflow: 0,
    };
    bucket(
        name,
        0,
        &[&header.to_bytes(), leaf_body(elements).as_slice()].concat(),
    )
}

/// Returns all buckets that etcd creates, in order: `own`, and empty ones.
fn buckets(own: &[Element]) -> Vec<Element> {
    let names = BucketRole::MADE.map(BucketRole::name);
    let rest = names.into_iter().filter(|name| {
        let name = name.as_bytes();
        own.iter().all(|(_, own, _)| own != name)
    });
    let mut all: Vec<_> = rest.map(|name| inline(name, &[])).collect();
    all.extend_from_slice(own);
    all.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    all
}

fn meta() -> (u32, Vec<u8>, Vec<u8>) {
    let compacted = (0, b"finishedCompactRev".to_vec(), revision(5, 0, false));
    inline(
        "meta",
        &[
            compacted,
            (0, b"storageVersion".to_vec(), b"3.6.0".to_vec()),
        ],
    )
}

/// Returns a file with bucket `key` of these elements, `leaf` of them on each leaf, and bucket `meta`.
fn etcd(page_size: usize, elements: &[Element], leaf: usize) -> FileBuilder {
    let mut file = FileBuilder::new(page_size);
    let leaves: Vec<_> = elements
        .chunks(leaf)
        .map(|elements| (elements[0].1.clone(), file.leaf(elements)))
        .collect();
    // A freed page with a value that must not count.
    file.leaf(&[(0, revision(1 << 40, 0, false), key_value(b"/freed", b""))]);
    let key = file.branch(&leaves);
    root(&mut file, &[bucket("key", key, &[]), meta()]);
    file
}

fn root(file: &mut FileBuilder, own: &[Element]) {
    let root = file.leaf(&buckets(own));
    file.metas(root, 7);
}

fn put(main: u64, etcd_key: &str) -> (u32, Vec<u8>, Vec<u8>) {
    (
        0,
        revision(main, 0, false),
        entry(main, etcd_key.as_bytes(), b"value"),
    )
}

fn broken(file: &FileBuilder) -> String {
    match inspect(&file.bytes, 4096) {
        Err(SnapshotError::BrokenTree { page, what }) => format!("{page} {what}"),
        Err(SnapshotError::BrokenEntry {
            bucket,
            page,
            revision,
            what,
        }) => format!("{bucket} {page} {revision:?} {what}"),
        Err(SnapshotError::BucketMissing { bucket }) => format!("{bucket} missing"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn buckets_may_lie_in_their_parent() {
    let mut file = FileBuilder::new(4096);
    let key = inline("key", &[put(3, "a"), put(4, "b"), put(5, "a")]);
    root(&mut file, &[key, meta()]);
    let found = inspect(&file.bytes, 100).unwrap();
    assert_eq!((found.revision, found.total_keys), (5, Some(2)));
    assert_eq!(found.compact_revision, Some(5));
    assert_eq!(found.storage_version.as_deref(), Some("3.6.0"));
}

#[test]
fn the_newest_sound_meta_counts() {
    let mut file = etcd(4096, &[put(3, "a")], 1);
    let old = file.pages() - 1;
    root(
        &mut file,
        &[inline("key", &[put(3, "a"), put(9, "b")]), meta()],
    );
    let new = file.pages() - 1;
    file.meta(0, old, 8);
    file.meta(1, new, 9);
    assert_eq!(inspect(&file.bytes, 4096).unwrap().revision, 9);
    file.bytes[4096 + 40] ^= 1;
    assert_eq!(inspect(&file.bytes, 4096).unwrap().revision, 3);
    file.bytes[40] ^= 1;
    let size = file.bytes.len() as u64;
    assert_eq!(
        inspect(&file.bytes, 4096),
        Err(SnapshotError::NoMeta { size })
    );
}

#[test]
fn uids_are_read_from_json_too_and_only_while_the_namespace_lives() {
    let namespace = "/registry/namespaces/kube-system";
    let json = br#"{"kind":"Namespace","metadata":{"name":"kube-system","uid":"abc-1"}}"#;
    let made = (
        0,
        revision(3, 0, false),
        entry(3, namespace.as_bytes(), json),
    );
    let gone = (
        0,
        revision(4, 0, true),
        key_value(namespace.as_bytes(), b""),
    );
    let found = inspect(&etcd(4096, std::slice::from_ref(&made), 1).bytes, 500).unwrap();
    assert_eq!(found.kube_system_uid.as_deref(), Some("abc-1"));
    let found = inspect(&etcd(4096, &[made, gone], 1).bytes, 500).unwrap();
    assert_eq!(found.kube_system_uid, None);
}

#[test]
fn a_file_of_another_program_is_not_etcds() {
    let mut file = FileBuilder::new(4096);
    let root = file.leaf(&[inline("other", &[])]);
    file.metas(root, 7);
    assert_eq!(
        inspect(&file.bytes, 4096),
        Err(SnapshotError::KeyBucketMissing)
    );
}
