//! Tests of `diff`.

use serde_json::Value;

use super::world::{World, code, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_told_kind_by_kind_and_line_by_line() {
    let world = World::with_two_restore_points().await;
    let output = world.read(&["diff", "A", "B", "--patch"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!("diff_patch", world.plain(&stdout(&output)));

    let output = world.read(&[
        "diff",
        "A",
        "B",
        "--kind",
        "tenantcluster",
        "--output",
        "json",
    ]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = json["objects"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let changes: Vec<String> = objects
        .map(|o| format!("{} {}", text(&o["change"]), text(&o["name"])))
        .collect();
    assert_eq!(
        changes,
        [
            "removed five",
            "recreated four",
            "changed one",
            "added six",
            "status three"
        ]
    );
    assert!(json["objects"][0]["patch"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_flags_narrow_it_and_its_code_is_chosen() {
    let world = World::with_two_restore_points().await;
    let differ = |args: &[&str]| {
        let output = world.read(&[&["diff", "--exit-code", "--output", "json"], args].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (code(&output), json["objects"].as_array().unwrap().len())
    };
    assert_eq!(differ(&["A", "B"]), (3, 6));
    assert_eq!(differ(&["A", "B", "-n", "team-b"]).1, 0);
    assert_eq!(differ(&["A", "B", "--ignore-status"]), (3, 5));
    assert_eq!(differ(&["A", "B", "--kind", "secret"]).1, 1);
    assert_eq!(differ(&["B", "B"]), (0, 0));
    // Components that are equal byte by byte need no key.
    let output = world.look(&["diff", "A", "A", "--exit-code"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = world.look(&["diff", "A", "B"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
}
