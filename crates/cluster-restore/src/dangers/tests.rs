use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::secrets::SEALING_KEY;
use super::*;
use crate::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use serde_json::json;

const NOW: &str = "2026-11-24T03:00:00Z";

fn certificate(year: i32) -> String {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn secret(name: &str, data: &[(&str, &str)]) -> (String, Value) {
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(STANDARD.encode(v))))
        .collect();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": name, "namespace": "alpha-1",
            "labels": { "steward.butlerlabs.dev/project": "steward" },
        },
        "data": data,
    });
    (
        format!("resources/secrets/namespaces/alpha-1/{name}.json"),
        object,
    )
}

fn plane(namespace: &str, change: impl Fn(&mut Value)) -> (String, Value) {
    let mut object = json!({
        "apiVersion": "steward.butlerlabs.dev/v1alpha1", "kind": "TenantControlPlane",
        "metadata": { "name": "alpha", "namespace": namespace },
        "spec": { "dataStore": "default", "kubernetes": { "version": "v1.31.0" } },
        "status": {
            "storage": { "dataStoreName": "default", "setup": { "schema": "alpha_1_alpha" } },
            "kubernetesResources": { "version": { "version": "v1.31.0", "status": "Ready" } },
        },
    });
    change(&mut object);
    let path = format!("resources/{CONTROL_PLANES}/namespaces/{namespace}/alpha.json");
    (path, object)
}

/// Returns a tenant with all its Secrets.
fn whole() -> Vec<(String, Value)> {
    let ca = certificate(2036);
    vec![
        plane("alpha-1", |_| {}),
        secret("alpha-ca", &[("ca.crt", &ca), ("ca.key", "k")]),
        secret("alpha-front-proxy-ca-certificate", &[("ca.crt", "c")]),
        secret("alpha-sa-certificate", &[("sa.key", "k")]),
        secret("alpha-datastore-config", &[("DB_SCHEMA", "alpha_1_alpha")]),
        (
            "resources/datastores.steward.butlerlabs.dev/cluster/default.json".to_owned(),
            json!({ "apiVersion": "steward.butlerlabs.dev/v1alpha1", "kind": "DataStore", "metadata": { "name": "default" } }),
        ),
    ]
}

fn judged(objects: &[(String, Value)], options: &Options) -> Vec<Finding> {
    let mut dangers = DangerChecker::default();
    let mut spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
    for (path, object) in objects {
        let path: ObjectPath = path.parse().unwrap();
        spool.add(&path, object.to_string().as_bytes()).unwrap();
    }
    for (entry, (_, object)) in spool.entries().iter().zip(objects) {
        dangers.inspect(entry, object, Mode::Rebuild, NOW.parse().unwrap());
    }
    let live = LiveObjects::default();
    for (entry, (_, object)) in spool.entries().iter().zip(objects) {
        if entry.path.resource.as_str() == SEALED_SECRETS {
            dangers.prove(entry, object, &live);
        }
    }
    dangers.finish(options, Mode::Rebuild, &live)
}

/// Returns the cause of the only blocker, after checking that it can be allowed.
fn blocked(objects: &[(String, Value)], danger: Danger) -> String {
    let found = judged(objects, &Options::default());
    let blockers: Vec<&Finding> = found
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .collect();
    assert_eq!(blockers.len(), 1, "{found:#?}");
    let allowed = Options {
        allow: [danger].into(),
        ..Options::default()
    };
    let left = judged(objects, &allowed);
    assert!(
        left.iter().all(|f| f.severity != Severity::Error),
        "{left:#?}"
    );
    blockers[0].cause.clone()
}

#[test]
fn a_tenant_that_is_whole_is_no_danger() {
    assert_eq!(judged(&whole(), &Options::default()), []);
}

