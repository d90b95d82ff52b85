//! Tests of `fetch --tenant`.

use std::os::unix::fs::PermissionsExt as _;

use super::world::{World, code, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_kubeconfig_is_handed_back_as_a_private_file() {
    let world = World::with_two_restore_points().await;
    let file = world.folder.path().join("one.kubeconfig");
    let to = file.to_str().unwrap();
    let fetch = |tenant: &str, component: &str, more: &[&str]| {
        let args = [
            "fetch",
            "latest",
            "--component",
            component,
            "--tenant",
            tenant,
            "--to",
            to,
        ];
        world.read(&[&args[..], more].concat())
    };
    for tenant in ["one", "team-a/one"] {
        let output = fetch(tenant, "kubeconfigs", &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("one-1a2b/one-admin-kubeconfig admin.conf"));
        assert_eq!(std::fs::read(&file).unwrap(), b"canary-kubeconfig");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_file(&file).unwrap();
    }
    std::fs::write(&file, "precious").unwrap();
    for (tenant, component, exit, told) in [
        ("one", "kubeconfigs", 6, "confirm it with --force"),
        ("one", "secrets", 2, "--tenant is for"),
    ] {
        let output = fetch(tenant, component, &[]);
        assert_eq!(code(&output), exit, "{}", stderr(&output));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
    for (tenant, exit, told) in [
        ("two", 2, "team-a/two, team-b/two"),
        ("team-b/two", 5, "two-1a2b/two-admin-kubeconfig admin.conf"),
        ("three", 5, "it knows team-a/one"),
    ] {
        let output = fetch(tenant, "kubeconfigs", &["--force"]);
        assert_eq!(code(&output), exit, "{}", stderr(&output));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let output = fetch("one", "kubeconfigs", &["--force"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(std::fs::read(&file).unwrap(), b"canary-kubeconfig");
}
