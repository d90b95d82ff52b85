//! Tests for valid configurations and for the message of each mistake.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use backup_core::crypt::new_identity;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:45:00Z".parse().unwrap()
}

/// Makes a folder with `butler.yaml` in it.
fn folder(yaml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("butler.yaml"), yaml).unwrap();
    folder
}

fn given(folder: &TempDir) -> ConfigFlags {
    let mut given = ConfigFlags::default();
    given.store.config = Some(folder.path().join("butler.yaml"));
    given
}

/// Returns the error of loading `yaml`, without the folder's name.
fn error(yaml: &str) -> String {
    let folder = folder(yaml);
    let error = Config::load(&given(&folder), now()).unwrap_err();
    readable(&error, &folder)
}

fn readable(error: &ConfigError, folder: &TempDir) -> String {
    let name = folder.path().display().to_string();
    error.to_string().replace(&name, "/etc/butler-backup")
}

fn errors<const N: usize>(yamls: [&str; N]) -> String {
    let told = yamls.map(|yaml| format!("{yaml}\n=> {}\n", error(yaml)));
    told.join("\n")
}

#[test]
fn wrong_shapes_are_told_with_line_column_and_field() {
    insta::assert_snapshot!(errors([
        "cluster: mgmt\nstor: file:///b",
        "talos:\n  nodes: cp-1",
        "talos:\n  nodes:\n    - {a: b}",
        "cluster: [mgmt]",
        "talos: here",
        "components:\n  etdc:\n    cron: 0 * * * *",
        "components:\n  etcd:\n    corn: 0 * * * *",
        "cluster: a\ncluster: b",
        "cluster: \"a",
        "cluster: a\n\tstore: b",
        "cluster: a\n---\ncluster: b",
        "- cluster",
        "encryption: age1abc",
        "encryption:\n  recipients: age1abc",
        "encryption: {}",
        "reading:\n  trust: yes",
        "leftovers: 24h",
        "leftovers: {}",
        "leftovers:\n  grace: 24h\n  keep: 3",
        "leftovers:\n  grace: [24h]",
    ]));
}

#[test]
fn wrong_values_are_told_all_at_once() {
    insta::assert_snapshot!(error(
        "\
cluster: Mgmt
store: ftp://host/folder
talos:
  idle-timeout: 60
  deadline: 40h
encryption:
  recipients:
    - age1notakey
    - ssh-dss AAAA
components:
  etcd:
    cron: 0 3 31 2 *
    time-zone: UTC
"
    ));
    insta::assert_snapshot!(errors([
        "components:\n  etcd:\n    cron: 0 3 * * *\n    time-zone: Europe/Zurick",
        "components:\n  etcd:\n    cron: '@daily'",
        "kubernetes:\n  timeout: 45",
        "kubernetes:\n  timeout: 0s\n  include-namespaces: [a, b]\n  exclude-namespaces: [b]",
        "kubernetes:\n  include-cluster-resources: perhaps",
        "encryption:\n  recipients: []",
        "reading:\n  trust: [RWnokey]",
        "leftovers:\n  grace: a day",
        "leftovers:\n  grace: 119m",
        "leftovers:\n  grace: 4m\nruns:\n  deadline: 3m",
        "leftovers:\n  grace: 2161h",
    ]));
}

#[test]
fn leftovers_are_removed_only_where_that_is_said() {
    let grace = |yaml: &str| {
        let folder = folder(yaml);
        let config = Config::load(&given(&folder), now()).unwrap();
        config.leftovers.map(|leftovers| leftovers.grace.as_secs())
    };
    assert_eq!(grace("cluster: mgmt"), None);
    assert_eq!(grace("leftovers: { grace: 2h }"), Some(7_200));
    let short = "leftovers: { grace: 4m }\nruns: { deadline: 2m }";
    assert_eq!(grace(short), Some(240));
    assert_eq!(grace("leftovers: { grace: 2160h }"), Some(90 * 86_400));
}

#[test]
fn a_private_key_is_never_repeated() {
    let (secret, _) = new_identity();
    let secret = secret.expose_secret();
    for yaml in [
        format!("encryption:\n  recipients: [{secret}]\n"),
        format!("encryption: {secret}\n"),
        format!("encryption: [{secret}]\n"),
        format!("encryption:\n  recipients: {secret}\n"),
        format!("encryption:\n  recipients:\n    - {secret}\n    - [x]\nclustr: x\n"),
    ] {
        let told = error(&yaml);
        assert!(!told.contains(secret), "{told}");
        assert!(!told.contains("SECRET"), "{told}");
    }
    insta::assert_snapshot!(error(&format!("encryption:\n  recipients: [{secret}]\n")));
}

#[test]
fn unreadable_files_are_told() {
    let missing = TempDir::new().unwrap();
    let error = Config::load(&given(&missing), now()).unwrap_err();
    insta::assert_snapshot!(readable(&error, &missing));
}

