use super::*;
use serde_json::json;

fn from(namespace: Option<&str>) -> Referrer<'_> {
    Referrer {
        resource: "xs.example.com",
        namespace,
        name: "x",
    }
}

fn collected(namespace: Option<&str>, object: &Value) -> References {
    let mut references = References::default();
    references.collect(from(namespace), object);
    references
}

fn missing(object: &Value) -> Vec<String> {
    let references = collected(Some("own"), object);
    let missing = references.missing();
    let text = |r: &MissingReference<'_>| {
        let namespace = r.namespace.unwrap_or("?");
        format!("{:?} {namespace}/{}", r.target, r.name)
    };
    missing.iter().map(text).collect()
}

#[test]
fn references_without_doubt_are_found_by_shape() {
    let object = json!({
        "metadata": { "name": "no", "annotations": { "secretName": "not-this" } },
        "spec": {
            "credentialsRef": { "name": "harvester", "namespace": "butler-system", "key": "k" },
            "gitProvider": { "secretRef": { "name": "git" } },
            "tls": [{ "secretName": "tls" }],
            "tlsConfig": { "certificateAuthority": {
                "certificate": { "secretReference": { "name": "ca", "namespace": "steward-system" } },
            } },
            "env": [
                { "valueFrom": { "secretKeyRef": { "name": "maybe", "optional": true } } },
                { "valueFrom": { "configMapKeyRef": { "name": "settings" } } },
            ],
            "valuesFrom": [{ "kind": "ConfigMap", "name": "values" }],
            "imagePullSecrets": [{ "name": "pull" }],
            "superuserSecret": { "name": "made-later" },
            "files": [{ "contentFrom": { "secret": { "name": "node", "key": "k" } } }],
            "parameters": { "node-secret-name": "csi", "node-secret-namespace": "longhorn-system" },
        },
        "status": { "passwordSecretRef": { "name": "butler-user-a-password" } },
    });
    assert_eq!(
        missing(&object),
        [
            "Secret butler-system/harvester",
            "Secret longhorn-system/csi",
            "Secret own/butler-user-a-password",
            "Secret own/git",
            "Secret own/node",
            "Secret own/pull",
            "Secret own/tls",
            "Secret steward-system/ca",
            "ConfigMap own/settings",
            "ConfigMap own/values",
        ]
    );
}

/// References in the forms of various operators, each with the name `it`.
#[test]
fn a_name_below_a_field_that_speaks_of_secrets_is_taken() {
    for spec in [
        json!({ "listeners": [{ "tls": { "certificateRefs": [{ "name": "it" }] } }] }),
        json!({ "servers": [{ "tls": { "credentialName": "it" } }] }),
        json!({ "basicAuth": { "username": { "name": "it", "key": "user" } } }),
        json!({ "tlsConfig": { "ca": { "secret": { "name": "it", "key": "ca" } } } }),
        json!({ "tlsConfig": { "keySecret": { "name": "it", "key": "k" } } }),
        json!({ "configSecret": "it" }),
        json!({ "additionalScrapeConfigs": { "name": "it", "key": "c" } }),
        json!({ "source": { "http": { "url": "https://x", "secretRef": "it" } } }),
        json!({ "authSecretRef": "it" }),
        json!({ "credential": { "name": "it", "key": "cloud" } }),
        json!({ "writeConnectionSecretToRef": { "name": "it", "namespace": "own" } }),
        json!({ "superuserSecret": { "name": "it" } }),
        json!({ "s3Credentials": { "accessKeyId": { "name": "it", "key": "a" } } }),
        json!({ "prism": { "credentialRef": { "kind": "Secret", "name": "it", "namespace": "own" } } }),
        json!({ "clientSecretName": "it" }),
        json!({ "valuesFrom": [{ "kind": "Secret", "name": "it" }] }),
        json!({ "acme": { "privateKeySecretRef": { "name": "it" } } }),
        json!({ "hetznerSecretRef": { "name": "it", "key": { "token": "t" } } }),
        json!({ "bootstrap": { "dataSecretName": "it" } }),
        json!({ "secretStoreRef": { "name": "s", "kind": "SecretStore" }, "target": { "name": "it" } }),
        json!({ "passwordSecretKeySelector": { "name": "it", "key": "p" } }),
        json!({ "files": [{ "contentFrom": { "secret": { "name": "it", "key": "k" } } }] }),
        json!({ "values": { "postgres": { "existing": "it" } } }),
        json!({ "tls": { "certs": ["own/it"] } }),
        json!({ "secretName": "it", "targetNamespace": "elsewhere" }),
    ] {
        let mut references = collected(Some("own"), &json!({ "spec": spec }));
        assert!(
            references.mark_present(ReferenceTarget::Secret, "own", "it"),
            "{spec}"
        );
        assert!(
            !references.mark_present(ReferenceTarget::Secret, "other", "it"),
            "{spec}"
        );
        assert!(
            !references.mark_present(ReferenceTarget::Secret, "own", "other"),
            "{spec}"
        );
    }
    let annotated = json!({ "metadata": { "annotations": { "example.com/auth-secret": "it" } } });
    assert!(collected(Some("own"), &annotated).mark_present(ReferenceTarget::Secret, "own", "it"));
}

