//! Tests of `backupd` as a process: exit codes, stdout and stderr.
#![expect(clippy::unwrap_used, reason = "a test that cannot start has failed")]

use std::fs;
use std::process::Output;

use assert_cmd::cargo::cargo_bin_cmd;
use tempfile::TempDir;

/// Runs `backupd` in `folder`, without this machine's environment.
fn backupd(folder: &TempDir, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = cargo_bin_cmd!("backupd");
    command.env_clear().envs(env.iter().copied());
    command
        .current_dir(folder.path())
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_use_ends_with_2_and_leaves_stdout_empty() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bad.yaml"), "clustr: x\n").unwrap();
    for (args, env, told) in [
        (&["snapshoot"][..], &[][..], "unrecognized subcommand"),
        (
            &["check-config"],
            &[("LOG_LEVEL", "loud")],
            "is not a log level",
        ),
        (
            &["check-config", "--config", "none.yaml"],
            &[],
            "cannot read none.yaml",
        ),
        (
            &["check-config"],
            &[("BUTLER_BACKUP_CONFIG", "bad.yaml")],
            "bad.yaml:1:1: clustr",
        ),
        (&["check-config"], &[], "4 problems"),
        (&["snapshot"], &[], "4 problems"),
        (
            &["snapshot", "--component", "pods"],
            &[],
            "this version backs up `etcd`, `machine-config`, `crds`",
        ),
        (&["import"], &[], "FILE"),
    ] {
        let output = backupd(&folder, args, env);
        assert_eq!(output.status.code(), Some(2), "{args:?} {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(
            text(&output.stderr).contains(told),
            "{args:?} {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn keys_are_made_once_and_then_a_configuration_by_flags_is_enough() {
    let folder = TempDir::new().unwrap();
    let output = backupd(&folder, &["keygen", "--out", "keys", "-o", "json"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["version"], 1);
    let recipient = made["recipient"].as_str().unwrap();
    assert!(!text(&output.stdout).contains("SECRET"));

    let again = backupd(&folder, &["keygen", "--out", "keys"], &[]);
    assert_eq!(again.status.code(), Some(6), "{again:?}");

    let flags = [
        "--store",
        "file:///srv/backups",
        "--cluster",
        "mgmt",
        "--recipient",
        recipient,
        "--signing-key",
        "keys/signing.key",
    ];
    let check = [&["check-config", "--output", "json", "--quiet"], &flags[..]].concat();
    let output = backupd(&folder, &check, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let checked: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked["cluster"], "mgmt");
    assert_eq!(checked["recipients"][0], recipient);
    assert_eq!(checked["signingPublicKey"], made["signingPublicKey"]);
}

#[test]
fn a_file_that_is_no_snapshot_is_not_committed() {
    let folder = TempDir::new().unwrap();
    backupd(&folder, &["keygen"], &[]);
    fs::write(folder.path().join("snapshot"), vec![7; 100_000]).unwrap();
    let store = format!("file://{}/store", folder.path().display());
    let flags = [
        "--store",
        &store,
        "--cluster",
        "mgmt",
        "--encryption",
        "none",
    ];
    let import = [
        "import",
        "snapshot",
        "--component",
        "etcd",
        "--signing-key",
        "signing.key",
    ];
    let output = backupd(&folder, &[&import, &flags[..]].concat(), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    assert!(
        text(&output.stderr).contains("encryption is none"),
        "{output:?}"
    );
    let manifests = folder.path().join("store/manifests");
    assert!(fs::read_dir(manifests).map_or(0, Iterator::count) == 0);
}