#[test]
fn a_signing_key_open_to_others_is_refused_with_the_cure() {
    let folder = folder("signing:\n  key: signing.key\n");
    let key = folder.path().join("signing.key");
    let told = |mode: u32| {
        let config = Config::load(&given(&folder), now()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        config.need_signing_key().map_err(|e| readable(&e, &folder))
    };
    let secret = SigningKey::generate().unwrap();
    fs::write(&key, secret.to_text().unwrap().expose_secret()).unwrap();
    insta::assert_snapshot!(told(0o644).unwrap_err());
    for open in [0o604, 0o606, 0o620, 0o666, 0o777] {
        assert!(told(open).is_err(), "{open:o}");
    }
    // The last mode is that of a Secret mounted for a group.
    for closed in [0o600, 0o400, 0o440] {
        assert_eq!(told(closed).unwrap().public(), secret.public());
    }
    fs::remove_file(&key).unwrap();
    fs::write(&key, "untrusted comment: x\nRWnothing\n").unwrap();
    insta::assert_snapshot!(told(0o600).unwrap_err());
    fs::remove_file(&key).unwrap();
    let config = Config::load(&given(&folder), now()).unwrap();
    insta::assert_snapshot!(readable(&config.need_signing_key().unwrap_err(), &folder));
}

#[test]
fn flags_win_over_the_file() {
    let folder = folder(
        "\
cluster: from-file
store: file:///from-file
talos: {config: talosconfig, context: from-file, nodes: [a]}
encryption: none
signing: {key: keys/signing.key}
",
    );
    let mut given = given(&folder);
    let config = Config::load(&given, now()).unwrap();
    assert_eq!(config.need_cluster().unwrap().as_str(), "from-file");
    assert_eq!(config.encryption, Some(Encryption::None));
    assert_eq!(config.talos.config, Some(folder.path().join("talosconfig")));
    assert_eq!(
        config.signing_key.unwrap().value,
        folder.path().join("keys/signing.key")
    );
    let (_, public) = new_identity();
    given.cluster.cluster = Some("from-flag".to_owned());
    given.store.store = Some("file:///from-flag".to_owned());
    given.talos.context = Some("from-flag".to_owned());
    given.talos.nodes = vec!["b".to_owned(), "c".to_owned()];
    given.seal.recipients = vec![public.to_string()];
    given.seal.signing_key = Some("here.key".into());
    let config = Config::load(&given, now()).unwrap();
    assert_eq!(config.need_cluster().unwrap().as_str(), "from-flag");
    assert!(
        config
            .need_store()
            .unwrap()
            .to_string()
            .contains("from-flag")
    );
    assert_eq!(config.talos.context.as_deref(), Some("from-flag"));
    assert_eq!(config.talos.nodes, ["b", "c"]);
    assert_eq!(
        config.encryption,
        Some(Encryption::Recipients(vec![public]))
    );
    assert_eq!(config.signing_key.unwrap().value, Path::new("here.key"));
}

#[test]
fn a_wrong_flag_is_told_by_its_name_and_what_is_needed_too() {
    let mut given = ConfigFlags::default();
    given.store.store = Some("nowhere".to_owned());
    given.trust.trust = vec!["none".to_owned(), "RWx".to_owned()];
    let error = Config::load(&given, now()).unwrap_err();
    insta::assert_snapshot!(error);
    let config = Config::load(&ConfigFlags::default(), now()).unwrap();
    let told = [
        config.need_cluster().unwrap_err(),
        config.need_store().unwrap_err(),
        config.need_encryption().unwrap_err(),
        config.need_signing_key().unwrap_err(),
        config.need_trust().unwrap_err(),
    ];
    insta::assert_snapshot!(told.map(|e| e.to_string()).join("\n"));
}

#[test]
fn identities_and_trust_are_read_from_files() {
    let folder = folder("reading:\n  identities: [ops.key]\n  trust: [butler.pub]\n");
    let signing = SigningKey::generate().unwrap();
    fs::write(folder.path().join("butler.pub"), signing.public().to_text()).unwrap();
    let (secret, _) = new_identity();
    let key = folder.path().join("ops.key");
    fs::write(&key, format!("# mine\n{}\n", secret.expose_secret())).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let config = Config::load(&given(&folder), now()).unwrap();
    let Ok(Trust::Keys(keys)) = config.need_trust() else {
        panic!("{:?}", config.trust);
    };
    assert_eq!(keys, &[signing.public().clone()]);
    let mut warnings = Vec::new();
    let identities = config.identities(|w| warnings.push(w.to_owned())).unwrap();
    assert!(!identities.is_empty());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    fs::write(&key, "hello").unwrap();
    let error = config.identities(|_| ()).unwrap_err();
    insta::assert_snapshot!(readable(&error, &folder));
}
