//! Tests of the documented default file at a fixed time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use backup_cli::config::ConfigFlags;
use backup_cli::output::{Format, render};
use backup_core::clock::FixedClock;
use backup_core::crypt::SigningKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, date_time_ymd};
use secrecy::ExposeSecret as _;

/// Text that the default file has in place of a key.
const PLACEHOLDER: &str = "REPLACE-ME";
/// Recipient whose private half nobody has.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// Kubeconfig whose files do not exist and whose server does not answer.
const KUBECONFIG: &str = "apiVersion: v1
kind: Config
current-context: other
contexts:
- {name: default, context: {cluster: mgmt, user: backupd}}
clusters:
- {name: mgmt, cluster: {server: 'https://10.5.0.1:6443', certificate-authority: /nowhere/ca.crt}}
users:
- {name: backupd, user: {exec: {command: /nowhere/plugin, apiVersion: client.authentication.k8s.io/v1}}}
";

/// Returns a talosconfig whose certificate has this role, and is valid for a year from the tests' clock.
fn talosconfig(role: &str) -> String {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, role);
    params.not_before = date_time_ymd(2026, 10, 1);
    params.not_after = date_time_ymd(2027, 10, 1);
    let pem = params.self_signed(&key).unwrap().pem();
    let encoded = |text: String| STANDARD.encode(text);
    format!(
        "context: default\ncontexts:\n  default:\n    endpoints: [10.5.0.2]\n    ca: {}\n    crt: \
         {}\n    key: {}\n",
        encoded(pem.clone()),
        encoded(pem),
        encoded(key.serialize_pem())
    )
}

/// Checks the documented default file, changed by `change`, in a folder with its keys.
fn checked(change: impl Fn(String) -> String) -> Result<ConfigReport, ConfigError> {
    checked_by("os:etcd:backup", change)
}

/// Checks the file with a talosconfig of this role.
fn checked_by(role: &str, change: impl Fn(String) -> String) -> Result<ConfigReport, ConfigError> {
    // Two days before daylight saving time ends in Europe.
    let clock = FixedClock::new("2026-10-23T12:00:00Z".parse().unwrap());
    let schedules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schedules");
    let yaml = fs::read_to_string(schedules.join("butler.yaml")).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let key = folder.path().join("signing.key");
    fs::write(
        &key,
        SigningKey::generate()
            .unwrap()
            .to_text()
            .unwrap()
            .expose_secret(),
    )
    .unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let token = folder.path().join("git-token");
    fs::write(&token, "a-token-of-git").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let here = folder.path().display().to_string();
    fs::write(folder.path().join("config"), talosconfig(role)).unwrap();
    fs::write(folder.path().join("kubeconfig"), KUBECONFIG).unwrap();
    let places = [
        "/etc/butler-backup",
        "/var/run/secrets/talos.dev",
        "/secure",
    ];
    let yaml = places
        .iter()
        .fold(change(yaml), |yaml, place| yaml.replace(place, &here));
    fs::write(folder.path().join("butler.yaml"), yaml).unwrap();
    let mut given = ConfigFlags::default();
    given.store.config = Some(folder.path().join("butler.yaml"));
    let config = Config::load(&given, clock.now())?;
    let environment = Environment {
        home: Some(folder.path().to_owned()),
        ..Environment::default()
    };
    check(&config, &environment, &clock)
}

fn shown(checked: &ConfigReport, format: Format) -> String {
    let text = render(checked, format, None).unwrap();
    let folder = Path::new(checked.talos.config.as_deref().unwrap()).parent();
    let text = text.replace(folder.unwrap().to_str().unwrap(), "FOLDER");
    text.replace(&checked.signing_public_key, "RW(public key)")
}

#[test]
fn the_documented_default_is_good_and_shows_its_next_runs() {
    let checked = checked(|yaml| yaml.replace(PLACEHOLDER, RECIPIENT)).unwrap();
    assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
    insta::assert_snapshot!("default_table", shown(&checked, Format::Table));
    insta::assert_snapshot!("default_json", shown(&checked, Format::Json));
}