#[test]
fn an_upgrade_or_a_migration_under_way_is_refused() {
    let mut objects = whole();
    objects[0] = plane("alpha-1", |o| {
        o["spec"]["kubernetes"]["version"] = json!("v1.32.0");
    });
    let cause = blocked(&objects, Danger::ControlPlaneUpgrade);
    assert!(
        cause.contains("v1.31.0") && cause.contains("v1.32.0"),
        "{cause}"
    );
    objects[0] = plane("alpha-1", |o| {
        o["spec"]["kubernetes"]["version"] = json!("v1.32.0");
        o["status"]["kubernetesResources"]["version"]["status"] = json!("Upgrading");
    });
    assert_eq!(judged(&objects, &Options::default()), []);
    objects[0] = plane("alpha-1", |o| {
        o["status"]["storage"]["dataStoreName"] = json!("old");
    });
    let found = judged(&objects, &Options::default());
    assert!(
        found.iter().any(|f| f.cause.contains("would migrate")),
        "{found:#?}"
    );
}

#[test]
fn an_authority_that_steward_would_replace_is_refused() {
    let mut objects = whole();
    objects[1] = secret(
        "alpha-ca",
        &[("tls.crt", &certificate(2036)), ("tls.key", "k")],
    );
    let cause = blocked(&objects, Danger::TenantAuthority);
    assert!(cause.contains("no ca.crt and ca.key"), "{cause}");
    objects[1] = secret(
        "alpha-ca",
        &[("ca.crt", &certificate(2026)), ("ca.key", "k")],
    );
    let cause = blocked(&objects, Danger::TenantAuthority);
    assert!(cause.contains("ends at 2026"), "{cause}");
}

#[test]
fn a_secret_that_cannot_be_made_again_is_missed() {
    let mut objects = whole();
    objects.remove(3);
    let cause = blocked(&objects, Danger::MissingSecret);
    assert!(cause.contains("alpha-sa-certificate"), "{cause}");
}

#[test]
fn a_plane_that_ran_has_secrets_and_one_that_never_did_has_none() {
    let mut objects = whole();
    objects.drain(1..5);
    assert_eq!(judged(&objects, &Options::default()), []);
    objects[0] = plane("alpha-1", |o| {
        o["status"]["certificates"] = json!({ "ca": { "secretName": "alpha-ca" } });
    });
    let cause = blocked(&objects, Danger::MissingSecret);
    assert!(cause.contains("alpha-ca, alpha-front-proxy"), "{cause}");
}

#[test]
fn two_that_share_their_keys_are_refused() {
    let mut objects = whole();
    objects.push(plane("drill", |_| {}));
    let found = judged(&objects, &Options::default());
    let shared = found
        .iter()
        .find(|f| f.cause.contains("keep their keys in the same schema"));
    assert!(shared.is_some(), "{found:#?}");
    let mut objects = whole();
    objects[4] = secret("alpha-datastore-config", &[("DB_SCHEMA", "beta_1_beta")]);
    let cause = blocked(&objects, Danger::SharedSchema);
    assert!(cause.contains("would empty the other tenant"), "{cause}");
}

#[test]
fn a_copy_of_a_living_control_plane_is_refused() {
    let objects = whole();
    let mut dangers = DangerChecker::default();
    let mut spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
    spool
        .add(
            &objects[0].0.parse().unwrap(),
            objects[0].1.to_string().as_bytes(),
        )
        .unwrap();
    dangers.inspect(
        &spool.entries()[0],
        &objects[0].1,
        Mode::InPlace,
        NOW.parse().unwrap(),
    );
    let (path, object) = plane("other", |o| {
        o["status"]["storage"]["dataStoreName"] = json!("renamed");
    });
    // Another name of the same etcd.
    let stores = ["default", "renamed"].map(|s| (s.to_owned(), "etcd-0:2379".to_owned()));
    let live = LiveObjects {
        planes: vec![ControlPlane::of(&path.parse().unwrap(), &object)],
        stores: stores.into(),
        ..LiveObjects::default()
    };
    let found = dangers.finish(&Options::default(), Mode::InPlace, &live);
    assert!(
        found.iter().any(|f| f.cause.contains("other/alpha")),
        "{found:#?}"
    );
}

