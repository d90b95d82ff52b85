//! Tests of `runbook`.

use super::world::{self, World, code, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_needs_the_store_alone_and_holds_no_secret() {
    let world = World::with_two_restore_points().await;
    // The newest lacks its definitions, and a fresh cluster needs them.
    for (mode, point) in [("in-place", "B"), ("rebuild", "A")] {
        for format in ["markdown", "text"] {
            let args = ["runbook", "latest", "--mode", mode, "--format", format];
            let output = world.look(&args);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            let passed = stderr(&output).contains("passed over");
            assert_eq!(passed, mode == "rebuild", "{}", stderr(&output));
            // Text for a terminal is folded.
            let text = stdout(&output);
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for told in [
                world.named(point),
                "team-a/one",
                "restore-cli verify-tenants",
            ] {
                assert!(text.contains(told), "{mode} {format}: {told}: {text}");
            }
            if point == "B" {
                assert!(text.contains("PARTIAL: it lacks"), "{text}");
                assert!(text.contains("could not be taken"), "{text}");
                assert!(
                    text.contains("the conversion webhook does not answer"),
                    "{text}"
                );
            }
            for canary in world::canaries() {
                assert!(!text.contains(&canary), "{mode} {format} tells {canary}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_goes_to_a_file_and_tells_what_is_missing() {
    let world = World::with_two_restore_points().await;
    let file = world.folder.path().join("runbook.md");
    let to = file.to_str().unwrap();
    std::fs::write(&file, "of yesterday").unwrap();
    let output = world.look(&["runbook", "A", "--to", to, "--output", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["restorePoint"], world.named("A"));
    assert_eq!(told["file"], to);
    assert!(told["text"].is_null());
    let unknown = told["unknown"].to_string();
    assert!(
        unknown.contains("no talosconfig could be read"),
        "{unknown}"
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# Runbook: cluster"), "{text}");
    let names = std::fs::read_dir(world.folder.path()).unwrap();
    let parts = names.filter(|n| {
        let name = n.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".part")
    });
    assert_eq!(parts.count(), 0);
}
