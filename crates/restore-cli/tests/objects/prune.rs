//! Tests of `restore-cli prune`: it decides by what trusted restore points hold, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::planted;
use super::world::{World, code, stderr, stdout};

/// Returns every file below `folder`, with its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.display().to_string();
                all.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    all
}

/// Returns the decisions by restore point: whether it stays, and why.
fn decisions(world: &World, policy: &str) -> BTreeMap<String, (bool, String)> {
    let prune = ["prune", "--dry-run", "--output", "json", "--policy", policy];
    let output = world.look(&prune);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let rows = report["restorePoints"].as_array().unwrap().iter();
    let decision = |row: &Value| {
        let because = row["because"].as_array().unwrap().iter();
        let because: Vec<&str> = because.map(|reason| reason.as_str().unwrap()).collect();
        let id = row["id"].as_str().unwrap().to_owned();
        (id, (row["keep"].as_bool().unwrap(), because.join(", ")))
    };
    rows.map(decision).collect()
}

#[tokio::test]
async fn the_only_copy_of_a_component_stays_and_nothing_is_changed() {
    let world = World::with_two_restore_points().await;
    let store = world.folder.path().join("store");
    let before = files(&store);
    let decisions = decisions(&world, "last=1");
    // The newer one lacks the definitions, so the older one stays for them alone.
    let (keep, because) = &decisions[world.named("A")];
    assert!(*keep && because.contains("newest whole crds"), "{because}");
    assert!(!because.contains("etcd"), "{because}");
    let (keep, because) = &decisions[world.named("B")];
    assert!(*keep && because.contains("newest whole etcd"), "{because}");
    assert_eq!(files(&store), before);
}

#[tokio::test]
async fn what_no_trusted_key_signed_pushes_nothing_out() {
    let world = World::with_two_restore_points().await;
    let before = decisions(&world, "last=1,hourly=1");
    planted::many(&world);
    assert_eq!(decisions(&world, "last=1,hourly=1"), before);
}

#[tokio::test]
async fn without_a_dry_run_or_a_policy_nothing_begins() {
    let world = World::with_two_restore_points().await;
    let output = world.look(&["prune", "--policy", "last=1"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--dry-run"), "{}", stderr(&output));
    let output = world.look(&["prune", "--dry-run", "--policy", "dayly=7"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("`dayly` is not a rule"));
}

#[test]
fn a_simulation_plays_the_schedules_and_reads_no_store() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("butler.yaml");
    let absent = folder.path().join("absent");
    let text = format!(
        "cluster: c\nstore: file://{}\ncomponents: {{ etcd: {{ cron: '0 * * * *', time-zone: UTC }} }}\n",
        absent.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("restore-cli"));
    command
        .env_clear()
        .args(["prune", "--dry-run", "--output", "json"]);
    command.args(["--policy", "hourly=24", "--simulate", "30d", "--config"]);
    let output = command.arg(&config).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    // One an hour for thirty days.
    assert_eq!(report["runs"], 720, "{report:#}");
    assert_eq!(report["restorePoints"], 24);
    assert_eq!(report["components"]["etcd"]["restorePoints"], 24);
    assert!(!absent.exists());
}
