//! Tests of `resources ls KIND` and `resources get`.

use serde_json::Value;

use super::world::{World, base64, code, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_listed_and_shown_as_kubectl_does() {
    let world = World::with_two_restore_points().await;
    let list = |args: &[&str]| -> Vec<String> {
        let output = world.read(&[&["resources", "ls", "--output", "json"], args].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = listed["objects"].as_array().unwrap().iter();
        rows.map(|row| {
            let namespace = row["namespace"].as_str().unwrap_or("-");
            let by = row["managedBy"].as_str().unwrap_or("-");
            let (name, component) = (&row["name"], &row["component"]);
            format!("{namespace} {name} {component} {by}")
        })
        .collect()
    };
    let tenants = ["five", "four", "one", "three", "two"];
    let tenants = tenants.map(|name| format!("team-a \"{name}\" \"resources\" -"));
    assert_eq!(list(&["TenantCluster", "--at", "A"]), tenants);
    assert_eq!(
        list(&["secrets"]),
        [
            "team-a \"login\" \"secrets\" -",
            "team-b \"login\" \"secrets\" -",
            "one-1a2b \"one-admin-kubeconfig\" \"kubeconfigs\" -",
        ]
    );
    assert_eq!(
        list(&["secrets", "-n", "team-b"]),
        ["team-b \"login\" \"secrets\" -"]
    );
    assert_eq!(list(&["ns"]), ["- \"team-a\" \"resources\" flux"]);
    assert!(list(&["webhooks"]).is_empty());

    let get = |args: &[&str]| {
        let output = world.read(&[&["resources", "get"], args].concat());
        assert_eq!(code(&output), 0, "{args:?} {}", stderr(&output));
        stdout(&output)
    };
    insta::assert_snapshot!("get_tenant", get(&["tenantcluster", "one"]));
    insta::assert_snapshot!("get_secret", get(&["secret", "login", "-n", "team-a"]));
    insta::assert_snapshot!(
        "get_datastore",
        get(&["datastore", "default", "-n", "ignored"])
    );
    let older = get(&[
        "secret",
        "login",
        "-n",
        "team-a",
        "--at",
        "A",
        "--show-secrets",
    ]);
    assert!(older.contains(&base64("canary-login-old")), "{older}");
    let json = get(&["secret", "login", "-n", "team-a", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["data"]["password"], "***");
    assert_eq!(json["kind"], "Secret");
    assert!(get(&["user", "ann", "--show-managed-fields"]).contains("manager: kubectl"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_with_what_is_near() {
    let world = World::with_two_restore_points().await;
    let mut said = String::new();
    for args in [
        &["secret", "login"][..],
        &["secret", "login", "-n", "team-c"],
        &["secret", "logins", "-n", "team-a"],
        &["tenantcluster", "five"],
        &["user", "zoe"],
    ] {
        let output = world.read(&[&["resources", "get"], args, &["--quiet"]].concat());
        assert!(output.stdout.is_empty());
        said.push_str(&format!(
            "{}: {} {}",
            args.join(" "),
            code(&output),
            stderr(&output)
        ));
    }
    insta::assert_snapshot!("get_not_found", said);
}