#[test]
fn the_documented_default_wants_one_change_before_it_works() {
    let error = checked(|yaml| yaml).unwrap_err();
    let problems: Vec<_> = error.problems().iter().map(|p| p.message.clone()).collect();
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn the_part_that_is_commented_out_is_good_too() {
    let uncommented = |yaml: String| {
        let mut inside = false;
        let lines = yaml.replace(PLACEHOLDER, RECIPIENT);
        let lines = lines.lines().map(|line| {
            let begins = ["# reading:", "# git-mirror:", "# leftovers:"].contains(&line);
            inside = begins || (inside && line.starts_with('#'));
            if inside {
                line.replacen("# ", "", 1)
            } else {
                line.to_owned()
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let error = checked(uncommented).unwrap_err();
    // The whole file is understood; only the file with the public key does not exist.
    let [problem] = error.problems() else {
        panic!("{error}");
    };
    assert!(
        problem.to_string().contains("reading.trust[0]"),
        "{problem}"
    );
    assert!(problem.to_string().contains("signing.pub"), "{problem}");
}

#[test]
fn a_mirror_is_shown_and_what_cannot_be_is_told() {
    let with = |mirror: &str| {
        let mirror = format!("git-mirror: {{ {mirror} }}\n");
        checked(move |yaml| format!("{}{mirror}", yaml.replace(PLACEHOLDER, RECIPIENT)))
    };
    let https = "repository: 'https://git.example.org/fleet.git', folder: mirror";
    let token = "token-file: /secure/git-token";
    let good = with(&format!("{https}, {token}")).unwrap();
    insta::assert_snapshot!(
        "mirror_json",
        serde_json::to_string_pretty(&good.git_mirror)
            .unwrap()
            .replace(
                Path::new(good.talos.config.as_deref().unwrap())
                    .parent()
                    .unwrap()
                    .to_str()
                    .unwrap(),
                "FOLDER"
            )
    );
    let mut told = Vec::new();
    for bad in [
        "repository: 'https://git.example.org/fleet.git'".to_owned(),
        format!("{https}, brunch: main"),
        format!("{https}, branch: 'a..b'"),
        format!("{https}, path: ../b"),
        format!("{https}, ssh-key: key"),
        format!("{https}, token-file: nowhere"),
        format!("repository: 'http://git.example.org/fleet.git', folder: mirror, {token}"),
        format!(
            "repository: 'git@git.example.org:fleet.git', folder: mirror, known-hosts: h, {token}"
        ),
        "repository: 'ssh://git@git.example.org/fleet.git', folder: mirror".to_owned(),
        "repository: 'https://a:canary@git.example.org/fleet.git', folder: mirror".to_owned(),
    ] {
        let error = with(&bad).unwrap_err();
        let [problem] = error.problems() else {
            panic!("{error}");
        };
        let text = problem.to_string();
        assert!(!text.contains("canary"), "{text}");
        let (_, text) = text.split_once("butler.yaml:").unwrap();
        let (_, text) = text.split_once(": ").unwrap();
        let (text, _) = text.split_once(" /").unwrap_or((text, ""));
        told.push(text.to_owned());
    }
    insta::assert_snapshot!("mirror_problems", told.join("\n"));
}

#[test]
fn when_leftovers_go_is_shown() {
    let with = |yaml: String| {
        format!(
            "{}leftovers: {{ grace: 36h }}\n",
            yaml.replace(PLACEHOLDER, RECIPIENT)
        )
    };
    let checked = checked(with).unwrap();
    let table = shown(&checked, Format::Table);
    let (_, told) = table.split_once("Leftovers of runs that died\n").unwrap();
    assert_eq!(told, "Removed:  once they are older than 1d 12h\n");
    let json = shown(&checked, Format::Json);
    assert!(json.contains("\"graceSeconds\": 129600"), "{json}");
}

#[test]
fn a_component_whose_role_the_talosconfig_lacks_is_refused() {
    let with = |role: &str, components: &str| {
        let yaml = "talos: {config: config, context: default}\ncluster: a\nstore: file:///b\n\
                    encryption: none\nsigning: {key: signing.key}\ncomponents: ";
        let text = format!("{yaml}{{{components}}}\n");
        checked_by(role, move |_| text.clone())
    };
    let (etcd, machine) = (
        "etcd: {cron: 0 3 * * *}",
        "machine-config: {cron: 0 4 * * 0}",
    );
    let both = format!("{etcd}, {machine}");
    for (role, components, lacking) in [
        ("os:etcd:backup", etcd, &[][..]),
        ("os:operator", etcd, &[]),
        ("os:admin", both.as_str(), &[]),
        ("os:etcd:backup", both.as_str(), &["machine-config"]),
        ("os:operator", machine, &["machine-config"]),
        ("os:reader", both.as_str(), &["etcd", "machine-config"]),
    ] {
        let told = match with(role, components) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().iter().map(ToString::to_string).collect(),
        };
        assert_eq!(told.len(), lacking.len(), "{role}, {components}: {told:?}");
        for (told, name) in told.iter().zip(lacking) {
            assert!(told.contains(&format!("component `{name}`")), "{told}");
            assert!(told.contains(role) && told.contains("os:admin"), "{told}");
        }
    }
}

#[test]
fn what_weakens_a_backup_is_a_warning() {
    let text = "talos: {config: config}\ncluster: a\nstore: file:///b\nencryption: none\nsigning: {key: signing.key}\nleftovers: {grace: 24h}\n";
    let checked = checked(|_| text.to_owned()).unwrap();
    insta::assert_snapshot!(checked.warnings.join("\n"));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_a_warning() {
    let context = |yaml: String| {
        let yaml = yaml.replace(PLACEHOLDER, RECIPIENT);
        yaml.replace(
            "  context: default\n  # How long one",
            "  context: missing\n  # How long one",
        )
    };
    let told = checked(context).unwrap().warnings.join("\n");
    assert!(told.ends_with("it has no context `missing`"), "{told}");
    let file = |yaml: String| {
        let yaml = yaml.replace(PLACEHOLDER, RECIPIENT);
        yaml.replace("/etc/butler-backup/kubeconfig", "/nowhere/kubeconfig")
    };
    let told = checked(file).unwrap().warnings;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("/nowhere/kubeconfig"), "{told:?}");
    assert!(told[1].contains("to be kept"), "{told:?}");
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let error = checked(|_| "talos: {context: x}\n".to_owned()).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn a_folder_is_checked_file_by_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = folder.path().join("key");
    let secret = SigningKey::generate().unwrap().to_text().unwrap();
    fs::write(&key, secret.expose_secret()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let schedules = folder.path().join("schedules");
    fs::create_dir(&schedules).unwrap();
    let file = |cluster: &str, store: &str, more: &str| {
        format!(
            "cluster: {cluster}\nstore: {store}\nencryption: none\nsigning: {{key: ../key}}\n{more}"
        )
    };
    for (name, text) in [
        (
            "a.yaml",
            file(
                "a",
                "s3://bucket/a",
                "components: {etcd: {cron: 0 3 * * *}}\n",
            ),
        ),
        ("b.yaml", file("a", "s3://bucket/b", "")),
        ("c.yaml", file("c", "s3://bucket/a/deeper", "")),
        (
            "d.yaml",
            file(
                "d",
                "s3://bucket/d",
                "components: {etcd: {cron: 0 3 31 2 *, time-zone: Mars/Up}}\n",
            ),
        ),
    ] {
        fs::write(schedules.join(name), text).unwrap();
    }
    let clock = FixedClock::new("2026-10-23T12:00:00Z".parse().unwrap());
    let read = folder::FolderReport::read(&schedules, &Environment::default(), &clock).unwrap();
    for (name, format) in [
        ("folder_table", Format::Table),
        ("folder_json", Format::Json),
    ] {
        let shown = render(&read, format, None).unwrap();
        let shown = shown.replace(folder.path().to_str().unwrap(), "FOLDER");
        let key = shown
            .split(['"', ' ', '\n'])
            .find(|word| word.starts_with("RW"))
            .unwrap()
            .to_owned();
        insta::assert_snapshot!(name, shown.replace(&key, "RW(public key)"));
    }
}
