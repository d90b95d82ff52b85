use jiff::Timestamp;
use serde_json::json;

use super::check::{TenantCheck, same_address};
use super::cluster::{ControlPlane, TenantCluster};
use super::credentials::is_name;
use super::query::Node;
use backup_core::digest::Digest;
use backup_core::format::export::{AuthorityFacts, KubeconfigFacts};
use backup_core::format::manifest::Severity;

fn tenant(status: &serde_json::Value) -> TenantCluster {
    serde_json::from_value(json!({
        "metadata": { "namespace": "team-a", "name": "shop", "uid": "u-1" },
        "spec": { "kubernetesVersion": "v1.36.1", "workers": { "replicas": 3 } },
        "status": status,
    }))
    .unwrap()
}

fn told(check: &TenantCheck) -> Vec<(Severity, &str)> {
    let told = check.findings.iter();
    told.map(|f| (f.severity, f.cause.as_str())).collect()
}

#[test]
fn a_tenant_tells_what_its_fields_say() {
    let facts = tenant(&json!({
        "phase": "Ready", "tenantNamespace": "shop-1", "workerNodesReady": 2,
        "controlPlaneEndpoint": "",
    }))
    .facts();
    assert_eq!(facts.kubernetes_version.as_deref(), Some("v1.36.1"));
    assert_eq!(facts.tenant_namespace.as_deref(), Some("shop-1"));
    assert_eq!(
        (facts.workers_desired, facts.workers_ready),
        (Some(3), Some(2))
    );
    assert_eq!(facts.endpoint, None);
}

#[test]
fn the_status_of_a_control_plane_has_the_last_word() {
    let plane = |spec, status| {
        let metadata = json!({ "namespace": "shop-1", "name": "shop" });
        let object = json!({ "metadata": metadata, "spec": spec, "status": status });
        serde_json::from_value::<ControlPlane>(object)
            .unwrap()
            .facts
    };
    let spec = json!({ "dataStore": "default", "dataStoreSchema": "mine" });
    assert_eq!(plane(json!({}), json!({})).schema, "shop_1_shop");
    assert_eq!(plane(spec.clone(), json!({})).schema, "mine");
    let status = json!({
        "storage": { "dataStoreName": "other", "setup": { "schema": "old" } },
        "kubernetesResources": { "version": { "version": "v1.36.0", "status": "Sleeping" } },
    });
    let facts = plane(spec, status);
    assert_eq!(
        (facts.schema.as_str(), facts.datastore.as_deref()),
        ("old", Some("other"))
    );
    assert_eq!(facts.status.as_deref(), Some("Sleeping"));
}

#[test]
fn phases_that_matter_are_told() {
    let ready = tenant(&json!({ "phase": "Ready" }));
    assert_eq!(
        told(&TenantCheck::of(&ready)),
        [(
            Severity::Warning,
            "it is Ready and its status names no tenantNamespace"
        )]
    );
    let young = TenantCheck::of(&tenant(&json!({ "phase": "Provisioning" })));
    assert_eq!(told(&young)[0].0, Severity::Info);
    let none = TenantCheck::of(&tenant(&json!({})));
    assert!(told(&none)[0].1.contains("none yet"));
    assert_eq!(
        told(&TenantCheck::of(&tenant(&json!({ "phase": "Failed" }))))[0].0,
        Severity::Warning
    );
}

#[test]
fn a_tenant_that_sleeps_is_no_warning() {
    let status = json!({ "phase": "Ready", "tenantNamespace": "shop-1" });
    let mut check = TenantCheck::of(&tenant(&status));
    check.fail("nobody there");
    assert_eq!(told(&check)[0].0, Severity::Warning);
    let mut check = TenantCheck::of(&tenant(&status));
    check.facts.control_plane = Some(backup_core::format::export::ControlPlaneFacts {
        status: Some("Sleeping".to_owned()),
        ..Default::default()
    });
    check.fail("nobody there");
    assert_eq!(told(&check)[0].0, Severity::Info);
    assert_eq!(check.facts.answer.failure.as_deref(), Some("nobody there"));
}

