//! The inspector against a real snapshot, against a model, and against broken and hostile files.

#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::bucket::Role;
use super::*;
use crate::chunk::bbolt::BboltChunker;
use crate::chunk::bbolt::page::Header;
use crate::chunk::bbolt::sample::{AnyFile, File, file, harm, key_value, leaf_body, revision};
use crate::chunk::testing::{check, cut};
use crate::digest::Digest;
use crate::etcd::{Contents, SnapshotFacts, Torn, TrailerCheck};

/// Written by etcd 3.6.16: configmaps, Secrets encrypted with a key that was changed, one plain,
/// `kube-system` made, deleted and made again, leases, a transaction, a compaction, a
/// defragmentation, and changes after it.
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
        // What it was filled with.
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
        torn: Torn::default(),
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
    check(crate::chunk::Kind::Bbolt, &bytes, &record, 3);
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
        let AnyFile(page_size, mut bytes) = file;
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

/// A value of bucket `key`: the first put of a key.
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

/// A bucket as its parent holds it.
fn bucket(name: &str, root: u64, inline: &[u8]) -> (u32, Vec<u8>, Vec<u8>) {
    let mut value = root.to_le_bytes().to_vec();
    value.extend([0; 8]);
    value.extend(inline);
    (1, name.into(), value)
}

/// A small bucket that lies in its parent.
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

