//! Tests with files that etcd does not start from, each reported with its defect.

use super::*;

#[test]
fn broken_trees_are_named() {
    let with = |make: &dyn Fn(&mut FileBuilder) -> u64| {
        let mut file = FileBuilder::new(1024);
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
    let twice = |file: &mut FileBuilder| {
        let leaf = file.leaf(&[put(3, "a")]);
        file.branch(&[(at(3), leaf), (at(4), leaf)])
    };
    assert!(with(&twice).contains("2 is part of two pages, or of a tree twice"));
    let inside = |file: &mut FileBuilder| {
        let leaf = file.leaf(&long);
        let mut other = FileBuilder::new(1024);
        other.bytes.resize((leaf as usize + 1) * 1024, 0);
        other.leaf(&[put(4, "a")]);
        let from = (leaf as usize + 1) * 1024;
        file.bytes[from..from + 1024].copy_from_slice(&other.bytes[from..from + 1024]);
        file.branch(&[(at(3), leaf), (at(4), leaf + 1)])
    };
    assert!(with(&inside).contains("3 is part of two pages"));
    let backwards = |file: &mut FileBuilder| {
        let late = file.leaf(&[put(9, "a")]);
        let early = file.leaf(&[put(3, "a")]);
        file.branch(&[(at(3), late), (at(10), early)])
    };
    assert!(with(&backwards).contains("3 begins before the key that its parent has for it"));
    let astray = |file: &mut FileBuilder| {
        let first = file.leaf(&[put(3, "a"), put(9, "b")]);
        let second = file.leaf(&[put(10, "a")]);
        file.branch(&[(at(3), first), (at(8), second)])
    };
    assert!(with(&astray).contains("3 begins before the end of its neighbour"));
    let late = |file: &mut FileBuilder| {
        let first = file.leaf(&[put(3, "a")]);
        file.branch(&[(at(4), first)])
    };
    assert!(with(&late).contains("2 begins before the key that its parent has for it"));
    let deep = |file: &mut FileBuilder| {
        let first = file.leaf(&[put(3, "a")]);
        let inner = file.branch(&[(at(3), first)]);
        file.branch(&[(at(4), inner)])
    };
    assert!(with(&deep).contains("3 begins before the key that its parent has for it"));
    let hollow = |file: &mut FileBuilder| {
        let first = file.leaf(&[]);
        file.branch(&[(at(3), first)])
    };
    assert!(with(&hollow).contains("2 begins before the key that its parent has for it"));
    let unordered = |file: &mut FileBuilder| file.leaf(&[put(9, "a"), put(3, "b")]);
    assert!(with(&unordered).contains("2 has keys that are not in order"));
    let keys = |file: &mut FileBuilder| file.branch(&[(b"b".to_vec(), 3), (b"a".to_vec(), 4)]);
    assert!(with(&keys).contains("2 has keys that are not in order"));
    let outside = |file: &mut FileBuilder| {
        let leaf = file.leaf(&[put(9, "a")]);
        file.bytes[2 * 1024 + 28..2 * 1024 + 30].fill(0xFF);
        leaf
    };
    assert!(with(&outside).contains("2 has elements outside its bounds"));
    let overflow = |file: &mut FileBuilder| {
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

/// Returns the error for a file whose bucket `name` has these entries, on a separate page.
fn with_bucket(name: &str, entries: &[Element]) -> String {
    let mut file = FileBuilder::new(4096);
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
    // A freed page with such entries does not count, but a small bucket inside its parent does.
    let mut file = FileBuilder::new(4096);
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
    let mut file = FileBuilder::new(4096);
    root(&mut file, &[(0, b"stray".to_vec(), b"value".to_vec())]);
    assert_eq!(broken(&file), format!("(all buckets) {foreign}"));
}

#[test]
fn every_bucket_that_etcd_makes_must_be_there() {
    for missing in BucketRole::MADE
        .into_iter()
        .filter(|role| *role != BucketRole::Key)
    {
        let mut file = FileBuilder::new(4096);
        let mut all = buckets(&[inline("key", &[put(3, "a")])]);
        all.retain(|(_, name, _)| name != missing.name().as_bytes());
        let root = file.leaf(&all);
        file.metas(root, 7);
        assert_eq!(broken(&file), format!("{} missing", missing.name()));
    }
}

#[test]
fn versions_that_no_etcd_has_together_are_refused() {
    let mut file = FileBuilder::new(4096);
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
        let mut file = FileBuilder::new(4096);
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
