//! Tests with keys made here, and a seal function that shares no code with the module.

use std::sync::LazyLock;

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::rand_core::OsRng;
use rsa::{Oaep, RsaPrivateKey};
use serde_json::{Value, json};

use super::*;

const SESSION: [u8; 32] = [7; 32];

/// Key with its certificate.
struct Pair {
    key: RsaPrivateKey,
    certificate: String,
}

impl Pair {
    fn of(year: i32) -> Self {
        let key = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let pair = KeyPair::from_pem(&pem).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(year, 1, 2);
        let certificate = params.self_signed(&pair).unwrap().pem();
        Self { key, certificate }
    }

    fn secret(&self, name: &str, state: Option<&str>) -> Value {
        let key = self.key.to_pkcs1_pem(LineEnding::LF).unwrap();
        let labels = state.map(|state| json!({ super::LABEL: state }));
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "namespace": "flux-system", "name": name, "labels": labels },
            "data": {
                "tls.crt": STANDARD.encode(&self.certificate),
                "tls.key": STANDARD.encode(key.as_bytes()),
            },
        })
    }

    fn seal(&self, label: &str, clear: &[u8]) -> Vec<u8> {
        let padding = Oaep::new_with_label::<rsa::sha2::Sha256, _>(label);
        let public = self.key.to_public_key();
        let wrapped = public.encrypt(&mut OsRng, padding, &SESSION).unwrap();
        let cipher = Aes256Gcm::new_from_slice(&SESSION).unwrap();
        let mut sealed = u16::try_from(wrapped.len()).unwrap().to_be_bytes().to_vec();
        sealed.extend(wrapped);
        sealed.extend(cipher.encrypt(&[0; 12].into(), clear).unwrap());
        sealed
    }
}

static OLD: LazyLock<Pair> = LazyLock::new(|| Pair::of(2024));
static NEW: LazyLock<Pair> = LazyLock::new(|| Pair::of(2025));

fn keyring(secrets: &[Value]) -> Keyring {
    let mut keyring = Keyring::new();
    for secret in secrets {
        keyring.add(secret.to_string().as_bytes()).unwrap();
    }
    keyring
}

fn sealed(annotations: &Value, item: &[u8]) -> Value {
    json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": { "namespace": "shop", "name": "db", "annotations": annotations },
        "spec": { "encryptedData": { "password": STANDARD.encode(item) } },
    })
}

fn prove(keyring: &Keyring, sealed: &Value) -> UnsealOutcome {
    keyring.prove(sealed.to_string().as_bytes())
}

