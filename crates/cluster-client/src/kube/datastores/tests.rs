use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use kube::client::Body;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::*;

/// Returns an API server that has these objects by their paths, and answers 404 for all others.
fn server(objects: BTreeMap<String, Value>) -> kube::Client {
    let answer = move |request: Request<Body>| {
        let found = objects.get(request.uri().path()).cloned();
        async move {
            let (code, body) = match found {
                Some(object) if object["kind"] == "Status" => (403, object),
                Some(object) => (200, object),
                None => {
                    let text = "the server could not find the requested resource";
                    (
                        404,
                        json!({ "kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound", "message": text }),
                    )
                }
            };
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    };
    kube::Client::new(tower::service_fn(answer), "default")
}

const STORES: &str = "/apis/steward.butlerlabs.dev/v1alpha1/datastores";

fn pem() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["etcd".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn reference(name: &str, key: &str) -> Value {
    json!({ "secretReference": { "name": name, "namespace": "steward-system", "keyPath": key } })
}

fn etcd_store(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "driver": "etcd",
            "endpoints": ["etcd-0.etcd.steward-system.svc:2379"],
            "basicAuth": null,
            "tlsConfig": {
                "certificateAuthority": {
                    "certificate": reference("etcd-certs", "ca.crt"),
                    "privateKey": reference("etcd-certs", "ca.key"),
                },
                "clientCertificate": {
                    "certificate": reference("root-client", "tls.crt"),
                    "privateKey": reference("root-client", "tls.key"),
                },
            },
        },
        "status": { "usedBy": ["one/cp", "two/cp"] },
    })
}

fn list_of(stores: &[Value]) -> Value {
    json!({
        "apiVersion": "steward.butlerlabs.dev/v1alpha1",
        "kind": "DataStoreList",
        "metadata": {},
        "items": stores,
    })
}

fn secret(data: &[(&str, &str)]) -> Value {
    let data: BTreeMap<_, _> = data.iter().map(|(k, v)| (*k, STANDARD.encode(v))).collect();
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x" }, "data": data })
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/steward-system/secrets/{name}")
}

/// Returns the objects of a server with one DataStore and both of its Secrets.
fn whole(store: Value) -> BTreeMap<String, Value> {
    let (certificate, key) = pem();
    BTreeMap::from([
        (STORES.to_owned(), list_of(&[store])),
        (path("etcd-certs"), secret(&[("ca.crt", &certificate)])),
        (
            path("root-client"),
            secret(&[("tls.crt", &certificate), ("tls.key", &key)]),
        ),
    ])
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

async fn one(objects: BTreeMap<String, Value>) -> Datastore {
    let mut found = datastores(&server(objects), now()).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn cause(store: &Datastore) -> &str {
    match &store.access {
        DatastoreAccess::Broken { cause } => cause,
        other => panic!("{other:?} is not broken"),
    }
}

#[tokio::test]
async fn without_the_kind_there_is_none() {
    let found = datastores(&server(BTreeMap::new()), now()).await.unwrap();
    assert!(found.is_empty());
}

#[tokio::test]
async fn an_etcd_is_reached_by_what_its_secrets_hold_and_prints_no_key() {
    let objects = whole(etcd_store("default"));
    let key = objects[&path("root-client")]["data"]["tls.key"].clone();
    let key = STANDARD.decode(key.as_str().unwrap()).unwrap();
    let key = String::from_utf8(key).unwrap();
    let store = one(objects).await;
    assert_eq!(store.used_by, ["one/cp", "two/cp"]);
    let DatastoreAccess::Etcd(options) = &store.access else {
        panic!("{store:?}");
    };
    assert_eq!(options.endpoints, ["etcd-0.etcd.steward-system.svc:2379"]);
    let printed = format!("{store:?}");
    let line = key.lines().nth(1).unwrap();
    assert!(!printed.contains(line), "{printed}");
    assert!(unmet(&[store]).is_empty());
}

#[tokio::test]
async fn content_is_taken_before_a_reference() {
    let (certificate, _) = pem();
    let mut store = etcd_store("default");
    let leaf = &mut store["spec"]["tlsConfig"]["certificateAuthority"]["certificate"];
    leaf["content"] = json!(STANDARD.encode(&certificate));
    let mut objects = whole(store);
    objects.remove(&path("etcd-certs"));
    let store = one(objects).await;
    let DatastoreAccess::Etcd(options) = &store.access else {
        panic!("{store:?}");
    };
    assert_eq!(options.tls.authority, certificate);
}

#[tokio::test]
async fn what_is_broken_is_named() {
    let mut told = Vec::new();
    let mut objects = whole(etcd_store("default"));
    objects.remove(&path("root-client"));
    told.push(one(objects).await);

    let mut objects = whole(etcd_store("default"));
    objects.insert(
        path("root-client"),
        secret(&[("tls.crt", "x"), ("other", "y")]),
    );
    told.push(one(objects).await);

    let mut objects = whole(etcd_store("default"));
    objects.insert(path("etcd-certs"), secret(&[("ca.crt", "no pem")]));
    told.push(one(objects).await);

    let mut objects = whole(etcd_store("default"));
    let forbidden = json!({
        "kind": "Status", "apiVersion": "v1", "code": 403,
        "message": "secrets \"etcd-certs\" is forbidden: User \"backup\" cannot get resource",
    });
    objects.insert(path("etcd-certs"), forbidden);
    told.push(one(objects).await);

    let mut store = etcd_store("default");
    store["spec"]["tlsConfig"] = Value::Null;
    told.push(one(whole(store)).await);

    let mut store = etcd_store("default");
    store["spec"]["tlsConfig"]["clientCertificate"]["privateKey"] = json!({});
    told.push(one(whole(store)).await);

    let mut store = etcd_store("default");
    store["spec"]["endpoints"] = json!("a-secret-in-the-wrong-place");
    told.push(one(whole(store)).await);

    let mut store = etcd_store("default");
    store["spec"]["endpoints"] = json!(["ftp://x"]);
    told.push(one(whole(store)).await);

    let told: Vec<_> = told.iter().map(cause).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn other_drivers_are_told_with_their_tenants() {
    let used: Vec<_> = (0..22).map(|i| format!("ns-{i}/cp")).collect();
    let mut sql = etcd_store("gold");
    sql["spec"] = json!({ "driver": "PostgreSQL", "endpoints": ["postgres:5432"] });
    sql["status"]["usedBy"] = json!(used);
    let mut broken = etcd_store("broken");
    broken["spec"]["tlsConfig"] = Value::Null;
    let mut idle = sql.clone();
    idle["metadata"]["name"] = json!("idle");
    idle["status"] = Value::Null;
    let mut objects = whole(Value::Null);
    objects.insert(STORES.to_owned(), list_of(&[sql, broken, idle]));
    let found = datastores(&server(objects), now()).await.unwrap();
    let names: Vec<_> = found.iter().map(|store| store.name.as_str()).collect();
    assert_eq!(names, ["broken", "gold", "idle"]);
    insta::assert_yaml_snapshot!(unmet(&found));
}

#[tokio::test]
async fn a_list_that_is_forbidden_is_an_error_and_not_an_empty_list() {
    let forbidden = json!({
        "kind": "Status", "apiVersion": "v1", "code": 403,
        "message": "datastores is forbidden: User \"backup\" cannot list resource",
    });
    let objects = BTreeMap::from([(STORES.to_owned(), forbidden)]);
    let error = datastores(&server(objects), now()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("cannot list"), "{error}: {cause}");
}
