use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyPair, PKCS_ED25519,
};

use super::*;

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn certificate(role: Option<&str>, usages: &[ExtendedKeyUsagePurpose]) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    if let Some(role) = role {
        params
            .distinguished_name
            .push(DnType::OrganizationName, role);
    }
    params.extended_key_usages = usages.to_vec();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

const CLIENT: [ExtendedKeyUsagePurpose; 1] = [ExtendedKeyUsagePurpose::ClientAuth];

#[test]
fn an_ordinary_certificate_gives_its_roles_and_no_warning() {
    let facts = examine(&certificate(Some("os:etcd:backup"), &CLIENT), now()).unwrap();
    assert_eq!(facts.roles, BTreeSet::from(["os:etcd:backup".to_owned()]));
    assert_eq!(facts.warnings, Vec::<String>::new());
}

#[test]
fn an_expired_certificate_says_since_when_and_what_to_do() {
    let late = "2027-01-01T00:00:01Z".parse().unwrap();
    let Err(error) = examine(&certificate(Some("os:admin"), &CLIENT), late) else {
        panic!("accepted");
    };
    assert!(error.contains("expired on 2027-01-01T00:00:00Z"), "{error}");
    assert!(error.contains("talosctl config new"), "{error}");
}

#[test]
fn a_certificate_of_tomorrow_points_to_the_clock() {
    let early = "2025-12-31T00:00:00Z".parse().unwrap();
    let Err(error) = examine(&certificate(Some("os:admin"), &CLIENT), early) else {
        panic!("accepted");
    };
    assert!(error.contains("clock"), "{error}");
}

#[test]
fn the_end_of_a_certificate_is_announced() {
    let near = "2026-12-20T00:00:00Z".parse().unwrap();
    let facts = examine(&certificate(Some("os:admin"), &CLIENT), near).unwrap();
    assert_eq!(facts.warnings.len(), 1);
    assert!(
        facts.warnings[0].contains("expires soon"),
        "{:?}",
        facts.warnings
    );
}

#[test]
fn any_usage_but_client_auth_is_noticed() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let server = certificate(Some("os:admin"), &[ServerAuth]);
    assert!(examine(&server, now()).is_err());
    for usages in [&[ClientAuth, ServerAuth][..], &[]] {
        let facts = examine(&certificate(Some("os:admin"), usages), now()).unwrap();
        assert!(facts.warnings[0].contains("1.12"), "{:?}", facts.warnings);
    }
}

#[test]
fn a_role_that_may_not_take_snapshots_is_noticed() {
    for role in [Some("os:reader"), None] {
        let facts = examine(&certificate(role, &CLIENT), now()).unwrap();
        assert!(
            facts.warnings[0].contains("os:etcd:backup"),
            "{:?}",
            facts.warnings
        );
    }
}

#[test]
fn a_key_with_talos_own_label_is_read() {
    // The key of RFC 8410, section 10.3: PKCS#8 version 1, without the public half.
    let body = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    for label in ["ED25519 PRIVATE KEY", "PRIVATE KEY"] {
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let key = private_key(&pem).unwrap();
        assert!(matches!(key, PrivateKeyDer::Pkcs8(_)));
        rustls::crypto::ring::sign::any_eddsa_type(match &key {
            PrivateKeyDer::Pkcs8(key) => key,
            _ => unreachable!("matched above"),
        })
        .unwrap();
    }
    let error = private_key(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED \
                             PRIVATE KEY-----\n",
    )
    .unwrap_err();
    assert!(error.contains("encrypted"), "{error}");
}

#[test]
fn several_authorities_are_all_read() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // An unknown extension must not matter.
        let extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        params.custom_extensions.push(extension);
        params.self_signed(&key).unwrap().pem()
    };
    assert_eq!(
        certificates(&format!("{}{}", pem("a"), pem("b")))
            .unwrap()
            .len(),
        2
    );
    assert!(certificates("nothing").is_err());
}
