//! Tests that read the objects of a component one by one: they come out in order, a reader that stops early
//! sees no later damage, and a reader that continues gets an error for it.

use std::ops::ControlFlow;
use std::sync::Arc;

use backup_core::archive::StoredJson;
use backup_core::backup::{BackupPlan, Origin};
use backup_core::digest::Digest;
use backup_core::format::export::TenantFacts;
use backup_core::id::ComponentName;
use backup_core::progress::SilentProgress;
use backup_core::read::{Kubeconfig, ObjectReader, RestoreError};
use backup_core::testing::objects::FixedArchive;
use backup_core::testing::world::World;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn config_map(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": namespace, "name": name, "uid": name },
        "data": { "text": "some text ".repeat(50) },
    })
}

fn secret(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "namespace": "one-1a2b", "name": name },
        "data": data,
    })
}

async fn reader(name: &ComponentName, objects: &FixedArchive) -> ObjectReader {
    let world = World::new();
    take(&world, name, objects).await;
    newest(world).await
}

async fn take(world: &World, name: &ComponentName, objects: &FixedArchive) {
    let plan = BackupPlan {
        parts: vec![(name.clone(), Origin::Archive(objects))],
        ..BackupPlan::default()
    };
    world.take(plan).await.unwrap();
}

async fn newest(world: World) -> ObjectReader {
    let point = world.latest().await;
    let unlocked = world.unlock(&point).await.unwrap();
    ObjectReader {
        store: world.store,
        point: Arc::new(point),
        unlocked: Arc::new(unlocked),
        scratch: std::env::temp_dir(),
        progress: Arc::new(SilentProgress),
        cancel: CancellationToken::new(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`fold` gives objects away")]
fn count(seen: &mut Vec<String>, object: StoredJson) -> ControlFlow<()> {
    let value = object.value().unwrap();
    assert_eq!(value["metadata"]["name"], object.path.name.as_str());
    seen.push(object.path.object());
    ControlFlow::Continue(())
}

fn many() -> (ComponentName, FixedArchive) {
    let objects: Vec<Value> = (0..3_000)
        .map(|n| config_map(&format!("ns-{}", n % 7), &format!("map-{n:04}")))
        .collect();
    let objects = FixedArchive::default().kind("configmaps", "ConfigMap", "v1", &objects);
    (ComponentName::secrets(), objects)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_objects_come_out_in_the_order_of_the_server() {
    let (name, objects) = many();
    let objects = objects.file("notes.txt", b"no object");
    let reader = reader(&name, &objects).await;
    let seen = reader.fold(&name, Vec::new(), count).await.unwrap();
    assert_eq!(seen.len(), 3_000);
    assert!(seen.is_sorted());
    // The reader can be used again.
    let again = reader.fold(&name, Vec::new(), count).await.unwrap();
    assert_eq!(again, seen);
}

/// Each restore point changes every eighth object, so the stream of the last one switches between the packs
/// of all. They are more than are open at once, so most bytes go through a scratch file.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_scattered_over_many_packs_comes_back() {
    const ROUNDS: usize = 8;
    let name = ComponentName::secrets();
    let text = |object: usize, round: usize| -> String {
        let seed = format!("{object} {round}");
        let digests = (0..1_500).map(|n| Digest::of(format!("{seed} {n}").as_bytes()).to_string());
        digests.collect()
    };
    let object = move |number: usize, round: usize| {
        let last = (number % ROUNDS).min(round);
        let mut map = config_map("ns", &format!("map-{number:04}"));
        map["data"]["text"] = text(number, last).into();
        map
    };
    let world = World::new();
    for round in 0..ROUNDS {
        let objects: Vec<Value> = (0..64).map(|number| object(number, round)).collect();
        let objects = FixedArchive::default().kind("configmaps", "ConfigMap", "v1", &objects);
        take(&world, &name, &objects).await;
    }
    let reader = newest(world).await;
    assert!(reader.point.manifest.components[0].packs.len() >= ROUNDS);
    let check = move |seen: &mut usize, stored: StoredJson| {
        assert_eq!(stored.value().unwrap(), object(*seen, ROUNDS));
        *seen += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(reader.fold(&name, 0, check).await.unwrap(), 64);
    // Without a place for the scratch file there is an error, and no object is returned.
    let nowhere = tempfile::tempdir().unwrap().path().join("nowhere");
    let reader = ObjectReader {
        scratch: nowhere.clone(),
        ..reader
    };
    let Err(RestoreError::File { file, .. }) = reader.fold(&name, 0, check).await else {
        panic!("it was read without a place to put things aside");
    };
    assert_eq!(file, nowhere.display().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_early_has_what_it_wanted() {
    let (name, objects) = many();
    let reader = reader(&name, &objects).await;
    for wanted in [1, 20, 2_999] {
        let stop_at = move |seen: &mut usize, _: StoredJson| {
            *seen += 1;
            if *seen == wanted {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        assert_eq!(reader.fold(&name, 0, stop_at).await.unwrap(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_promises_other_bytes_is_found_out_at_the_end() {
    let (name, objects) = many();
    let mut reader = reader(&name, &objects).await;
    let mut point = (*reader.point).clone();
    point.manifest.components[0].plain_sha256 = backup_core::digest::Digest::of(b"other");
    reader.point = Arc::new(point);
    let error = reader.fold(&name, Vec::new(), count).await.unwrap_err();
    assert!(matches!(error, RestoreError::Mismatch { .. }), "{error:?}");
    let first = |_: &mut (), _| ControlFlow::Break(());
    reader.fold(&name, (), first).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_is_told_apart_from_damage() {
    let (name, objects) = many();
    let odd = objects.file("resources/what/is/this", b"{}");
    let reader = reader(&name, &odd).await;
    let error = reader.fold(&name, Vec::new(), count).await.unwrap_err();
    assert!(matches!(error, RestoreError::Archive { .. }), "{error:?}");
    let none = reader.fold(&ComponentName::crds(), Vec::new(), count).await;
    assert!(matches!(none, Err(RestoreError::NoComponent { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_ends_when_it_is_cancelled() {
    let (name, objects) = many();
    let reader = reader(&name, &objects).await;
    let cancel = reader.cancel.clone();
    let cancelling = move |seen: &mut usize, _: StoredJson| {
        *seen += 1;
        assert_eq!(*seen, 1, "nothing comes after the cancellation");
        cancel.cancel();
        ControlFlow::Continue(())
    };
    let error = reader.fold(&name, 0, cancelling).await.unwrap_err();
    assert!(matches!(error, RestoreError::Cancelled), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_kubeconfig_is_the_best_there_is() {
    use base64::Engine as _;
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let name = ComponentName::kubeconfigs();
    let copy = secret("one-kubeconfig", &json!({ "value": encoded("copy") }));
    let own = secret(
        "one-admin-kubeconfig",
        &json!({ "admin.conf": encoded("own"), "x": "" }),
    );
    let broken = secret("one-admin-kubeconfig", &json!({ "admin.conf": "???" }));
    let other = secret(
        "two-admin-kubeconfig",
        &json!({ "admin.conf": encoded("two") }),
    );
    let tenant = TenantFacts {
        namespace: "team-a".to_owned(),
        name: "one".to_owned(),
        tenant_namespace: Some("one-1a2b".to_owned()),
        ..TenantFacts::default()
    };
    for (secrets, expected) in [
        (&[copy.clone(), own.clone(), other.clone()][..], Some("own")),
        (&[copy.clone(), other.clone()], Some("copy")),
        (&[copy.clone(), broken], Some("copy")),
        (&[other], None),
    ] {
        for reversed in [false, true] {
            let objects = FixedArchive::default().kind("secrets", "Secret", "v1", secrets);
            let objects = if reversed {
                objects.reversed()
            } else {
                objects
            };
            let reader = reader(&name, &objects).await;
            let found = reader.kubeconfig(&tenant).await.unwrap();
            assert_eq!(
                found.as_ref().map(Kubeconfig::bytes),
                expected.map(str::as_bytes),
                "{secrets:?}"
            );
            assert!(!format!("{found:?}").contains("own"));
        }
    }
}