#[test]
fn identity_that_is_lost_is_refused() {
    let cluster = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "TenantCluster",
        "metadata": { "name": "alpha", "namespace": "butler-tenants" },
    });
    let path =
        "resources/tenantclusters.butler.butlerlabs.dev/namespaces/butler-tenants/alpha.json";
    let cause = blocked(&[(path.to_owned(), cluster)], Danger::LostStatus);
    assert!(cause.contains("status.tenantNamespace"), "{cause}");
    let range = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "IPAllocation",
        "metadata": { "name": "a", "namespace": "butler-system" }, "spec": {},
    });
    let path = "resources/ipallocations.butler.butlerlabs.dev/namespaces/butler-system/a.json";
    let cause = blocked(&[(path.to_owned(), range.clone())], Danger::LostStatus);
    assert!(cause.contains("somebody else"), "{cause}");
    let mut pinned = range;
    pinned["spec"]["pinnedRange"] = json!({ "startAddress": "10.0.0.1" });
    assert_eq!(
        judged(&[(path.to_owned(), pinned)], &Options::default()),
        []
    );
}

#[test]
fn a_sealing_key_that_its_controller_cannot_read_is_refused() {
    let mut key = secret(
        "sealed-secrets-keyabc",
        &[("tls.crt", "x"), ("tls.key", "y")],
    );
    key.1["metadata"]["labels"] = json!({ SEALING_KEY: "active" });
    let cause = blocked(&[key], Danger::SealingKey);
    assert!(cause.contains("would not start"), "{cause}");
}

#[test]
fn a_sealed_secret_without_a_key_and_a_plane_without_a_datastore_are_refused() {
    let mut objects = whole();
    objects.push((
        format!("resources/{SEALED_SECRETS}/namespaces/a/mail.json"),
        json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": { "name": "mail", "namespace": "a" },
            "spec": { "encryptedData": { "word": STANDARD.encode([0; 600]) } },
        }),
    ));
    let cause = blocked(&objects, Danger::MissingSealingKey);
    assert!(
        cause.contains("1 of 1 SealedSecrets") && cause.contains("a/mail"),
        "{cause}"
    );
    let mut objects = whole();
    objects.retain(|(path, _)| !path.contains("/datastores."));
    let cause = blocked(&objects, Danger::MissingDatastore);
    assert!(cause.contains("DataStore default"), "{cause}");
    let found = judged(&objects, &Options::default());
    let remedy = &found.iter().find(|f| f.cause == cause).unwrap().remedy;
    assert!(
        remedy.contains("`--allow missing-datastore` continues"),
        "{remedy}"
    );
}

#[test]
fn what_the_cluster_has_is_not_missed_and_what_lives_is_not_judged() {
    let objects = [plane("alpha-1", |_| {})];
    let look = |live: &LiveObjects, mode| {
        let mut dangers = DangerChecker::default();
        let mut spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
        let (path, object) = &objects[0];
        let path: ObjectPath = path.parse().unwrap();
        spool.add(&path, object.to_string().as_bytes()).unwrap();
        dangers.inspect(&spool.entries()[0], object, mode, NOW.parse().unwrap());
        let found = dangers.finish(&Options::default(), mode, live);
        found
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .count()
    };
    let mut live = LiveObjects::default();
    // Also in place, what a new control plane lacks is reported.
    assert_eq!(look(&live, Mode::InPlace), 1);
    live.stores.insert("default".to_owned(), String::new());
    for part in [
        "ca",
        "front-proxy-ca-certificate",
        "sa-certificate",
        "datastore-config",
    ] {
        let (path, object) = secret(&format!("alpha-{part}"), &[]);
        live.secret(&path.parse().unwrap(), &object);
    }
    assert_eq!(look(&live, Mode::InPlace), 0);
    assert_eq!(look(&live, Mode::Rebuild), 0);
    // A control plane that already exists is not checked.
    let mut live = LiveObjects::default();
    let path: ObjectPath = objects[0].0.parse().unwrap();
    live.planes.push(ControlPlane::of(&path, &objects[0].1));
    assert_eq!(look(&live, Mode::InPlace), 0);
}