fn why(proof: &UnsealOutcome) -> &str {
    match proof {
        UnsealOutcome::NotOpened { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_scope_has_its_label() {
    let keys = keyring(&[OLD.secret("key-1", Some("active"))]);
    let cluster = json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" });
    let namespace = json!({ "sealedsecrets.bitnami.com/namespace-wide": "true" });
    let both = json!({
        "sealedsecrets.bitnami.com/cluster-wide": "true",
        "sealedsecrets.bitnami.com/namespace-wide": "true",
    });
    let no = json!({ "sealedsecrets.bitnami.com/cluster-wide": "yes" });
    let labels = ["", "shop", "shop/db"];
    for (annotations, right) in [
        (&cluster, ""),
        (&both, ""),
        (&namespace, "shop"),
        (&no, "shop/db"),
        (&Value::Null, "shop/db"),
    ] {
        for label in labels {
            let proof = prove(&keys, &sealed(annotations, &OLD.seal(label, b"secret")));
            let opened = matches!(proof, UnsealOutcome::Opened { .. });
            assert_eq!(opened, label == right, "{annotations} {label:?}: {proof:?}");
        }
    }
}

#[test]
fn annotations_of_the_template_do_not_widen_the_scope() {
    let keys = keyring(&[OLD.secret("key-1", Some("active"))]);
    let mut object = sealed(&Value::Null, &OLD.seal("", b"secret"));
    object["spec"]["template"] = json!({ "metadata": { "annotations": { "sealedsecrets.bitnami.com/cluster-wide": "true" } } });
    why(&prove(&keys, &object));
}

#[test]
fn the_form_of_the_first_releases_is_opened() {
    let keys = keyring(&[OLD.secret("sealed-secrets-key", None)]);
    let mut object = sealed(&Value::Null, b"");
    object["spec"] = json!({ "data": STANDARD.encode(OLD.seal("shop/db", b"{}")) });
    assert!(matches!(
        prove(&keys, &object),
        UnsealOutcome::Opened { .. }
    ));
}

#[test]
fn keys_are_told_oldest_first_and_the_public_half_only() {
    let keys = keyring(&[
        NEW.secret("key-new", Some("active")),
        OLD.secret("key-old", Some("compromised")),
    ]);
    let facts = keys.facts();
    let told: Vec<_> = facts
        .iter()
        .map(|k| (k.secret.as_str(), k.state.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            ("flux-system/key-old", "compromised"),
            ("flux-system/key-new", "active")
        ]
    );
    let not_before = facts[0].not_before.unwrap().to_string();
    assert_eq!(not_before, "2024-01-02T00:00:00Z");
    assert_ne!(facts[0].certificate_sha256, facts[1].certificate_sha256);
    assert_eq!(format!("{keys:?}"), "Keyring(2 keys)");
}

#[test]
fn pkcs8_is_read_too() {
    let mut secret = OLD.secret("key-1", Some("active"));
    let pem = OLD.key.to_pkcs8_pem(LineEnding::LF).unwrap();
    secret["data"]["tls.key"] = STANDARD.encode(pem.as_bytes()).into();
    let keys = keyring(&[secret]);
    let object = sealed(&Value::Null, &OLD.seal("shop/db", b"secret"));
    assert!(matches!(
        prove(&keys, &object),
        UnsealOutcome::Opened { .. }
    ));
}

#[test]
fn a_key_that_is_gone_is_told() {
    let keys = keyring(&[NEW.secret("key-new", Some("active"))]);
    let object = sealed(&Value::Null, &OLD.seal("shop/db", b"secret"));
    let proof = prove(&keys, &object);
    assert_eq!(
        why(&proof),
        "keys tried: 1, and none opens its item password under the label \"shop/db\""
    );
    assert_eq!(
        why(&prove(&Keyring::new(), &object)),
        "there is no sealing key"
    );
}

#[test]
fn what_is_cut_off_or_damaged_is_told() {
    let keys = keyring(&[OLD.secret("key-1", Some("active"))]);
    let whole = OLD.seal("shop/db", b"secret");
    for length in [0, 1, 2, 100, 257] {
        let proof = prove(&keys, &sealed(&Value::Null, &whole[..length]));
        assert_eq!(why(&proof), "its item password is cut off", "{length}");
    }
    for length in [258, whole.len() - 1] {
        let proof = prove(&keys, &sealed(&Value::Null, &whole[..length]));
        assert!(why(&proof).ends_with("is damaged"), "{proof:?}");
    }
    let mut flipped = whole;
    *flipped.last_mut().unwrap() ^= 1;
    let proof = prove(&keys, &sealed(&Value::Null, &flipped));
    assert_eq!(
        why(&proof),
        "its item password is of key flux-system/key-1 and is damaged"
    );
}

#[test]
fn keys_that_the_controller_could_not_use_are_refused() {
    let damaged = |field: &str, value: Value| {
        let mut secret = OLD.secret("key-1", Some("active"));
        secret["data"][field] = value;
        secret
    };
    let mut opaque = OLD.secret("key-1", Some("active"));
    opaque["type"] = "Opaque".into();
    let pem = OLD.key.to_pkcs1_pem(LineEnding::LF).unwrap();
    let short = STANDARD.encode(&pem.as_bytes()[..pem.len() / 2]);
    let mut told = Vec::new();
    for secret in [
        opaque,
        damaged("tls.key", Value::Null),
        damaged("tls.key", "%".into()),
        damaged("tls.key", short.into()),
        damaged("tls.key", "A".repeat(1 << 20).into()),
        damaged("tls.crt", STANDARD.encode("no certificate").into()),
        damaged("tls.crt", STANDARD.encode(&NEW.certificate).into()),
        json!([1]),
    ] {
        let mut keys = Keyring::new();
        let problem = keys.add(secret.to_string().as_bytes()).unwrap_err();
        assert!(keys.facts().is_empty());
        told.push(problem.to_string());
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    sealing key flux-system/key-1: type is not kubernetes.io/tls
    sealing key flux-system/key-1: tls.key is missing
    sealing key flux-system/key-1: tls.key is not base64
    sealing key flux-system/key-1: tls.key is not an RSA key in PEM, PKCS#1 or PKCS#8
    sealing key flux-system/key-1: tls.key is longer than any key or certificate
    sealing key flux-system/key-1: tls.crt does not hold a certificate in PEM
    sealing key flux-system/key-1: tls.key does not belong to the certificate in tls.crt
    a sealing key's Secret is not readable JSON, at line 1 column 2
    ");
}

#[test]
fn a_trial_tells_what_stays_closed() {
    let mut trial = SealingKeyTrial::new();
    let secret = |value: Value| value.to_string().into_bytes();
    trial.key(&secret(OLD.secret("key-old", Some("compromised"))));
    let mut broken = NEW.secret("key-new", Some("active"));
    broken["data"]["tls.key"] = "".into();
    trial.key(&secret(broken));
    trial.sealed_secret(&secret(sealed(&Value::Null, &OLD.seal("shop/db", b"1"))));
    trial.sealed_secret(&secret(
        json!({ "metadata": { "name": "empty" }, "spec": {} }),
    ));
    for _ in 0..22 {
        trial.sealed_secret(&secret(sealed(&Value::Null, &NEW.seal("shop/db", b"2"))));
    }
    let (facts, findings) = trial.finish();
    assert_eq!((facts.sealed_secrets, facts.opened), (24, 2));
    assert_eq!(facts.keys.len(), 1);
    assert_eq!(findings.len(), 1 + 20 + 1 + 1);
    let mut told: Vec<String> = findings
        .iter()
        .map(|f| format!("{:?} {}: {}", f.severity, f.object, f.cause))
        .collect();
    told.dedup();
    insta::assert_snapshot!(told.join("\n"), @r#"
    Warning secrets flux-system/key-new: sealing key flux-system/key-new: tls.key is not an RSA key in PEM, PKCS#1 or PKCS#8
    Error sealedsecrets.bitnami.com shop/db: no sealing key of this restore point opens it: keys tried: 1, and none opens its item password under the label "shop/db"
    Error sealedsecrets.bitnami.com: 2 more are not opened by any sealing key either
    Warning sealedsecrets.bitnami.com: only a key marked as compromised opens shop/db (flux-system/key-old); the sealed-secrets controller does not read such keys when it starts
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let keys = keyring(&[OLD.secret("key-1", Some("active"))]);
        prop_assert!(Keyring::new().add(&bytes).is_err());
        let raw = matches!(keys.prove(&bytes), UnsealOutcome::NotOpened { .. } | UnsealOutcome::Empty);
        prop_assert!(raw);
        let item = matches!(prove(&keys, &sealed(&Value::Null, &bytes)), UnsealOutcome::NotOpened { .. });
        prop_assert!(item);
        // As long as a key's ciphertext, so that decryption is really tried.
        let mut tried = vec![1, 0];
        tried.extend(bytes.iter().chain([&0; 300]).take(300));
        let item = matches!(prove(&keys, &sealed(&Value::Null, &tried)), UnsealOutcome::NotOpened { .. });
        prop_assert!(item);
    }
}
