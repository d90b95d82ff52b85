use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::EntryType;

use super::*;
use crate::plan::Options;
use backup_core::archive::MAX_OBJECT;

/// Packs a tarball with these members.
fn packed(members: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, kind, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(u64::try_from(bytes.len()).unwrap());
        header.set_mode(0o755);
        // The setter refuses names that a hostile tar has.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn taken(bytes: &[u8]) -> Result<VeleroObjects, RecoverError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let select = Selection::new(&Options::default(), &[]).unwrap();
    read(file.path(), &std::env::temp_dir(), &select)
}

fn user(name: &str, version: &str) -> Vec<u8> {
    json!({
        "apiVersion": format!("butler.butlerlabs.dev/{version}"), "kind": "User",
        "metadata": { "name": name, "uid": name },
    })
    .to_string()
    .into_bytes()
}

const VERSION: (&str, EntryType, &[u8]) = ("metadata/version", EntryType::Regular, b"1.1.0\n");
const USER: &str = "resources/users.butler.butlerlabs.dev/cluster/a.json";

#[test]
fn an_object_that_is_there_twice_is_taken_once() {
    let preferred = "resources/users.butler.butlerlabs.dev/v1alpha1-preferredversion/cluster/";
    let (a, b) = (format!("{preferred}a.json"), format!("{preferred}b.json"));
    let (first, second) = (user("a", "v1alpha1"), user("b", "v1alpha1"));
    let bytes = packed(&[
        (&a, EntryType::Regular, &first),
        (USER, EntryType::Regular, &first),
        (&b, EntryType::Regular, &second),
        VERSION,
    ]);
    let taken = taken(&bytes).unwrap();
    let names: Vec<_> = taken.spool.entries().iter().map(|e| &e.path.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(taken.sha256, Digest::of(&bytes));
    assert_eq!(taken.findings.len(), 1);
}

#[test]
fn a_name_in_an_extension_is_followed_and_a_size_in_one_is_refused() {
    let name = "n".repeat(120);
    let path = format!("resources/users.butler.butlerlabs.dev/cluster/{name}.json");
    let object = user(&name, "v1alpha1");
    let record = |key: &str, value: &str| {
        let length = (0..999)
            .find(|n| format!("{n} {key}={value}\n").len() == *n)
            .unwrap();
        format!("{length} {key}={value}\n").into_bytes()
    };
    let extension = record("path", &path);
    let long = packed(&[
        VERSION,
        ("x", EntryType::XHeader, &extension),
        ("short", EntryType::Regular, &object),
    ]);
    assert_eq!(taken(&long).unwrap().spool.entries()[0].path.name, name);
    for bad in [
        record("size", "9"),
        record("path", "../../etc/passwd"),
        vec![b'x'; 70_000],
    ] {
        let bytes = packed(&[
            VERSION,
            ("x", EntryType::XHeader, &bad),
            ("short", EntryType::Regular, &object),
        ]);
        let refused = taken(&bytes).unwrap_err();
        assert!(matches!(
            refused,
            RecoverError::Velero(VeleroError::Hostile { .. } | VeleroError::Damaged { .. })
        ));
    }
}

#[test]
fn what_no_velero_writes_is_refused_with_its_name() {
    let object = user("a", "v1alpha1");
    let other = user("b", "v1alpha1");
    let large = vec![b' '; usize::try_from(MAX_OBJECT).unwrap() + 1];
    for (name, kind, bytes, said) in [
        ("/etc/passwd", EntryType::Regular, &b"x"[..], "absolute"),
        ("resources/../../x", EntryType::Regular, b"x", "leads out"),
        (USER, EntryType::Symlink, b"", "link"),
        (USER, EntryType::Link, b"", "link"),
        (USER, EntryType::Fifo, b"", "special"),
        (USER, EntryType::Regular, &large, "more than any object"),
        (USER, EntryType::Regular, &other, "another object"),
        (
            "resources/users/cluster/x",
            EntryType::Regular,
            &object,
            "not the place",
        ),
        (
            "metadata/version",
            EntryType::Regular,
            &[b'1'; 100],
            "not a version",
        ),
    ] {
        let refused = taken(&packed(&[VERSION, (name, kind, bytes)])).unwrap_err();
        let RecoverError::Velero(refused) = refused else {
            panic!("{refused}");
        };
        let text = refused.to_string();
        assert!(text.contains(said) && text.contains(name), "{text}");
    }
}

#[test]
fn other_versions_and_damage_are_told() {
    let other = packed(&[("metadata/version", EntryType::Regular, b"2.0.0")]);
    assert!(format!("{:?}", taken(&other).unwrap_err()).contains("2.0.0"));
    let none = packed(&[(USER, EntryType::Regular, &user("a", "v1"))]);
    assert!(matches!(
        taken(&none).unwrap_err(),
        RecoverError::Velero(VeleroError::NoVersion { .. })
    ));
    let whole = packed(&[VERSION, (USER, EntryType::Regular, &user("a", "v1"))]);
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    for bytes in [&whole[..whole.len() - 20], b"no gzip at all", &flipped, b""] {
        assert!(matches!(
            taken(bytes).unwrap_err(),
            RecoverError::Velero(VeleroError::Damaged { .. })
        ));
    }
    let broken = packed(&[VERSION, (USER, EntryType::Regular, b"{\"data\": canary}")]);
    // A broken object costs only itself, and the error does not contain its text.
    let taken = taken(&broken).unwrap();
    let flaw = taken.spool.entry(0).unwrap().flaw.clone().unwrap();
    assert!(flaw.contains(USER) && !flaw.contains("canary"), "{flaw}");
}

#[test]
fn a_folder_of_the_bucket_is_one_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nightly");
    std::fs::create_dir(&path).unwrap();
    let said = find(&path).unwrap_err().to_string();
    assert!(said.contains("no NAME.tar.gz"), "{said}");
    std::fs::write(path.join("one.tar.gz"), "").unwrap();
    assert_eq!(find(&path).unwrap().0, path.join("one.tar.gz"));
    std::fs::write(path.join("two.tar.gz"), "").unwrap();
    assert!(find(&path).unwrap_err().to_string().contains("several"));
    std::fs::write(path.join("nightly.tar.gz"), "").unwrap();
    let described = json!({ "status": { "phase": "PartiallyFailed", "errors": 3 } });
    std::fs::write(path.join("velero-backup.json"), described.to_string()).unwrap();
    let (file, findings) = find(&path).unwrap();
    assert_eq!(file, path.join("nightly.tar.gz"));
    assert!(
        findings[0].cause.contains("PartiallyFailed"),
        "{findings:?}"
    );
}
