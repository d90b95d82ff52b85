//! Tests of whether Flux applies the folder of a mirror.

use super::*;
use serde_json::json;

fn mirror(repository: &str, path: &str) -> Mirror {
    Mirror {
        repository: repository.to_owned(),
        branch: "main".to_owned(),
        path: path.to_owned(),
        folder: "/x".into(),
    }
}

fn object(applied: &mut FluxPaths, kind: &str, name: &str, spec: &Value) {
    let path = ObjectPath {
        resource: kind.into(),
        namespace: Some(OWN.to_owned()),
        name: name.to_owned(),
    };
    applied.note(&path, json!({ "spec": spec }).to_string().as_bytes());
}

fn applied(url: &str, reference: &Value, path: &str) -> FluxPaths {
    let mut applied = FluxPaths::default();
    let source = json!({ "kind": "GitRepository", "name": OWN });
    object(
        &mut applied,
        KUSTOMIZATIONS,
        OWN,
        &json!({ "path": path, "sourceRef": source }),
    );
    object(
        &mut applied,
        REPOSITORIES,
        OWN,
        &json!({ "url": url, "ref": reference }),
    );
    applied
}

#[test]
fn an_address_is_the_same_in_every_form() {
    let one = address("https://git.example.org/Fleet/management.git");
    for same in [
        "https://git.example.org/fleet/management",
        "https://git.example.org:8443/fleet/management.git/",
        "ssh://git@git.example.org:2222/fleet/management.git",
        "git@GIT.example.org:fleet/management.git",
        "git@ssh.git.example.org:fleet/management",
    ] {
        assert_eq!(address(same), one, "{same}");
    }
    for other in [
        "https://git.example.org/fleet/other",
        "https://example.org/fleet/management",
    ] {
        assert_ne!(address(other), one, "{other}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    assert_eq!(address(&path), address(&format!("file://{path}/")));
}

#[test]
fn a_kustomization_that_covers_the_mirror_is_seen() {
    let (https, ssh) = (
        "https://git.example.org/fleet.git",
        "ssh://git@git.example.org/fleet",
    );
    let main = json!({ "branch": "main" });
    for (reference, path, own, covered) in [
        (&main, "./clusters/management", "clusters/management", true),
        (
            &main,
            "./clusters/management",
            "clusters/management/backup",
            true,
        ),
        (&main, "./", "butler-backup/mgmt", true),
        (&main, "", "butler-backup/mgmt", true),
        (
            &main,
            "./butler-backup/mgmt/resources/a.b",
            "butler-backup/mgmt",
            true,
        ),
        (&main, "./clusters/management", "butler-backup/mgmt", false),
        (
            &main,
            "./clusters/management",
            "clusters/management-backup",
            false,
        ),
        (&main, "./clusters/management", ".", false),
        (
            &json!({ "branch": "prod" }),
            "./",
            "butler-backup/mgmt",
            false,
        ),
        (&json!({ "tag": "v1" }), "./", "butler-backup/mgmt", true),
        (
            &json!({ "name": "refs/heads/prod" }),
            "./",
            "butler-backup/mgmt",
            false,
        ),
        (&json!({}), "./", "butler-backup/mgmt", false),
    ] {
        let applied = applied(ssh, reference, path);
        let found = applied.covers(&mirror(https, own)).is_some();
        assert_eq!(found, covered, "{reference} {path} {own}");
        assert!(
            applied
                .covers(&mirror("https://git.example.org/other", own))
                .is_none()
        );
    }
}

#[test]
fn files_of_flux_around_the_mirror_and_in_it_are_seen() {
    let root = "butler-backup/mgmt";
    let own = format!("{MARK}a: b\n");
    for (file, text, refused) in [
        ("flux-system/kustomization.yaml", "a: b\n", true),
        ("gotk-sync.yaml", "a: b\n", true),
        ("butler-backup/flux-system/x.yaml", "a: b\n", true),
        ("butler-backup/mgmt/gotk-components.yml", "a: b\n", true),
        ("butler-backup/mgmt/flux-system/x.yaml", "a: b\n", true),
        (
            "butler-backup/mgmt/deep/er/flux-system/x.yaml",
            "a: b\n",
            true,
        ),
        (
            "butler-backup/mgmt/resources/a.b/gotk-x.yaml",
            "a: b\n",
            true,
        ),
        (
            "clusters/management/flux-system/gotk-sync.yaml",
            "a: b\n",
            false,
        ),
        (
            "butler-backup/other/flux-system/gotk-sync.yaml",
            "a: b\n",
            false,
        ),
        // Copies of objects in Flux's own namespace, and of an object with such a name.
        (
            "butler-backup/mgmt/resources/kustomizations.k/flux-system/apps.yaml",
            &own,
            false,
        ),
        ("butler-backup/mgmt/resources/a.b/gotk-x.yaml", &own, false),
    ] {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let own = Mirror {
            folder: work.path().to_owned(),
            ..mirror("https://x/y", root)
        };
        let judged = refuse(&own, Some(&FluxPaths::default()), work.path());
        assert_eq!(judged.is_err(), refused, "{file}");
        if let Err(error) = judged {
            assert!(error.to_string().contains(root), "{error}");
        }
    }
}

#[test]
fn what_one_run_found_holds_for_a_run_that_cannot_know() {
    let home = tempfile::tempdir().unwrap();
    let own = mirror("https://git.example.org/fleet.git", "butler-backup/mgmt");
    let own = Mirror {
        folder: home.path().to_owned(),
        ..own
    };
    let main = json!({ "branch": "main" });
    let covers = applied(&own.repository, &main, "./");
    let beside = applied(&own.repository, &main, "./clusters");
    refuse(&own, None, home.path()).unwrap();
    refuse(&own, Some(&covers), home.path()).unwrap_err();
    refuse(&own, None, home.path()).unwrap_err();
    refuse(&own, Some(&beside), home.path()).unwrap();
    refuse(&own, None, home.path()).unwrap();
}

#[test]
fn what_is_not_known_whole_is_no_permission() {
    let home = tempfile::tempdir().unwrap();
    let own = Mirror {
        folder: home.path().to_owned(),
        ..mirror("https://git.example.org/fleet.git", "butler-backup/mgmt")
    };
    let main = json!({ "branch": "main" });
    let beside = || applied(&own.repository, &main, "./clusters");
    refuse(&own, Some(&beside()), home.path()).unwrap();
    let mut odd = beside();
    let path = ObjectPath {
        resource: KUSTOMIZATIONS.into(),
        namespace: Some(OWN.to_owned()),
        name: "odd".to_owned(),
    };
    odd.note(&path, b"no object");
    let mut many = beside();
    let spec = json!({ "path": "a", "sourceRef": { "kind": "GitRepository", "name": "b" } });
    for number in 0..=MAX_FLUX_OBJECTS {
        object(&mut many, KUSTOMIZATIONS, &number.to_string(), &spec);
    }
    for unknown in [odd, many] {
        let error = refuse(&own, Some(&unknown), home.path()).unwrap_err();
        assert!(error.to_string().contains("not all of its"), "{error}");
    }
    // The recorded result cannot be read.
    let note = own.folder.join(COVERED);
    std::fs::remove_file(&note).unwrap();
    std::fs::create_dir(&note).unwrap();
    refuse(&own, None, home.path()).unwrap_err();
}

#[test]
fn flux_is_known_where_its_kinds_were_read_whole() {
    let kind = |resource: &str| -> KindFacts {
        let facts = json!({
            "resource": resource, "kind": "K", "version": "v1", "namespaced": true,
            "objects": 1, "bytes": 1, "sha256": backup_core::digest::Digest::of(b""),
        });
        serde_json::from_value(facts).unwrap()
    };
    assert!(are_whole(&[]));
    for resource in [KUSTOMIZATIONS, REPOSITORIES] {
        assert!(are_whole(&[kind(resource), kind("teams.a.io")]));
        let mut failed = kind(resource);
        failed.failed = Some("no".to_owned());
        assert!(!are_whole(&[kind("teams.a.io"), failed]));
        let mut lost = kind(resource);
        lost.lost = vec![backup_core::format::export::Lost {
            name: "a/b".to_owned(),
            cause: "no".to_owned(),
        }];
        assert!(!are_whole(&[lost]));
    }
    let mut other = kind("teams.a.io");
    other.failed = Some("no".to_owned());
    assert!(are_whole(&[other]));
}
