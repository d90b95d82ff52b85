//! Tests that the JSON schemas in the repository match the types and the stored objects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::backup::{Protection, Run};
use backup_core::clock::FixedClock;
use backup_core::crypt::new_identity;
use backup_core::format::layout;
use backup_core::format::manifest::Manifest;
use backup_core::format::owner_marker::OwnerMarker;
use backup_core::progress::SilentProgress;
use backup_core::store::Key;
use backup_core::store::local::LocalStore;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Returns the schema of `T`, which must equal `schema/NAME`. With `UPDATE_SCHEMAS` set, the file is written
/// first.
fn schema<T: schemars::JsonSchema>(name: &str) -> Value {
    let schema = schemars::schema_for!(T).to_value();
    let file = path("schema").join(name);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        std::fs::write(&file, text).unwrap();
    }
    let held = std::fs::read(&file).unwrap();
    let held: Value = serde_json::from_slice(&held).unwrap();
    assert!(
        held == schema,
        "{} is not the schema of the type any more; if the change keeps to FORMAT.md, \"Versions\", \
         run `UPDATE_SCHEMAS=1 cargo test --workspace --test schema`",
        file.display()
    );
    schema
}

fn assert_valid(schema: &Value, file: &Path) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let value: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    // A schema that accepts anything would prove nothing.
    let mut broken = value;
    broken["version"] = Value::from("one");
    assert!(!validator.is_valid(&broken));
}

#[test]
fn the_manifests_schema_is_held_and_holds() {
    let schema = schema::<Manifest>("manifest.v1.schema.json");
    let mut manifests = 0;
    for prefix in ["age", "none"] {
        let folder = path("tests/fixtures/v1").join(prefix).join("manifests");
        for entry in std::fs::read_dir(folder).unwrap() {
            assert_valid(&schema, &entry.unwrap().path());
            manifests += 1;
        }
    }
    assert_eq!(manifests, 4);
}

#[tokio::test]
async fn what_a_run_writes_today_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(folder.path()).await.unwrap();
    let run = Run {
        cluster: "butler-mgmt".parse().unwrap(),
        store: Arc::new(store),
        protection: Protection::Recipients(vec![new_identity().1]),
        signing_key: None,
        tool: "test 0".to_owned(),
        reason: Some("a test".to_owned()),
        pinned: true,
        clock: Arc::new(FixedClock::new("2026-11-23T12:00:00Z".parse().unwrap())),
        progress: Arc::new(SilentProgress),
        cancel: CancellationToken::new(),
    };
    let snapshot = std::fs::read(path("tests/fixtures/etcd-3.6.16-objects.db.zst")).unwrap();
    let block = Ok(zstd::decode_all(&snapshot[..]).unwrap().into());
    let stream = Box::pin(futures::stream::iter([block]));
    let committed = run.import_etcd("etcd.snapshot", stream).await.unwrap();
    let manifest = layout::manifest(committed.manifest.began, committed.digest);
    let file = |key: Key| folder.path().join(key.as_str());
    assert_valid(
        &schema::<Manifest>("manifest.v1.schema.json"),
        &file(manifest),
    );
    assert_valid(
        &schema::<OwnerMarker>("claim.v1.schema.json"),
        &file(layout::owner_marker()),
    );
}

#[test]
fn the_claims_schema_is_held_and_holds() {
    let schema = schema::<OwnerMarker>("claim.v1.schema.json");
    for prefix in ["age", "none"] {
        assert_valid(
            &schema,
            &path("tests/fixtures/v1").join(prefix).join("claim.json"),
        );
    }
}
