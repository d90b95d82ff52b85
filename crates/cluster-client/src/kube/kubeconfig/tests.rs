use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use super::*;

fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2031, 5, 6);
    let pem = params.self_signed(&key).unwrap().pem();
    (STANDARD.encode(pem), STANDARD.encode(key.serialize_pem()))
}

fn config() -> Value {
    let (certificate, key) = certificate();
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [
            { "name": "other", "cluster": { "server": "https://192.0.2.1" } },
            { "name": "lab", "cluster": {
                "server": "https://192.0.2.9:6443/", "certificate-authority-data": certificate,
            } },
        ],
        "users": [{ "name": "admin", "user": {
            "client-certificate-data": certificate, "client-key-data": key,
        } }],
        "contexts": [{ "name": "here", "context": { "cluster": "lab", "user": "admin" } }],
    })
}

fn cluster(config: &mut Value) -> &mut Value {
    &mut config["clusters"][1]["cluster"]
}

fn user(config: &mut Value) -> &mut Value {
    &mut config["users"][0]["user"]
}

fn unusable(config: &Value) -> String {
    let examined = examine("x/y admin.conf", config.to_string().as_bytes());
    assert!(examined.client.is_none());
    examined.facts.unusable.unwrap()
}

#[test]
fn the_current_context_decides() {
    let examined = examine("x/y admin.conf", config().to_string().as_bytes());
    let facts = examined.facts;
    assert_eq!(facts.unusable, None);
    assert_eq!(facts.origin, "x/y admin.conf");
    assert_eq!(facts.server.unwrap(), "https://192.0.2.9:6443");
    let until = "2031-05-06T00:00:00Z";
    assert_eq!(facts.ca_not_after.unwrap().to_string(), until);
    assert_eq!(facts.client_not_after.unwrap().to_string(), until);
    assert!(facts.ca_sha256.is_some());
    let access = examined.client.unwrap();
    assert_eq!(
        format!("{access:?}"),
        "KubeconfigAccess(https://192.0.2.9:6443)"
    );
}

#[tokio::test]
async fn every_readable_certificate_of_an_authority_is_known() {
    let mut config = config();
    let (one, _) = certificate();
    let (two, _) = certificate();
    let pem = |text: &str| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("{broken}# the old one\n{}{broken}{}", pem(&one), pem(&two));
    cluster(&mut config)["certificate-authority-data"] = STANDARD.encode(&bundle).into();
    let examined = examine("x/y admin.conf", config.to_string().as_bytes());
    let facts = examined.facts;
    assert_eq!(facts.unusable, None);
    let digests = pem_sha256(bundle.as_bytes());
    assert_eq!(digests.len(), 2);
    let held: Vec<Digest> = facts.trusted().into_iter().map(|a| a.sha256).collect();
    assert_eq!(held, digests);
    let client = examined.client.unwrap();
    assert_eq!(client.authorities.len(), 2);
    assert!(
        client
            .client(std::time::Duration::from_secs(1), &Default::default())
            .is_ok()
    );
    // One of them only, as in earlier restore points.
    let only = KubeconfigFacts {
        ca_sha256: Some(digests[0]),
        ..KubeconfigFacts::default()
    };
    assert_eq!(only.trusted().len(), 1);
}

#[tokio::test]
async fn it_is_read_however_it_was_saved() {
    let mut config = config();
    let folded = |value: &Value| {
        let text = value.as_str().unwrap();
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(60)
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect();
        lines.join("\n")
    };
    for field in ["client-certificate-data", "client-key-data"] {
        user(&mut config)[field] = folded(&user(&mut config.clone())[field]).into();
    }
    user(&mut config)["token"] = "token\n".into();
    cluster(&mut config)["server"] = "https://192.0.2.9:6443\n".into();
    cluster(&mut config)["proxy-url"] = "socks5://192.0.2.7\n".into();
    let text = config.to_string();
    let wide = std::iter::once(0xfeff).chain(text.encode_utf16());
    let wide: Vec<u8> = wide.flat_map(u16::to_le_bytes).collect();
    for bytes in [
        text.clone().into_bytes(),
        format!("\u{feff}{text}").into_bytes(),
        wide,
    ] {
        let examined = examine("x", &bytes);
        assert_eq!(examined.facts.unusable, None);
        let client = examined.client.unwrap();
        assert_eq!(client.server(), "https://192.0.2.9:6443");
        let limit = std::time::Duration::from_secs(1);
        client.client(limit, &Default::default()).unwrap();
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    let mut told = Vec::new();
    let mut case = |change: fn(&mut Value)| {
        let mut config = config();
        change(&mut config);
        told.push(unusable(&config));
    };
    case(|c| user(c)["exec"] = json!({ "command": "touch", "args": ["/tmp/x"] }));
    case(|c| user(c)["auth-provider"] = json!({ "name": "oidc" }));
    case(|c| user(c)["client-key"] = "/etc/passwd".into());
    case(|c| {
        cluster(c)["certificate-authority"] = "ca.crt".into();
        user(c)["tokenFile"] = "token".into();
    });
    case(|c| cluster(c)["insecure-skip-tls-verify"] = true.into());
    case(|c| cluster(c)["proxy-url"] = "ftp://me:secret@192.0.2.7".into());
    case(|c| user(c)["as"] = "root".into());
    case(|c| cluster(c)["server"] = "http://192.0.2.9".into());
    case(|c| cluster(c)["server"] = "https://me:secret@192.0.2.9".into());
    case(|c| cluster(c)["certificate-authority-data"] = "%".into());
    case(|c| cluster(c)["certificate-authority-data"] = Value::Null);
    case(|c| user(c)["client-key-data"] = Value::Null);
    case(|c| *user(c) = json!({ "username": "u", "password": "p" }));
    case(|c| *user(c) = Value::Null);
    case(|c| c["current-context"] = Value::Null);
    case(|c| c["current-context"] = "gone".into());
    case(|c| c["contexts"][0]["context"]["user"] = "gone".into());
    case(|c| *c = json!({ "users": "secret" }));
    case(|c| *c = Value::Null);
    insta::assert_snapshot!(told.join("\n"), @r#"
    it runs a program (exec), which is not supported
    it runs a plugin (auth-provider), which is not supported
    it names files (client-key), which are never opened: write their contents into it with `kubectl config view --flatten --raw`
    it names files (certificate-authority, tokenFile), which are never opened: write their contents into it with `kubectl config view --flatten --raw`
    insecure-skip-tls-verify is set: credentials would go to any server that answers
    proxy-url is not the address of a proxy; want http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT
    it acts as another user (as), which is not supported
    server is not https: credentials would be sent unencrypted
    server holds more than an address, and may hold a password
    certificate-authority-data is not base64
    certificate-authority-data is missing
    client-key-data is missing
    it has a password only, which no API server has accepted since 1.19
    it has neither a client certificate nor a token
    current-context is not set
    its current context "gone" is not there
    its user "gone" is not there
    it is not a kubeconfig: line 1, column 10 (users)
    it is not a kubeconfig: line 1, column 1 (.)
    "#);
}

#[test]
fn the_server_of_a_refused_address_is_not_told() {
    let mut config = config();
    cluster(&mut config)["server"] = "https://me:secret@192.0.2.9".into();
    let examined = examine("x", config.to_string().as_bytes());
    assert_eq!(examined.facts.server, None);
    assert!(!format!("{examined:?}").contains("secret"));
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "[ -~\n]{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(examine("x", text.as_bytes()).client.is_none());
        prop_assert!(examine("x", &bytes).client.is_none());
    }
}