/// All buckets that etcd makes, in order: these, and empty ones.
fn buckets(own: &[Element]) -> Vec<Element> {
    let names = Role::MADE.map(Role::name);
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

/// A file with bucket `key` of these elements, so many on a leaf, and bucket `meta`.
fn etcd(page_size: usize, elements: &[Element], leaf: usize) -> File {
    let mut file = File::new(page_size);
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

fn root(file: &mut File, own: &[Element]) {
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

fn broken(file: &File) -> String {
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
    let mut file = File::new(4096);
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
fn a_live_object_that_cannot_be_decoded_is_told_and_nothing_is_refused() {
    let at = |main: u64, key: &str, object: &[u8]| {
        let value = entry(main, key.as_bytes(), object);
        (0, revision(main, 0, false), value)
    };
    let gone = |main: u64, key: &str| (0, revision(main, 0, true), key_value(key.as_bytes(), b""));
    let elements = [
        at(3, "/registry/secrets/default/torn", b"k8s\0\x0a\x20\x0a"),
        at(4, "/registry/a.io/bs/x/mended", b"{\"kind\":"),
        at(5, "/registry/a.io/bs/x/torn", b"{\"kind\":\"B\",\0\0"),
        at(6, "/registry/a.io/bs/x/deleted", b"{"),
        at(
            7,
            "/registry/a.io/bs/x/mended",
            b"{\"apiVersion\":\"a/v1\",\"kind\":\"B\"}",
        ),
        gone(8, "/registry/a.io/bs/x/deleted"),
        at(
            9,
            "/registry/secrets/default/sealed",
            b"k8s:enc:aescbc:v1:a:\0",
        ),
    ];
    let torn = |key: &str, revision| crate::etcd::TornObject {
        key: key.to_owned(),
        revision,
    };
    let wanted = [
        torn("/registry/a.io/bs/x/torn", 5),
        torn("/registry/secrets/default/torn", 3),
    ];
    for leaf in [1, 3, 20] {
        let found = inspect(&etcd(4096, &elements, leaf).bytes, 700).unwrap();
        assert_eq!(found.torn.objects, wanted);
        assert!(!found.torn.more);
        assert_eq!(found.total_keys, Some(4));
    }
    let mut file = File::new(4096);
    root(&mut file, &[inline("key", &elements), meta()]);
    assert_eq!(inspect(&file.bytes, 100).unwrap().torn.objects, wanted);
}

#[test]
fn a_file_of_another_program_is_not_etcds() {
    let mut file = File::new(4096);
    let root = file.leaf(&[inline("other", &[])]);
    file.metas(root, 7);
    assert_eq!(
        inspect(&file.bytes, 4096),
        Err(SnapshotError::KeyBucketMissing)
    );
}

#[test]
fn broken_trees_are_named() {
    let with = |make: &dyn Fn(&mut File) -> u64| {
        let mut file = File::new(1024);
        let key = make(&mut file);
        root(&mut file, &[bucket("key", key, &[]), meta()]);
        broken(&file)
    };
    let long = vec![(0, revision(3, 0, false), entry(3, b"a", &[1; 3000]))];
    assert!(with(&|_| 900).starts_with("900 is neither a branch nor a leaf, or not in the file"));
    assert!(with(&|_| 0).contains("small bucket that is not a leaf"));
    assert!(with(&|file| file.branch(&[])).contains("2 is a branch without children"));
    let at = |main| revision(main, 0, false);
    assert!(with(&|file| file.branch(&[(at(3), 2)])).contains("2 is part of two pages"));
    let twice = |file: &mut File| {
        let leaf = file.leaf(&[put(3, "a")]);
        file.branch(&[(at(3), leaf), (at(4), leaf)])
    };
    assert!(with(&twice).contains("2 is part of two pages, or of a tree twice"));
    let inside = |file: &mut File| {
        let leaf = file.leaf(&long);
        let mut other = File::new(1024);
        other.bytes.resize((leaf as usize + 1) * 1024, 0);
        other.leaf(&[put(4, "a")]);
        let from = (leaf as usize + 1) * 1024;
        file.bytes[from..from + 1024].copy_from_slice(&other.bytes[from..from + 1024]);
        file.branch(&[(at(3), leaf), (at(4), leaf + 1)])
    };
    assert!(with(&inside).contains("3 is part of two pages"));
    let backwards = |file: &mut File| {
        let late = file.leaf(&[put(9, "a")]);
        let early = file.leaf(&[put(3, "a")]);
        file.branch(&[(at(3), late), (at(10), early)])
    };
    assert!(with(&backwards).contains("3 begins before the key that its parent has for it"));
    let astray = |file: &mut File| {
        let first = file.leaf(&[put(3, "a"), put(9, "b")]);
        let second = file.leaf(&[put(10, "a")]);
        file.branch(&[(at(3), first), (at(8), second)])
    };
    assert!(with(&astray).contains("3 begins before the end of its neighbour"));
    let late = |file: &mut File| {
        let first = file.leaf(&[put(3, "a")]);
        file.branch(&[(at(4), first)])
    };
    assert!(with(&late).contains("2 begins before the key that its parent has for it"));
    let deep = |file: &mut File| {
        let first = file.leaf(&[put(3, "a")]);
        let inner = file.branch(&[(at(3), first)]);
        file.branch(&[(at(4), inner)])
    };
    assert!(with(&deep).contains("3 begins before the key that its parent has for it"));
    let hollow = |file: &mut File| {
        let first = file.leaf(&[]);
        file.branch(&[(at(3), first)])
    };
    assert!(with(&hollow).contains("2 begins before the key that its parent has for it"));
    let unordered = |file: &mut File| file.leaf(&[put(9, "a"), put(3, "b")]);
    assert!(with(&unordered).contains("2 has keys that are not in order"));
    let keys = |file: &mut File| file.branch(&[(b"b".to_vec(), 3), (b"a".to_vec(), 4)]);
    assert!(with(&keys).contains("2 has keys that are not in order"));
    let outside = |file: &mut File| {
        let leaf = file.leaf(&[put(9, "a")]);
        file.bytes[2 * 1024 + 28..2 * 1024 + 30].fill(0xFF);
        leaf
    };
    assert!(with(&outside).contains("2 has elements outside its bounds"));
    let overflow = |file: &mut File| {
        let leaf = file.leaf(&[put(9, "a")]);
        file.bytes[2 * 1024 + 12] = 200;
        leaf
    };
    assert!(with(&overflow).contains("3 is part of two pages"));
    let mut file = etcd(1024, &[put(3, "a")], 1);
    let root = file.bytes.len() - 1024;
    file.bytes[root + 12] = 200;
    assert!(broken(&file).contains("goes beyond the end of the file"));
}

/// What is said of a file whose bucket `name` has these entries, on a page of its own.
fn with_bucket(name: &str, entries: &[Element]) -> String {
    let mut file = File::new(4096);
    let page = file.leaf(entries);
    root(&mut file, &[bucket(name, page, &[])]);
    broken(&file)
}

#[test]
fn entries_that_etcd_does_not_start_from_are_named() {
    let cut = |to: usize| {
        let (flags, key, value) = put(7, "/registry/pods/a");
        (flags, key, value[..to].to_vec())
    };
    let of = |revision| (0, revision, entry(7, b"a", b"x"));
    let said = with_bucket("key", &[put(3, "a"), cut(9), put(8, "b")]);
    assert_eq!(said, "key 2 Some(7) cannot be decoded");
    let said = with_bucket("key", &[put(3, "a"), of(revision(8, 0, false))]);
    assert_eq!(said, "key 2 Some(8) has the value of another revision");
    let gone = (0, revision(7, 0, true), key_value(b"a", b""));
    let said = with_bucket("key", &[put(7, "a"), gone]);
    assert_eq!(said, "key 2 Some(7) is there twice");
    let foreign = "2 None has a key or value that etcd does not write there";
    let other = (0, b"key".to_vec(), b"value".to_vec());
    let said = with_bucket("key", std::slice::from_ref(&other));
    assert_eq!(said, format!("key {foreign}"));
    // A freed page with such entries does not count, and a small bucket in its parent does.
    let mut file = File::new(4096);
    file.leaf(&[cut(9)]);
    root(&mut file, &[inline("key", &[put(3, "a")])]);
    assert_eq!(inspect(&file.bytes, 100).unwrap().revision, 3);
    root(&mut file, &[inline("key", &[cut(9)])]);
    assert_eq!(broken(&file), "key 4 Some(7) cannot be decoded");
    for name in [
        "lease",
        "alarm",
        "members",
        "members_removed",
        "authUsers",
        "authRoles",
    ] {
        let said = with_bucket(name, std::slice::from_ref(&other));
        assert_eq!(said, format!("{name} {foreign}"));
    }
    for (name, key) in [
        ("meta", "term"),
        ("cluster", "clusterVersion"),
        ("auth", "authRevision"),
    ] {
        let said = with_bucket(name, &[(0, key.into(), b"short".to_vec())]);
        assert_eq!(said, format!("{name} {foreign}"));
    }
    let mut file = File::new(4096);
    root(&mut file, &[(0, b"stray".to_vec(), b"value".to_vec())]);
    assert_eq!(broken(&file), format!("(all buckets) {foreign}"));
}

#[test]
fn every_bucket_that_etcd_makes_must_be_there() {
    for missing in Role::MADE.into_iter().filter(|role| *role != Role::Key) {
        let mut file = File::new(4096);
        let mut all = buckets(&[inline("key", &[put(3, "a")])]);
        all.retain(|(_, name, _)| name != missing.name().as_bytes());
        let root = file.leaf(&all);
        file.metas(root, 7);
        assert_eq!(broken(&file), format!("{} missing", missing.name()));
    }
}

#[test]
fn versions_that_no_etcd_has_together_are_refused() {
    let mut file = File::new(4096);
    let cluster = (0, b"clusterVersion".to_vec(), b"9.6.0".to_vec());
    root(
        &mut file,
        &[
            inline("key", &[put(3, "a")]),
            meta(),
            inline("cluster", &[cluster]),
        ],
    );
    assert_eq!(
        inspect(&file.bytes, 100),
        Err(SnapshotError::VersionsDiffer)
    );
}

#[test]
fn a_list_of_free_pages_must_not_name_pages_in_use() {
    let with = |ids: &[u64], named: u64| {
        let mut file = File::new(4096);
        let key = file.leaf(&[put(3, "a")]);
        file.leaf(&[]);
        let list = file.freelist(ids, 0);
        let root = file.leaf(&buckets(&[bucket("key", key, &[]), meta()]));
        file.metas(root, 7);
        assert_eq!(list, 4);
        for meta in [0, 4096] {
            let body = meta + 16;
            file.bytes[body + 32..body + 40].copy_from_slice(&named.to_le_bytes());
            let sum = crate::chunk::bbolt::page::fnv1a(&file.bytes[body..body + 56]);
            file.bytes[body + 56..body + 64].copy_from_slice(&sum.to_le_bytes());
        }
        file
    };
    assert_eq!(inspect(&with(&[3], 4).bytes, 100).unwrap().revision, 3);
    let used = "2 is part of two pages, or of a tree twice";
    assert_eq!(broken(&with(&[2, 3], 4)), used);
    assert!(broken(&with(&[3, 4], 4)).starts_with("4 is part of two pages"));
    assert!(broken(&with(&[3, 900], 4)).contains("goes beyond the end of the file"));
    assert!(broken(&with(&[3], 3)).contains("is not the list of free pages"));
    assert!(broken(&with(&[3], 77)).contains("is not the list of free pages"));
}

#[test]
fn values_that_only_look_like_objects_are_torn() {
    // The frozen fixture's ConfigMaps begin as stored objects do and hold no message.
    let packed = include_bytes!("../../../tests/fixtures/etcd-3.6.16-snapshot.db.zst");
    let bytes = zstd::decode_all(&packed[..]).unwrap();
    let torn = inspect(&bytes, 4096).unwrap().torn;
    let named: Vec<String> = torn
        .objects
        .iter()
        .map(crate::etcd::TornObject::object)
        .collect();
    let of = |kind: &str| named.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!(of("secrets default/plain"), 1);
    assert_eq!(of("configmaps default/"), named.len() - 1);
    assert!(
        torn.objects.len() > 250 && !torn.more,
        "{}",
        torn.objects.len()
    );
}
