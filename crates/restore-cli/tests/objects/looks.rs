//! Tests of the output of all reading commands, and of what none of them shows.

use super::world::{self, World, code, stderr, stdout};

/// Every reading command, with secrets left masked.
const LOOKS: &[&[&str]] = &[
    &["list"],
    &["show", "latest", "--all"],
    &["resources", "ls"],
    &["resources", "ls", "secrets"],
    &["resources", "ls", "datastores"],
    &["resources", "get", "secret", "login", "-n", "team-a"],
    &["resources", "get", "secret", "one-admin-kubeconfig"],
    &[
        "resources",
        "get",
        "datastore",
        "default",
        "--show-managed-fields",
    ],
    &["resources", "get", "machinerequest", "one-1"],
    &["resources", "get", "user", "ann"],
    &["resources", "get", "secret", "no-such"],
    &["diff", "A", "B", "--patch", "--all"],
    &["diff", "B", "A", "--patch", "--all", "--ignore-status"],
    &["verify", "latest"],
];

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_value_is_told_unasked() {
    let world = World::with_two_restore_points().await;
    for look in LOOKS {
        for form in ["table", "json", "yaml"] {
            let args: Vec<&str> = look.iter().map(|arg| world.named(arg)).collect();
            let more = ["--output", form, "--log-level", "trace"];
            let output = world.read(&[&args[..], &more].concat());
            let told = [stdout(&output), stderr(&output)].concat();
            assert!(!told.is_empty());
            for canary in world::canaries() {
                assert!(!told.contains(&canary), "{look:?} {form} tells {canary}");
            }
        }
    }
    // The canaries are shown to those who ask for them.
    let asked = [
        "resources",
        "get",
        "secret",
        "login",
        "-n",
        "team-a",
        "--show-secrets",
    ];
    let told = stdout(&world.read(&asked));
    assert!(world::canaries().iter().any(|c| told.contains(c)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_and_facts_are_shown_without_a_key() {
    let world = World::with_two_restore_points().await;
    // The newest one; `latest` with all objects is the older one, which is whole.
    let output = world.look(&["resources", "ls", "--at", world.named("B")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!("resources_ls", world.plain(&stdout(&output)));
    let output = world.look(&["show", "latest"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let shown = world.plain(&stdout(&output));
    for told in ["Tenants as they were", "team-a/one", "12 of 12", "PARTIAL"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let listed = stdout(&world.look(&["list"]));
    assert!(listed.contains("PARTIAL, without crds"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_wrong_kind_have_their_codes() {
    let world = World::with_two_restore_points().await;
    for (args, exit, told) in [
        (
            &["resources", "get", "secret", "login"][..],
            2,
            "no identity was given",
        ),
        (
            &["resources", "ls", "webhok"],
            5,
            "near it: webhooks.example.com",
        ),
        (&["resources", "ls", "pods"], 5, "made by controllers"),
        (
            &["resources", "ls", "secrets", "--at", "2020"],
            5,
            "no restore point",
        ),
        (&["resources", "ls", "-n", "team-a"], 2, "KIND"),
        (&["diff", "latest", "2020"], 5, "no restore point"),
    ] {
        let output = world.look(args);
        assert_eq!(code(&output), exit, "{args:?} {}", stderr(&output));
        assert!(
            stderr(&output).contains(told),
            "{args:?} {}",
            stderr(&output)
        );
        assert!(stdout(&output).is_empty());
    }
}
