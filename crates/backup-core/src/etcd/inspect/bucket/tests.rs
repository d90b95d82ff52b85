//! Tests of the entries of each bucket.

use super::*;

fn check(role: BucketRole, key: &[u8], value: &[u8]) -> bool {
    let mut fits = BucketSet::ALL;
    fits.narrow(false, key, value);
    fits.has(role)
}

#[test]
fn entries_of_bucket_meta_are_decoded() {
    let meta = |key: &str, value: &[u8]| check(BucketRole::Meta, key.as_bytes(), value);
    for key in ["consistent_index", "term"] {
        assert!(meta(key, &[0; 8]));
        assert!(!meta(key, &[0; 7]) && !meta(key, &[0; 9]) && !meta(key, &[]));
    }
    let revision = b"\0\0\0\0\0\0\0\x07_\0\0\0\0\0\0\0\0";
    for key in ["finishedCompactRev", "scheduledCompactRev"] {
        assert!(meta(key, revision));
        assert!(!meta(key, &revision[..16]) && !meta(key, &[0; 17]));
        assert!(!meta(key, &[&[0xFF][..], &revision[1..]].concat()));
    }
    assert!(meta("storageVersion", b"3.6.0") && meta("storageVersion", b"3.17.0"));
    for wrong in [
        "3.5.0",
        "3.6",
        "3.6.0.1",
        "",
        "3.x.0",
        "+3.6.0",
        "\0\0\0\0\0",
    ] {
        assert!(!meta("storageVersion", wrong.as_bytes()), "{wrong}");
    }
    assert!(meta(
        "confState",
        br#"{"voters":[18249187646912138824],"auto_leave":false}"#
    ));
    assert!(!meta("confState", br#"{"voters":[182"#) && !meta("confState", b""));
    assert!(!meta("confState", br#"{"voters":"a"}"#));
    assert!(meta("of a later version", b"anything"));
}

#[test]
fn entries_of_small_buckets_are_decoded() {
    let id = 7_u64.to_be_bytes();
    assert!(check(BucketRole::Lease, &id, b"\x08\x07\x10\x3c"));
    assert!(!check(BucketRole::Lease, &id, b"\x08\x07\x10") && !check(BucketRole::Lease, &id, b""));
    assert!(!check(BucketRole::Lease, &id, b"\x08\x08\x10\x3c"));
    assert!(!check(BucketRole::Lease, &id[1..], b"\x08\x07\x10\x3c"));
    assert!(check(BucketRole::Alarm, b"\x08\x07\x10\x01", b""));
    assert!(!check(BucketRole::Alarm, b"\x08\x07\x10", b""));
    assert!(!check(BucketRole::Alarm, b"\x0a\x07", b"") && !check(BucketRole::Alarm, b"\0\0", b""));
    let member = br#"{"id":9372538179322589801,"peerURLs":["http://a"],"name":"a"}"#;
    assert!(check(BucketRole::Members, b"8211f1d0f64f3269", member));
    assert!(!check(BucketRole::Members, b"8211f1d0f64f3268", member));
    assert!(!check(
        BucketRole::Members,
        b"8211f1d0f64f3269",
        &member[..40]
    ));
    assert!(check(BucketRole::Removed, b"8211f1d0f64f3269", b"removed"));
    assert!(
        !check(BucketRole::Removed, b"a member", b"removed")
            && !check(BucketRole::Removed, b"", b"")
    );
    assert!(check(BucketRole::Cluster, b"clusterVersion", b"3.6.0"));
    assert!(!check(BucketRole::Cluster, b"clusterVersion", b"3.6"));
    let downgrade = |value: &[u8]| check(BucketRole::Cluster, b"downgrade", value);
    assert!(downgrade(br#"{"target-version":"","enabled":false}"#));
    assert!(downgrade(br#"{"target-version":"3.5.0","enabled":true}"#));
    assert!(!downgrade(br#"{"target-version":"","enabled":true}"#) && !downgrade(b"{"));
}

#[test]
fn entries_of_auth_buckets_are_decoded() {
    assert!(
        check(BucketRole::Auth, b"authEnabled", b"\x01")
            && check(BucketRole::Auth, b"authEnabled", b"\0")
    );
    assert!(
        !check(BucketRole::Auth, b"authEnabled", b"\x07")
            && !check(BucketRole::Auth, b"authEnabled", b"")
    );
    assert!(check(BucketRole::Auth, b"authRevision", &[0; 8]));
    assert!(!check(BucketRole::Auth, b"authRevision", &[0; 7]));
    let user = b"\x0a\x04root\x12\x03abc\x1a\x04root\x22\x02\x08\x01";
    assert!(check(BucketRole::Users, b"root", user));
    assert!(!check(BucketRole::Users, b"ro", user));
    assert!(!check(BucketRole::Users, b"root", &user[..user.len() - 1]));
    let role = b"\x0a\x04root\x12\x08\x08\x02\x12\x01a\x1a\x01b";
    assert!(check(BucketRole::Roles, b"root", role));
    assert!(!check(BucketRole::Roles, b"root", &role[..role.len() - 1]));
    assert!(!check(
        BucketRole::Roles,
        b"root",
        b"\x0a\x04root\x12\x02\x08\x80"
    ));
}

#[test]
fn versions_of_one_etcd_agree() {
    let agree = |storage: &str, cluster: &str| {
        let part = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        EtcdVersion::agree(part(storage).as_deref(), part(cluster).as_deref())
    };
    assert!(agree("3.6.0", "3.6.0") && agree("3.7.0", "3.6.0") && agree("3.6.0", "3.7.0"));
    assert!(agree("", "3.5.0") && agree("", "3.6.0") && agree("3.6.0", "") && agree("", ""));
    assert!(!agree("3.6.0", "9.6.0") && !agree("3.6.0", "3.8.0") && !agree("", "3.7.0"));
}
