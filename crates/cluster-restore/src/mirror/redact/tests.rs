use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

fn of(resource: &str, spec: &Value) -> (Value, Vec<String>) {
    let object = json!({
        "apiVersion": "example.org/v1", "kind": "A",
        "metadata": {
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
            "managedFields": [{}], "finalizers": ["x"], "ownerReferences": [{}],
            "labels": { "l": "1" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "canary" },
        },
        "spec": spec, "status": { "canary": true },
    });
    let plain = redact(&ResourceName::from(resource), object).unwrap();
    assert!(
        !plain.value.to_string().contains("canary"),
        "{}",
        plain.value
    );
    let metadata = json!({ "name": "a", "namespace": "n", "labels": { "l": "1" } });
    assert_eq!(plain.value["metadata"], metadata);
    (plain.value["spec"].clone(), plain.left_out)
}

#[test]
fn what_may_be_secret_is_left_out_and_the_rest_stays() {
    let private = "-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----\n";
    let kept = json!({ "passwordSecretRef": { "name": "n" }, "n": [1, "two"], "args": ["-v"] });
    for secret in [
        json!({ "password": "canary" }),
        json!({ "admin-password": 4_711, "x": { "clientSecret": "canary" } }),
        json!({ "passwords": { "password": ["canary"] } }),
        json!({ "caBundle": private }),
        json!({ "caBundle": STANDARD.encode(private) }),
        json!({ "values": "replicas: 1\ndb:\n  password: canary\n" }),
        json!({ "values": "{\"db\":{\"password\": \"canary\"}}" }),
        json!({ "command": ["--verbose", "--token=canary"] }),
        json!({ "command": [["sh", "-c", "run --password canary password='canary'"]] }),
        json!({ "env": [{ "name": "A", "value": "b" }, { "name": "DB_PASSWORD", "value": "canary" }] }),
        json!({ "url": "postgres://user:canary@db:5432/x" }),
        json!({ "auth": "Bearer canary" }),
        json!({ "auth": "eyJhbGciOi.canary.x" }),
        json!({ "manifest": { "apiVersion": "v1", "kind": "Secret", "data": { "a": "canary" } } }),
        json!({ "raw": "apiVersion: v1\nkind: Secret\ndata:\n  a: canary\n" }),
    ] {
        let mut spec = secret.clone();
        spec["kept"] = kept.clone();
        let (spec, left_out) = of("things.example.org", &spec);
        assert!(!spec.to_string().contains("4711"), "{spec}");
        assert!(!left_out.is_empty(), "{secret}");
        assert_eq!(spec["kept"], kept, "{secret}");
    }
}

#[test]
fn what_is_known_to_be_secret_is_left_out() {
    let (spec, left_out) = of(
        "machinerequests.butler.butlerlabs.dev",
        &json!({ "userData": "#!canary", "cpu": 4 }),
    );
    assert_eq!(
        (spec, left_out),
        (json!({ "cpu": 4 }), vec!["spec.userData".to_owned()])
    );
    let (spec, _) = of(
        "datastores.steward.butlerlabs.dev",
        &json!({
            "driver": "etcd",
            "basicAuth": { "username": { "content": "canary" } },
            "tlsConfig": { "clientCertificate": {
                "certificate": { "content": "canary" },
                "privateKey": { "secretReference": { "name": "n", "keyPath": "tls.key" } },
            } },
        }),
    );
    let key = json!({ "secretReference": { "name": "n", "keyPath": "tls.key" } });
    assert_eq!(spec["tlsConfig"]["clientCertificate"]["privateKey"], key);
    let (spec, _) = of(
        "kubeadmconfigs.bootstrap.cluster.x-k8s.io",
        &json!({ "files": [{ "path": "/a", "content": "canary" }], "verbosity": 1 }),
    );
    assert_eq!(spec, json!({ "verbosity": 1 }));
}

#[test]
fn sealed_is_sealed_and_a_schema_is_a_schema() {
    let sealed = json!({
        "encryptedData": { "password": "AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq" },
        "template": { "type": "Opaque", "data": { "user": "canary" } },
    });
    let (spec, left_out) = of(SEALED_SECRETS, &sealed);
    let kept = json!({
        "encryptedData": { "password": "AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq" },
        "template": { "type": "Opaque" },
    });
    assert_eq!(
        (spec, left_out.as_slice()),
        (kept, &["spec.template.data".to_owned()][..])
    );
    let schema = json!({ "properties": { "password": { "type": "string", "default": "x" } } });
    let (spec, left_out) = of("customresourcedefinitions.apiextensions.k8s.io", &schema);
    assert_eq!((spec, left_out.len()), (schema, 0));
}

#[test]
fn names_of_secrets_and_ordinary_texts_stay() {
    let ordinary = json!({
        "secretName": "tls", "credentialsRef": { "name": "c", "key": "kubeconfig-file" },
        "automountServiceAccountToken": false, "url": "https://user@git.example.org/a:b",
        "text": "It has a token, and a password; see there", "image": "a/b:v1@sha256:00",
        "sshPublicKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"], "empty": { "password": "" },
    });
    let (spec, left_out) = of("things.example.org", &ordinary);
    assert_eq!((spec, left_out), (ordinary, Vec::<String>::new()));
}
