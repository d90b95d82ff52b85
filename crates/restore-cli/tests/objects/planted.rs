//! Tests of manifests planted in the bucket by someone who may write to it and holds no key.

use std::time::{Duration, Instant};

use backup_core::digest::Digest;
use backup_core::format::layout;
use serde_json::{Value, json};

use super::world::{World, code, stderr, stdout};

/// Size that no pack has: 2^62.
const HUGE: u64 = 1 << 62;

/// Line that every command prints about it.
const LINE: &str = "not signed by a key of --trust";

/// Puts the newest manifest again, changed by `change` and without a signature; returns its id.
fn plant(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let manifests = world.folder.path().join("store/manifests");
    let second = world.named("B");
    let file = std::fs::read_dir(&manifests)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|file| file.to_str().unwrap().contains(&second[..20]))
        .unwrap();
    let mut manifest = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut manifest);
    let began = manifest["began"].as_str().unwrap().parse().unwrap();
    let bytes = manifest.to_string();
    let digest = Digest::of(bytes.as_bytes());
    let key = layout::manifest(began, digest);
    std::fs::write(world.folder.path().join("store").join(key.as_str()), bytes).unwrap();
    backup_core::id::RestorePointId::new(began, digest).to_string()
}

/// Makes a manifest unencrypted, with packs that claim more than exists.
fn hostile(manifest: &mut Value) {
    manifest["encryption"] = json!({ "mode": "none" });
    for component in manifest["components"].as_array_mut().unwrap() {
        component.as_object_mut().unwrap().remove("recipeEpoch");
        for pack in component["packs"].as_array_mut().unwrap() {
            pack.as_object_mut().unwrap().remove("epoch");
            pack["plainBytes"] = json!(HUGE);
        }
    }
}

/// Plants sixty ids of the future, and returns one that is just newer than all real ones.
pub(super) fn many(world: &World) -> String {
    for minute in 0..60 {
        plant(world, |manifest| {
            hostile(manifest);
            manifest["began"] = json!(format!("2099-12-31T23:{minute:02}:00Z"));
        });
    }
    plant(world, |manifest| {
        hostile(manifest);
        manifest["began"] = json!("2026-11-23T14:30:00Z");
    })
}

#[tokio::test]
async fn what_no_trusted_key_signed_is_no_latest_and_one_line() {
    let world = World::with_two_restore_points().await;
    let runbook = |latest: &str| {
        let read = world.look(&["runbook", latest, "--mode", "in-place"]);
        assert_eq!(code(&read), 0, "{}", stderr(&read));
        stdout(&read)
    };
    let before = runbook("latest");
    many(&world);
    let file = world.folder.path().join("etcd.db");
    let file = file.to_str().unwrap();
    let second = world.named("B").to_owned();
    for (args, expected) in [
        (&["show", "latest", "--output", "json"][..], 0),
        (&["verify", "latest", "--quick", "--output", "json"], 7),
        (&["verify", "latest", "--output", "json"], 7),
        (&["diff", "A", "latest", "--output", "json"], 0),
        (&["resources", "ls", "--output", "json"], 0),
        (
            &["resources", "ls", "tenantclusters", "--output", "json"],
            0,
        ),
        (
            &[
                "fetch",
                "latest",
                "--component",
                "etcd",
                "--to",
                file,
                "--output",
                "json",
            ],
            0,
        ),
    ] {
        let read = world.read(args);
        let told = stderr(&read);
        assert_eq!(code(&read), expected, "{args:?} {told}");
        assert_eq!(told.matches(LINE).count(), 1, "{args:?} {told}");
        assert!(!told.contains("trust none"), "{args:?} {told}");
        let shown = stdout(&read);
        let named = shown.contains(&second) || shown.contains(world.named("A"));
        assert!(named && !shown.contains("2099"), "{args:?} {shown}");
    }
    assert_eq!(runbook("latest"), before);
}

#[tokio::test]
async fn what_no_trusted_key_signed_is_not_read_when_it_is_named() {
    let world = World::with_two_restore_points().await;
    let id = many(&world);
    let file = world.folder.path().join("etcd.db");
    let file = file.to_str().unwrap();
    for args in [
        &["diff", "A", &id][..],
        &["resources", "ls", "--at", &id],
        &["resources", "ls", "tenantclusters", "--at", &id],
        &["resources", "get", "tenantcluster", "one", "--at", &id],
        &["fetch", &id, "--component", "etcd", "--to", file],
        &["runbook", &id],
    ] {
        let read = if args[0] == "runbook" {
            world.look(args)
        } else {
            world.read(args)
        };
        let told = stderr(&read);
        assert_eq!(code(&read), 6, "{args:?} {told}");
        assert!(told.contains("is not trusted"), "{args:?} {told}");
        assert!(!told.contains("trust none"), "{args:?} {told}");
        assert_eq!(stdout(&read), "", "{args:?}");
    }
    assert!(!std::path::Path::new(file).exists());
    for quick in [&["--quick"][..], &[]] {
        let args = [&["verify", &id, "--output", "json"], quick].concat();
        let read = world.look(&args);
        assert_eq!(code(&read), 4, "{}", stderr(&read));
        let report: Value = serde_json::from_str(&stdout(&read)).unwrap();
        assert_eq!(report["sound"], false);
        assert_eq!(report["objects"], 0, "{report}");
        assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
    }
}