#[test]
fn a_name_elsewhere_is_not_taken() {
    for object in [
        json!({ "metadata": { "name": "it", "labels": { "app": "it" } } }),
        json!({ "spec": { "containers": [{ "name": "it", "image": "it" }] } }),
        json!({ "spec": { "issuerRef": { "kind": "Issuer", "name": "it" } } }),
        json!({ "spec": { "configMapRef": { "name": "it" } } }),
        json!({ "spec": { "secretRef": { "name": "it", "namespace": "other" } } }),
        json!({ "spec": { "replicas": "it" } }),
    ] {
        let mut references = collected(Some("own"), &object);
        assert!(
            !references.mark_present(ReferenceTarget::Secret, "own", "it"),
            "{object}"
        );
    }
    let settings = json!({ "spec": { "secretRef": { "name": "it" } } });
    assert!(!collected(Some("own"), &settings).mark_present(
        ReferenceTarget::ConfigMap,
        "own",
        "it"
    ));
}

#[test]
fn the_namespace_beside_or_around_is_looked_at() {
    let around = json!({ "spec": { "targetNamespace": "other", "values": { "secret": "it" } } });
    let mut references = collected(Some("own"), &around);
    for namespace in ["own", "other"] {
        assert!(references.mark_present(ReferenceTarget::Secret, namespace, "it"));
    }
    let beside = json!({ "parameters": {
        "csi.storage.k8s.io/provisioner-secret-name": "it",
        "csi.storage.k8s.io/provisioner-secret-namespace": "other",
    } });
    let mut references = collected(None, &beside);
    assert!(references.mark_present(ReferenceTarget::Secret, "other", "it"));
    assert!(!references.mark_present(ReferenceTarget::Secret, "third", "it"));
}

#[test]
fn the_status_of_a_tenant_means_its_own_namespace() {
    let tenant = json!({
        "spec": { "infrastructure": { "secretRef": { "name": "a" } } },
        "status": { "tenantNamespace": "one-1a2b", "kubeconfigSecretRef": { "name": "k" } },
    });
    assert_eq!(missing(&tenant), ["Secret one-1a2b/k", "Secret own/a"]);
}

#[test]
fn what_is_there_is_no_reference_to_nothing() {
    let user = json!({ "status": { "passwordSecretRef": { "name": "a" } } });
    let mut references = collected(None, &user);
    assert!(!references.mark_present(ReferenceTarget::Secret, "x", "b"));
    assert!(!references.mark_present(ReferenceTarget::ConfigMap, "x", "a"));
    assert!(references.mark_present(ReferenceTarget::Secret, "x", "a"));
    assert!(references.missing().is_empty());
}

#[test]
fn a_reference_of_the_whole_cluster_is_missed_where_its_operator_looks() {
    let issuer = json!({ "spec": { "acme": { "privateKeySecretRef": { "name": "account" } } } });
    let namespaces = |resource: &str| {
        let mut references = References::default();
        let by = Referrer {
            resource,
            namespace: None,
            name: "le",
        };
        references.collect(by, &issuer);
        let missing = references.missing();
        assert_eq!(missing.len(), 1);
        missing
            .first()
            .and_then(|u| u.namespace.map(ToOwned::to_owned))
    };
    let at = |resource: &str| namespaces(resource).unwrap_or_default();
    assert_eq!(at("clusterissuers.cert-manager.io"), "cert-manager");
    assert_eq!(at("users.butler.butlerlabs.dev"), "butler-system");
    assert_eq!(at("users.example.com"), "");
}

#[test]
fn too_many_names_take_every_secret() {
    let mut references = References::default();
    let many: Vec<String> = (0..MAX_NAMES / 2).map(|n| format!("n{n}")).collect();
    references.collect(from(Some("own")), &json!({ "spec": { "auth": many } }));
    assert!(references.names.len() <= MAX_NAMES);
    assert!(references.mark_present(ReferenceTarget::Secret, "other", "any"));
}