#[test]
fn a_kubeconfig_is_held_against_the_cluster() {
    let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let status = json!({
        "phase": "Ready", "tenantNamespace": "shop-1",
        "controlPlaneEndpoint": "192.0.2.9:6443",
    });
    let right = KubeconfigFacts {
        origin: "shop-1/shop-admin-kubeconfig admin.conf".to_owned(),
        server: Some("https://192.0.2.9:6443".to_owned()),
        ca_sha256: Some(Digest::of(b"ca")),
        ca_not_after: at("2036-01-01T00:00:00Z"),
        authorities: Vec::new(),
        client_not_after: at("2026-12-25T00:00:00Z"),
        unusable: None,
    };
    let judge = |facts: &KubeconfigFacts, key: &str| {
        let mut check = TenantCheck::of(&tenant(&status));
        check.authority = vec![Digest::of(b"ca")];
        check.kubeconfig(facts, key, now);
        let causes = check.findings.iter().map(|f| f.cause.clone());
        causes.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(judge(&right, "admin.conf"), "");
    let soon = KubeconfigFacts {
        client_not_after: at("2026-12-23T00:00:00Z"),
        ca_not_after: at("2026-11-01T00:00:00Z"),
        ..right.clone()
    };
    let told = judge(&soon, "admin.conf");
    assert!(told.contains("expires at 2026-12-23"), "{told}");
    assert!(told.contains("expired at 2026-11-01"), "{told}");
    let other = KubeconfigFacts {
        ca_sha256: Some(Digest::of(b"another")),
        server: Some("https://192.0.2.8:6443".to_owned()),
        ..right
    };
    assert!(judge(&other, "admin.conf").contains("not that of its control plane"));
    assert!(judge(&other, "admin.conf").contains("is https://192.0.2.8:6443"));
    assert!(!judge(&other, "admin.svc").contains("192.0.2.8"));
}

#[test]
fn any_certificate_of_an_authority_counts() {
    let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
    let held = |name: &[u8], until: &str| AuthorityFacts {
        sha256: Digest::of(name),
        not_after: Some(until.parse().unwrap()),
    };
    let told = |first: AuthorityFacts, second: AuthorityFacts, plane: &[&[u8]]| {
        let mut facts = KubeconfigFacts {
            ca_sha256: Some(first.sha256),
            ca_not_after: first.not_after.max(second.not_after),
            authorities: vec![first, second],
            ..KubeconfigFacts::default()
        };
        let plane: Vec<Digest> = plane.iter().map(|name| Digest::of(name)).collect();
        facts.narrow(&plane);
        let mut check = TenantCheck::of(&tenant(
            &json!({ "phase": "Ready", "tenantNamespace": "a" }),
        ));
        check.authority = plane;
        check.kubeconfig(&facts, "admin.conf", now);
        let causes = check.findings.iter().map(|f| f.cause.clone());
        (facts.ca_sha256, causes.collect::<Vec<_>>().join("\n"))
    };
    let (old, new) = (
        held(b"old", "2020-01-01T00:00:00Z"),
        held(b"new", "2036-01-01T00:00:00Z"),
    );
    // While the authority is replaced, the file contains both, in either order.
    let fine = (Some(Digest::of(b"new")), String::new());
    assert_eq!(told(old.clone(), new.clone(), &[b"new"]), fine);
    assert_eq!(told(new.clone(), old.clone(), &[b"new"]), fine);
    assert_eq!(told(old.clone(), new.clone(), &[b"other", b"new"]), fine);
    // The control plane's authority is unknown: one that stays valid is enough.
    assert_eq!(told(old.clone(), new.clone(), &[]).1, "");
    // The control plane's own authority has expired.
    let (_, ended) = told(new.clone(), old.clone(), &[b"old"]);
    assert!(ended.contains("expired at 2020-01-01"), "{ended}");
    let (_, foreign) = told(old, new, &[b"another"]);
    assert!(
        foreign.contains("not that of its control plane"),
        "{foreign}"
    );
}

#[test]
fn addresses_are_compared_with_and_without_a_scheme() {
    assert!(same_address("192.0.2.9:6443", "https://192.0.2.9:6443"));
    assert!(same_address(
        "https://Shop.example:443",
        "https://shop.example"
    ));
    assert!(same_address("192.0.2.9", "https://192.0.2.9:6443"));
    assert!(!same_address("192.0.2.9:6443", "https://192.0.2.9:6444"));
    assert!(!same_address("192.0.2.9:6443", "https://192.0.2.8:6443"));
}

#[test]
fn ready_workers_are_counted() {
    let node = |labels, status| {
        serde_json::from_value::<Node>(json!({
            "metadata": { "labels": labels },
            "status": { "conditions": [{ "type": "Ready", "status": status }] },
        }))
        .unwrap()
        .counts()
    };
    assert!(node(json!({ "zone": "a" }), "True"));
    assert!(!node(json!({}), "Unknown"));
    assert!(!node(
        json!({ "node-role.kubernetes.io/control-plane": "" }),
        "True"
    ));
}

#[test]
fn a_status_cannot_lead_to_another_path() {
    for name in ["", "..", "a/b", "a?b", "A", "a%2fb", "a#b"] {
        assert!(!is_name(name), "{name}");
    }
    assert!(is_name("shop-1.example"));
}