#[tokio::test]
async fn an_audit_names_it_and_tells_the_true_age() {
    let world = World::with_two_restore_points().await;
    let id = many(&world);
    let read = world.look(&["audit", "--max-age", "1h", "--output", "json"]);
    assert_eq!(code(&read), 4, "{}", stderr(&read));
    let report: Value = serde_json::from_str(&stdout(&read)).unwrap();
    assert_eq!(report["newest"], world.named("B"), "{report}");
    assert_eq!(report["restorePoints"], 2);
    let findings = report["findings"].as_array().unwrap();
    let find = |object: &str, word: &str| {
        let is = |f: &&Value| f["object"] == object && f["cause"].as_str().unwrap().contains(word);
        findings.iter().find(is).cloned().unwrap_or_default()
    };
    assert_eq!(find(&id, "not signed")["severity"], "error", "{report}");
    assert_eq!(
        find(world.named("B"), "hours old")["severity"],
        "warning",
        "{report}"
    );
    let future = findings
        .iter()
        .filter(|f| f["cause"].as_str().unwrap().contains("future"));
    let future: Vec<&Value> = future.collect();
    assert!(
        future.len() == 1 && future[0]["severity"] == "error",
        "{report}"
    );
    assert!(
        future[0]["cause"].as_str().unwrap().contains("60"),
        "{report}"
    );
    assert!(!report.to_string().contains("trust none"), "{report}");
}

#[tokio::test]
async fn a_list_shows_it_apart_and_without_reading_it() {
    let world = World::with_two_restore_points().await;
    let id = many(&world);
    let read = world.look(&["list", "--output", "json"]);
    assert_eq!(code(&read), 0, "{}", stderr(&read));
    let list: Value = serde_json::from_str(&stdout(&read)).unwrap();
    let ids: Vec<&Value> = list["restorePoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["id"])
        .collect();
    assert_eq!(ids, [world.named("B"), world.named("A")]);
    let apart = list["distrusted"].as_array().unwrap();
    assert_eq!(apart.len(), 61);
    assert!(
        apart
            .iter()
            .any(|p| p["id"] == id.as_str() && p["signature"] == "unsigned")
    );
    assert_eq!(stderr(&read).matches(LINE).count(), 1, "{}", stderr(&read));
}

#[tokio::test]
async fn a_reader_that_trusts_anyone_refuses_its_numbers_at_once() {
    let world = World::with_two_restore_points().await;
    let id = many(&world);
    let began = Instant::now();
    for command in ["verify", "show"] {
        let read = world.look_at_anyone(&[command, &id]);
        assert_eq!(code(&read), 4, "{}", stderr(&read));
        assert!(
            stderr(&read).contains("above 15728640"),
            "{}",
            stderr(&read)
        );
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    // Manifests that cannot be read are passed over, and ids of the future are never the latest.
    let read = world.look_at_anyone(&["show", "latest", "--output", "json"]);
    assert_eq!(code(&read), 0, "{}", stderr(&read));
    assert!(stdout(&read).contains(world.named("B")));
    assert!(
        stderr(&read).contains("60 names of restore points have a time in the future"),
        "{}",
        stderr(&read)
    );
}

#[tokio::test]
async fn digits_that_two_begin_with_name_the_trusted_one() {
    let world = World::with_two_restore_points().await;
    let second = world.named("B").to_owned();
    plant(&world, |manifest| manifest["reason"] = json!("another"));
    let read = world.look(&["show", &second[..20], "--output", "json"]);
    assert_eq!(code(&read), 0, "{}", stderr(&read));
    assert!(stdout(&read).contains(&second));
}

#[tokio::test]
async fn false_signatures_hide_no_true_one() {
    let world = World::with_two_restore_points().await;
    let signatures = world.folder.path().join("store/signatures");
    for manifest in std::fs::read_dir(signatures).unwrap() {
        let folder = manifest.unwrap().path();
        for n in 0..40 {
            std::fs::write(folder.join(format!("{n:064}.minisig")), "x").unwrap();
        }
    }
    let read = world.look(&["show", "latest", "--output", "json"]);
    assert_eq!(code(&read), 0, "{}", stderr(&read));
    assert!(stdout(&read).contains(world.named("B")));
    let read = world.read(&["verify", "latest"]);
    assert_eq!(code(&read), 7, "{}{}", stdout(&read), stderr(&read));
}
