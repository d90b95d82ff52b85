//! Tests with objects that API servers cannot decode, in files that etcd starts from.

use super::*;

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
    let mut file = FileBuilder::new(4096);
    root(&mut file, &[inline("key", &elements), meta()]);
    assert_eq!(inspect(&file.bytes, 100).unwrap().torn.objects, wanted);
}

#[test]
fn values_that_only_look_like_objects_are_torn() {
    // The fixture's ConfigMaps begin like stored objects and contain no message.
    let packed = include_bytes!("../../../../tests/fixtures/etcd-3.6.16-snapshot.db.zst");
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
